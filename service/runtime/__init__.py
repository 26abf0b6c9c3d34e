"""Runs models in ONNX Runtime; the only package that imports it."""
