"""From many callers to few runs of a model, and back."""
