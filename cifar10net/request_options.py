"""What is asked of each image, and how a call is named in its caller's trace.

In: keywords of the clients' methods. Out: requests. Knows nothing of channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

from cifar10net.pb import classifier_pb2 as pb
from cifar10net.protocol import DEFAULT_TOP_K, MAX_CALL_IMAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

Priority: TypeAlias = Literal["interactive", "bulk"]
"""Who goes first when images have to wait; ``bulk`` gets what ``interactive`` leaves free."""
_PRIORITIES = {"interactive": pb.PRIORITY_INTERACTIVE, "bulk": pb.PRIORITY_BULK}


class Options(TypedDict, total=False):
    """Keywords that every way of classifying takes."""

    top_k: int
    """Classes an image, 1 to 10; by default 3."""
    model: str
    """A name from ``models``; by default the server's own choice."""
    version: str
    """A version of it; by default the newest."""
    priority: Priority
    """``"interactive"``, the default, or ``"bulk"``."""
    traceparent: str
    """The caller's place in a trace (W3C Trace Context); by default that of OpenTelemetry's current span."""
    tracestate: str
    """What goes with ``traceparent``."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """The same with its defaults."""

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
        """Ask it of some images."""
        return pb.ClassifyRequest(
            model=self.model,
            version=self.version,
            top_k=self.top_k,
            priority=_PRIORITIES[self.priority],
            images=images,
            packed_pixels=packed_pixels,
        )


def check_in_flight(images: int) -> None:
    """Refuse a stream that could read nothing, or everything. Raises ValueError."""
    if not 1 <= images <= MAX_CALL_IMAGES:
        raise ValueError(f"in_flight is {images}, wanted 1 to {MAX_CALL_IMAGES}")
