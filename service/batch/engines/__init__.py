"""Engines classify the inputs of a job, with a model in this process or on a server."""
