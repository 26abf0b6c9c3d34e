"""Keyword arguments of the classify methods, and the requests that they become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

from cifar10net.pb import classifier_pb2 as pb
from cifar10net.protocol import DEFAULT_TOP_K

if TYPE_CHECKING:
    from collections.abc import Sequence

Priority: TypeAlias = Literal["interactive", "bulk"]
"""Which images go first when some must wait: ``bulk`` images use what ``interactive`` ones leave free."""
_PRIORITIES = {"interactive": pb.PRIORITY_INTERACTIVE, "bulk": pb.PRIORITY_BULK}


class Options(TypedDict, total=False):
    """Keyword arguments of every classify method."""

    top_k: int
    """Classes for each image, 1 to 10; by default 3."""
    model: str
    """A name from ``models``; by default the server's default model."""
    version: str
    """A version of the model; by default the newest."""
    priority: Priority
    """``"interactive"``, the default, or ``"bulk"``."""
    traceparent: str
    """The parent span (W3C Trace Context); by default OpenTelemetry's current span."""
    tracestate: str
    """The vendor data that belongs to ``traceparent``."""


@dataclass(frozen=True, kw_only=True)
class RequestOptions:
    """``Options`` with the defaults filled in."""

    top_k: int = DEFAULT_TOP_K
    model: str = ""
    version: str = ""
    priority: Priority = "interactive"
    traceparent: str = ""
    tracestate: str = ""

    def __post_init__(self) -> None:
        if self.priority not in _PRIORITIES:
            raise ValueError(f"priority is {self.priority!r}, wanted one of {', '.join(_PRIORITIES)}")

    def request(self, images: Sequence[pb.Image], packed_pixels: bytes = b"") -> pb.ClassifyRequest:
        """Build a request."""
        return pb.ClassifyRequest(
            model=self.model,
            version=self.version,
            top_k=self.top_k,
            priority=_PRIORITIES[self.priority],
            images=images,
            packed_pixels=packed_pixels,
        )
