"""Worker processes: how many, where their connections come from, and what happens when one dies."""
