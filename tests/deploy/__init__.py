"""Tests of deploy/ and docker-compose.yml, without an engine and without a cluster."""
