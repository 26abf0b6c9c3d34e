"""What the server tells of its work: each call and each request as it went, once it is over.

In: the course of a call and of a request. Out: the same to every Observer, such as metrics and traces. A call
is what gRPC sees; a request asks a model about some images, and a call of a stream has many. Observers are
called in the event loop, must be quick, and must not raise. Knows no observer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, Self, TypeAlias

from service.errors import Code, ServiceError
from service.observability.timing import Timing, clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from service.observability.timing import Run
    from service.runtime.model import ModelInfo


ModelEvent: TypeAlias = Literal["loaded", "refused", "retired"]
"""What becomes of a model's version: it begins to answer, is found unfit to, answers no more."""


class ObservedCall(Protocol):
    """What observers may know of a call."""

    began_s: float
    """When its head came, by ``service.observability.timing.clock``."""
    code: Code
    """How it ended; CANCELLED until it has."""
    context: object
    """For one observer to keep what it knows of it; None at first."""
    images: int
    """How many it asks about, so far."""

    @property
    def path(self) -> str:
        """``/package.Service/Method``."""

    @property
    def metadata(self) -> Mapping[bytes, bytes]:
        """The request's header fields."""

    @property
    def peer(self) -> str:
        """Its caller's address, ``host:port``."""

    @property
    def is_stream(self) -> bool:
        """Whether it has many requests."""

    def facts(self) -> Mapping[str, str]:
        """Say whose call it is, for a line of the log."""


class Observer:
    """Learns what it wants to; this one nothing."""

    def on_call(self, call: ObservedCall) -> None:
        """Learn of a call that is over."""

    def on_refusal(self, event: str, reason: str) -> None:
        """Learn of what was refused before, or without, being a call; ``reason`` is one of few."""

    def on_request(self, request: Request) -> None:
        """Learn of a request that is over."""

    def on_run(self, model: ModelInfo, run: Run) -> None:
        """Learn of a model's run that has ended."""

    def on_model(self, name: str, version: int, event: ModelEvent) -> None:
        """Learn what has become of a model's version."""

    def describe(self, call: ObservedCall) -> Mapping[str, str]:  # noqa: ARG002 - this one knows nothing
        """Say what lines of the log are to tell of a call, beside what it says of itself."""
        return {}


def all_of(observers: Sequence[Observer]) -> Observer:
    """Make one of some; a single one is told directly."""
    return observers[0] if len(observers) == 1 else Observers(observers)


class Observers(Observer):
    """Tells all of its own."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def on_call(self, call: ObservedCall) -> None:
        """Tell them."""
        for observer in self._observers:
            observer.on_call(call)

    def on_refusal(self, event: str, reason: str) -> None:
        """Tell them."""
        for observer in self._observers:
            observer.on_refusal(event, reason)

    def on_request(self, request: Request) -> None:
        """Tell them."""
        for observer in self._observers:
            observer.on_request(request)

    def on_run(self, model: ModelInfo, run: Run) -> None:
        """Tell them."""
        for observer in self._observers:
            observer.on_run(model, run)

    def on_model(self, name: str, version: int, event: ModelEvent) -> None:
        """Tell them."""
        for observer in self._observers:
            observer.on_model(name, version, event)

    def describe(self, call: ObservedCall) -> Mapping[str, str]:
        """Ask them."""
        facts: dict[str, str] = {}
        for observer in self._observers:
            facts.update(observer.describe(call))
        return facts


class Request(Timing):
    """A request for predictions: from when its message is looked at until its answer is made.

    Used as ``with Request(observer, call) as request:``; observers are told when the block ends.
    """

    __slots__ = ("_images", "_observer", "bad_images", "began_s", "call", "code", "ended_s", "model")

    def __init__(self, observer: Observer, call: ObservedCall) -> None:
        super().__init__()
        self._observer = observer
        self.call = call
        self.began_s = self.ended_s = clock()
        self.model: ModelInfo | None = None
        """Which model it asks; None as long as that is not known."""
        self._images = 0
        self.bad_images = 0
        """Those among them that could not be read."""
        self.code = Code.OK

    @property
    def images(self) -> int:
        """About how many it asks."""
        return self._images

    @images.setter
    def images(self, images: int) -> None:
        self.call.images += images - self._images  # at once: the call may be over before the request is
        self._images = images

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.ended_s = clock()
        if isinstance(error, ServiceError):
            self.code = error.code
        elif error is not None:  # a call that is over, as at its deadline, has its handler cancelled
            self.code = Code.INTERNAL if isinstance(error, Exception) else self.call.code
        self._observer.on_request(self)
