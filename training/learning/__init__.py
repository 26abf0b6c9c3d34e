"""Training runs: configuration, recipes, optimisation, distillation, and data-parallel processes."""
