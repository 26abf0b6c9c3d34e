"""Decodes uploaded pictures to the 32x32 RGB pixels that models read."""
