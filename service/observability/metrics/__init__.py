"""What the server counts of its work, summed over its processes and told to whoever asks."""
