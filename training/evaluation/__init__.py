"""Accuracy, probability calibration, and the layer table of a network."""
