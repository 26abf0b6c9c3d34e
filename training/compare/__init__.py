"""Compares exported models: cost, accuracy, speed, and robustness to shifted images."""
