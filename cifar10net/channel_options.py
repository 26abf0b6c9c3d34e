"""What gRPC itself does for a client: message limits, repeated calls, and turns between addresses.

In: the client's settings. Out: arguments of a channel. Streams are repeated by the client's own code, since
gRPC could not after their first answer.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cifar10net.addresses import channel_options
from cifar10net.errors import ConfigError
from cifar10net.failures import BACKOFF_FACTOR, FIRST_BACKOFF_S, LONGEST_BACKOFF_S, REPEATED_CODES
from cifar10net.pb import classifier_pb2 as pb
from cifar10net.protocol import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from cifar10net.config import Access, ClientConfig

_SERVICE = pb.DESCRIPTOR.services_by_name["Classifier"]


def options(server: str, config: ClientConfig) -> list[tuple[str, str | int]]:
    """Make the arguments of a client's channel. Raises ConfigError for what is no address."""
    return [
        *channel_options(server),
        *_name_options(server, config.access),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # Else clients of a process share connections, and the wait after one of them found nobody.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.service_config", json.dumps(_service_config(config))),
        # One that comes back is found soon; by default up to two minutes later.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # No record in DNS tells clients what to do.
        ("grpc.service_config_disable_resolution", 1),
        # A request larger than the buffer is never repeated; the default is 256 KiB, 85 images.
        ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
        ("grpc.enable_retries", int(config.max_attempts > 1)),
    ]


def _name_options(server: str, access: Access) -> list[tuple[str, str]]:
    """Say whose certificate is wanted where gRPC cannot know it."""
    if not access.uses_tls or (access.server_name is None and "," not in server):
        return []
    if access.server_name is None:
        raise ConfigError(
            f"server is {server!r}, several addresses with TLS: wanted server_name, the name that their "
            "certificates carry"
        )
    return [("grpc.ssl_target_name_override", access.server_name)]


def _service_config(config: ClientConfig) -> dict[str, Any]:
    """Write what https://github.com/grpc/grpc/blob/master/doc/service_config.md describes."""
    made: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if config.max_attempts > 1:
        policy = {
            "maxAttempts": config.max_attempts,
            "initialBackoff": f"{FIRST_BACKOFF_S}s",
            "maxBackoff": f"{LONGEST_BACKOFF_S}s",
            "backoffMultiplier": BACKOFF_FACTOR,
            "retryableStatusCodes": [code.name for code in REPEATED_CODES],
        }
        methods = [
            {"service": _SERVICE.full_name, "method": method.name}
            for method in _SERVICE.methods
            if not method.client_streaming
        ]
        made["methodConfig"] = [{"name": methods, "retryPolicy": policy}]
    return made
