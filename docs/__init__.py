"""Pages about this project, and the programs that generate tables and pictures in them."""
