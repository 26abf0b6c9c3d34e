"""Tests of the comparison of exported models."""
