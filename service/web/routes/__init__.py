"""What is answered under ``/v1``: a module for each part of what ``openapi.json`` describes."""
