"""Batch jobs: classify collections of pictures into tables, with a model in this process or on a server."""
