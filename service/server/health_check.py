"""Asks a server for its health over ``grpc.health.v1``."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cifar10net.channel import open_channel
from cifar10net.config import Access


def check_health(address: str, timeout_s: float, service: str = "", access: Access | None = None) -> str:
    """Check the health of a server, or of one of its services or models; waits until it accepts connections.

    Returns:
        ``SERVING``, ``NOT_SERVING``, or the gRPC status of a check that failed: ``DEADLINE_EXCEEDED`` where
        nobody listens.

    Raises:
        ConfigError: ``address`` is no ``host:port``, or a file for TLS cannot be read.
    """
    with open_channel(address, access or Access()) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its type stubs lack the methods
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            response = stub.Check(request, timeout=timeout_s, wait_for_ready=True)
        except grpc.RpcError as error:
            return str(error.code().name)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))
