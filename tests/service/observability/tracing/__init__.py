"""Tests of service.observability.tracing."""
