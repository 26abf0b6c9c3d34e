"""Tests of what callers see of real servers in hard times: kills, stops, floods, long hours."""
