"""Tests of what callers notice of kills, stops, floods and long runs of real servers."""
