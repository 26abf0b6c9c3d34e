"""Logs, metrics, traces, and the events that they are made from."""
