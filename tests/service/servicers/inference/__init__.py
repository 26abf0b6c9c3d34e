"""The Open Inference Protocol, asked of real servers and of its parts."""
