"""ONNX graphs: their nodes, their layers, and what they cost."""
