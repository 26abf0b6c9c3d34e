"""The gRPC services: each checks a request, submits its images to a model and builds the response."""
