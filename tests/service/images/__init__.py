"""Tests of picture decoding."""
