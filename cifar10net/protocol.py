"""Constants of the wire protocol, which client and server share."""

from __future__ import annotations

DEFAULT_PORT = 50051
DEFAULT_SERVER = f"127.0.0.1:{DEFAULT_PORT}"
IMAGE_SIDE = 32
"""Pixels."""
IMAGE_BYTES = IMAGE_SIDE * IMAGE_SIDE * 3
"""One image as raw RGB pixels, row by row."""
DEFAULT_TOP_K = 3
LARGEST_TOP_K = 10
MAX_CALL_IMAGES = 4_096
"""Images in one call, or in one message of a stream."""
MAX_MESSAGE_BYTES = 32 << 20
RETRY_PUSHBACK = "grpc-retry-pushback-ms"
"""Trailing metadata of a refused call: when to retry; negative: never (gRFC A6)."""
TIMING_REQUEST_KEY = "cifar10net-timing"
"""Request metadata that asks for the server's timing; any value will do, clients send ``1``."""
TIMING_KEY = "server-timing"
"""Trailing metadata with that timing."""
