"""Security: TLS, client certificates, API keys."""
