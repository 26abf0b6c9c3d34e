"""Tests of service.batching."""
