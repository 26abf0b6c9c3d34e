"""Tests of service.servicers."""
