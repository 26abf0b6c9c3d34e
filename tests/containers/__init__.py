"""Tests of the images and of docker-compose.yml with a real engine: `make container-test` runs them."""
