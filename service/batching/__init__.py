"""Dynamic batching: many calls share few runs of a model."""
