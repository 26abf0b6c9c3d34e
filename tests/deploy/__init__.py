"""What deploy/ and docker-compose.yml say, checked without an engine and without a cluster."""
