"""Tests of benchmarks/, without measurements."""
