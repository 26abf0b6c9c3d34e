"""Public clients of the Open Inference Protocol, unmodified and in processes of their own."""
