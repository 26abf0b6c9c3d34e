"""Tests of the server, the clients and their command line."""
