"""Tests of what the operating system provides."""
