"""Tests of the ONNX Runtime layer."""
