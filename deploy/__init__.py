"""What builds the images."""
