"""Dynamic batching: many calls share a run of the model."""
