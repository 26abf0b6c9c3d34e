"""Plots numbers as PNG files; computes nothing but colours and layout."""
