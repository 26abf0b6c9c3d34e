"""Demonstrations of convolution on inputs small enough to follow by hand."""
