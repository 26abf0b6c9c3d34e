"""From a finished run to a model version: the ONNX file, its manifest and its model card."""
