"""A look inside a trained network: filters, feature maps, attribution and calibration in one report.

Each module computes one family of numbers, ``drawing`` plots them, ``chapters`` adds the explanations, and
``report`` runs everything.
"""
