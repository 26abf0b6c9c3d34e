"""Pictures as uploaded become the 32x32 RGB pixels that models read."""
