"""Pages about this project, and what writes the tables among them that tell what the code says."""
