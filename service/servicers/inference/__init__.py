"""Service ``inference.GRPCInferenceService``: the Open Inference Protocol and Triton's extensions."""
