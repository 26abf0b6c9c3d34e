"""Who may reach the server and what they may use: certificates, encrypted connections, keys."""
