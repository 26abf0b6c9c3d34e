"""Whether a server answers, and which models it serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar10net import Client
from cifar10net.errors import ClientError
from service.doctor.finding import Finding, FindingState
from service.server.health_check import check_health

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cifar10net.config import ClientConfig

SECTION = "server"
_ADVICE = {
    "NOT_SERVING": "it is starting or stopping, or a model does not answer: wait, or read its log",
    "DEADLINE_EXCEEDED": "nothing answers there: start it with cifar10net serve, or check the address, the "
    "firewall, and whether both sides use TLS (--tls, --tls-ca)",
    "UNAVAILABLE": "it cannot be reached: check the address, the firewall, and whether both sides use TLS "
    "(--tls, --tls-ca)",
    "UNIMPLEMENTED": "this gRPC server is not a cifar10net server: check the address",
}


def server(address: str, config: ClientConfig) -> Iterator[Finding]:
    """Check a server's health and its models.

    Raises:
        ConfigError: the address is not ``host:port``, or a file for TLS cannot be read.
    """
    status = check_health(address, config.deadline_s, access=config.access)
    is_well = status == "SERVING"
    advice = "" if is_well else _ADVICE.get(status, "look for this status in the server's log")
    state = FindingState.OK if is_well else FindingState.BAD
    yield Finding(SECTION, "health", state, f"{address}: {status}", advice)
    if not is_well:
        return
    with Client(address, config) as client:
        try:
            answering, versions = client.models(), client.versions()
        except ClientError as error:
            yield Finding(SECTION, "models", FindingState.BAD, error.code.name, str(error))
            return
    for model in answering:
        top1 = model.metadata.get("accuracy_top1")
        facts = [f"{len(model.labels)} classes", model.provider, *([f"top-1 {top1}"] if top1 else [])]
        yield Finding(SECTION, f"{model.name} {model.version}", value=", ".join(facts))
    there = {(model.name, model.version) for model in answering}
    for version in versions:
        if (version.name, version.version) not in there:
            name = f"{version.name} {version.version}"
            yield Finding(SECTION, name, FindingState.NOTE, version.state, version.reason)
