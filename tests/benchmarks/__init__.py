"""Tests of benchmarks/: none of them measures anything."""
