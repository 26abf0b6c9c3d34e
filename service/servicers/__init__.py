"""The gRPC services: each checks a request, submits its images and forms the reply."""
