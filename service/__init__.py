"""Serves image classifiers over gRPC; also the command line, batch jobs and the web page."""
