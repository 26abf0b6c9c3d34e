"""Serves image classifiers over gRPC, and asks such a server."""
