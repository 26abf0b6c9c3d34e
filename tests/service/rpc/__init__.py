"""Tests of service.rpc."""
