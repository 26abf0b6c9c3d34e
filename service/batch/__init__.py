"""Batch jobs: collections of pictures become tables of rows, by a model in this process or by a server."""
