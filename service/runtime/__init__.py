"""ONNX Runtime: sessions, execution providers, and what a model file holds."""
