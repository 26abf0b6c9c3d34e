"""Observers of the server's work, such as metrics and traces, and the events they are notified of.

A call is gRPC's; a request is for predictions about some images, and a streaming call has many. Observers are
called in the event loop, must be quick, and must not raise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, Self, TypeAlias

from service.errors import Code, ServiceError
from service.observability.timing import Timing, clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from service.observability.timing import ModelRun
    from service.runtime.model import ModelInfo


ModelEvent: TypeAlias = Literal["loaded", "refused", "retired"]
"""A version was loaded, refused since it is broken, or retired."""


class ObservedCall(Protocol):
    """The view that observers have of a call."""

    began_s: float
    """When its headers arrived, by ``service.observability.timing.clock``."""
    code: Code
    """Its status; CANCELLED until it ends."""
    context: object
    """Free for one observer's own data; None at first."""
    images: int
    """Images of all its requests so far."""

    @property
    def path(self) -> str:
        """``/package.Service/Method``."""

    @property
    def metadata(self) -> Mapping[bytes, bytes]:
        """The request headers."""

    @property
    def peer(self) -> str:
        """The caller's address, ``host:port``."""

    @property
    def is_stream(self) -> bool:
        """Whether it can have many requests."""

    def facts(self) -> Mapping[str, str]:
        """Return log fields that say whose call it is."""


class Observer:
    """Base class, which ignores everything."""

    def on_call(self, call: ObservedCall) -> None:
        """Called when a call has ended."""

    def on_refusal(self, event: str, reason: str) -> None:
        """Called when something was refused, a call or not; events have few reasons each."""

    def on_request(self, request: Request) -> None:
        """Called when a request has ended."""

    def on_run(self, model: ModelInfo, run: ModelRun) -> None:
        """Called when a run of a model has ended, whether or not it failed."""

    def on_model(self, name: str, version: int, event: ModelEvent) -> None:
        """Called when a model version was loaded, refused or retired."""

    def describe(self, call: ObservedCall) -> Mapping[str, str]:  # noqa: ARG002 - for those that have some
        """Return fields to add to log lines about a call."""
        return {}


def all_of(observers: Sequence[Observer]) -> Observer:
    """Combine observers; a single one is returned as it is."""
    return observers[0] if len(observers) == 1 else Observers(observers)


class Observers(Observer):
    """Forwards everything to several observers."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def on_call(self, call: ObservedCall) -> None:
        """Forward."""
        for observer in self._observers:
            observer.on_call(call)

    def on_refusal(self, event: str, reason: str) -> None:
        """Forward."""
        for observer in self._observers:
            observer.on_refusal(event, reason)

    def on_request(self, request: Request) -> None:
        """Forward."""
        for observer in self._observers:
            observer.on_request(request)

    def on_run(self, model: ModelInfo, run: ModelRun) -> None:
        """Forward."""
        for observer in self._observers:
            observer.on_run(model, run)

    def on_model(self, name: str, version: int, event: ModelEvent) -> None:
        """Forward."""
        for observer in self._observers:
            observer.on_model(name, version, event)

    def describe(self, call: ObservedCall) -> Mapping[str, str]:
        """Return the fields of all."""
        facts: dict[str, str] = {}
        for observer in self._observers:
            facts.update(observer.describe(call))
        return facts


class Request(Timing):
    """A request for predictions, from the start of its parsing until its answer is built.

    Used as ``with Request(observer, call) as request:``; ``observer`` is notified when the block ends.
    """

    __slots__ = ("_images", "_observer", "bad_images", "began_s", "call", "code", "ended_s", "model")

    def __init__(self, observer: Observer, call: ObservedCall) -> None:
        super().__init__()
        self._observer = observer
        self.call = call
        self.began_s = self.ended_s = clock()
        self.model: ModelInfo | None = None
        """None until it is known."""
        self._images = 0
        self.bad_images = 0
        """How many of its images could not be decoded."""
        self.code = Code.OK

    @property
    def images(self) -> int:
        """How many it has."""
        return self._images

    @images.setter
    def images(self, images: int) -> None:
        self.call.images += images - self._images  # now, since the call may end before the request
        self._images = images

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.ended_s = clock()
        if isinstance(error, ServiceError):
            self.code = error.code
        elif error is not None:  # cancelled, since its call is over, as at a deadline
            self.code = Code.INTERNAL if isinstance(error, Exception) else self.call.code
        self._observer.on_request(self)
