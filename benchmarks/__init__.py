"""Measures the product on the machine at hand; ``make bench`` runs it, no test does."""
