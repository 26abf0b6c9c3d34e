"""The server process: its parts, how they are assembled, and its lifecycle from start to drain."""
