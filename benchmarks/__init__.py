"""Benchmarks, run by ``make bench`` and its relatives; tests check their parts, not the figures."""
