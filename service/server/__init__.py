"""The server process: its parts, how they are assembled, and its life from start to drain."""
