"""Metrics: counting in each process, summing up over processes, and exposing the sums."""
