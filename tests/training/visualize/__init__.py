"""Tests of training.visualize."""
