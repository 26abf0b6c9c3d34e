"""Whether a server answers, and what it answers for.

In: an address, and how the server is reached. Out: findings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar10net import Client
from cifar10net.errors import ClientError
from service.doctor.finding import Finding, State
from service.server.health_check import check_health

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cifar10net.config import ClientConfig
    from cifar10net.messages import VersionState

SECTION = "server"
_ADVICE = {
    "NOT_SERVING": "it starts or stops, or a model does not answer: wait, or look into its log",
    "DEADLINE_EXCEEDED": "nobody answers there: start it by cifar10net serve, or look at address, firewall, "
    "and whether both sides use TLS (--tls, --tls-ca)",
    "UNAVAILABLE": "it cannot be reached: look at address, firewall, and whether both sides use TLS "
    "(--tls, --tls-ca)",
    "UNIMPLEMENTED": "this is a gRPC server, and none of ours: look at the address",
}


def server(address: str, config: ClientConfig) -> Iterator[Finding]:
    """Ask a server how it is and for its models.

    Raises:
        ConfigError: the address is none, or a file for TLS cannot be read.
    """
    status = check_health(address, config.deadline_s, access=config.access)
    is_well = status == "SERVING"
    advice = "" if is_well else _ADVICE.get(status, "look into the server's log for this status")
    state = State.OK if is_well else State.BAD
    yield Finding(section=SECTION, name="health", state=state, value=f"{address}: {status}", advice=advice)
    if not is_well:
        return
    with Client(address, config) as client:
        try:
            answering, versions = client.models(), client.versions()
        except ClientError as error:
            yield Finding(
                section=SECTION, name="models", state=State.BAD, value=error.code.name, advice=str(error)
            )
            return
    for model in answering:
        top1 = model.metadata.get("accuracy_top1")
        facts = [f"{len(model.labels)} classes", model.provider, *([f"top-1 {top1}"] if top1 else [])]
        yield Finding(section=SECTION, name=f"{model.name} {model.version}", value=", ".join(facts))
    there = {(model.name, model.version) for model in answering}
    for version in versions:
        if (version.name, version.version) not in there:
            yield _silent(version)


def _silent(version: VersionState) -> Finding:
    """Tell of a version that lies in the server's repository and does not answer."""
    return Finding(
        section=SECTION,
        name=f"{version.name} {version.version}",
        state=State.NOTE,
        value=version.state,
        advice=version.reason,
    )
