"""Builds the container images."""
