"""Channel options of the clients: message limits, retries by gRPC, and load balancing.

gRPC retries unary calls. It cannot retry a stream after the first answer, so the client does that itself.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cifar10net.errors import ConfigError
from cifar10net.failures import BACKOFF_FACTOR, FIRST_BACKOFF_S, LONGEST_BACKOFF_S, RETRYABLE_CODES
from cifar10net.pb import classifier_pb2 as pb
from cifar10net.protocol import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from cifar10net.config import Access, ClientConfig

_SERVICE = pb.DESCRIPTOR.services_by_name["Classifier"]


def channel_options(server: str, config: ClientConfig) -> list[tuple[str, str | int]]:
    """Return the options of a client's channel.

    Raises:
        ConfigError: several addresses with TLS, and no ``server_name``.
    """
    return [
        *_server_name_options(server, config.access),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # By default the clients of a process share connections, and the backoff after a failed one.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.service_config", json.dumps(_service_config(config))),
        # Find a restarted server within seconds; the default backoff grows to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # Take no service config from DNS.
        ("grpc.service_config_disable_resolution", 1),
        # A request larger than the buffer is never retried; the default is 256 KiB, 85 images.
        ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
        ("grpc.enable_retries", int(config.max_attempts > 1)),
    ]


def _server_name_options(server: str, access: Access) -> list[tuple[str, str]]:
    """Set the name to expect in certificates, which gRPC cannot derive from a list of IP addresses."""
    if not access.uses_tls or (access.server_name is None and "," not in server):
        return []
    if access.server_name is None:
        raise ConfigError(
            f"server is {server!r}, several addresses with TLS: wanted server_name, the name that their "
            "certificates carry"
        )
    return [("grpc.ssl_target_name_override", access.server_name)]


def _service_config(config: ClientConfig) -> dict[str, Any]:
    """Return a service config: https://github.com/grpc/grpc/blob/master/doc/service_config.md."""
    made: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if config.max_attempts > 1:
        policy = {
            "maxAttempts": config.max_attempts,
            "initialBackoff": f"{FIRST_BACKOFF_S}s",
            "maxBackoff": f"{LONGEST_BACKOFF_S}s",
            "backoffMultiplier": BACKOFF_FACTOR,
            "retryableStatusCodes": [code.name for code in RETRYABLE_CODES],
        }
        methods = [
            {"service": _SERVICE.full_name, "method": method.name}
            for method in _SERVICE.methods
            if not method.client_streaming
        ]
        made["methodConfig"] = [{"name": methods, "retryPolicy": policy}]
    return made
