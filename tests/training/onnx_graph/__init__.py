"""Tests of the analysis of ONNX graphs."""
