"""Tests of service.tracing."""
