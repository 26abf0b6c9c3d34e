"""What the server counts, and tells."""
