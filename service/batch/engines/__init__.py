"""What classifies the inputs of a job: a model in this process, or a server."""
