"""Tests of service.http2."""
