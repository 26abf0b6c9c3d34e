"""Tests of service.repository."""
