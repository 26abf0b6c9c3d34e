"""What is not in an installation of the client alone; tests hide it."""

NOT_IN_A_CLIENT = (
    "onnxruntime", "torch", "onnx", "onnxscript", "opentelemetry", "uvloop", "hpack", "numpy", "rich",
    "platformdirs", "grpc_reflection", "starlette", "uvicorn",
)  # fmt: skip
