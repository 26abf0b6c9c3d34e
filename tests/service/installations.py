"""Hides the packages that an installation of the client alone lacks."""

NOT_IN_A_CLIENT = (
    "onnxruntime", "torch", "onnx", "onnxscript", "opentelemetry", "uvloop", "hpack", "numpy", "rich",
    "platformdirs", "grpc_reflection", "starlette", "uvicorn",
)  # fmt: skip
