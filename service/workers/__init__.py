"""Worker processes: starting and replacing them, sharing out connections, and messages between them."""
