"""Tests of service.security."""
