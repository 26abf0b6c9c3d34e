"""The routes below ``/v1``, one module per part of the interface that ``openapi.json`` describes."""
