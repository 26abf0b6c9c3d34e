"""The spans of the model's runs, each of which answers many calls.

In: the runs that traced requests had a part in. Out: a span for each run, linked with the call of every such
request. A run's requests end within moments of each other, so its span is ended a while after the first of
them has; a request that is later still links to the span, which then has no link back. Knows nothing of how
calls are sampled.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import Span

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext, Tracer

    from service.observability.timing import Run
    from service.runtime.model import ModelInfo

_WAIT_S = 1.0


class Batches:
    """Those whose spans may still get links."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._open: dict[Span, tuple[asyncio.TimerHandle, int]] = {}
        """When each is to be ended, and with which time."""

    def join(self, run: Run, model: ModelInfo | None, call: SpanContext, offset_ns: int) -> SpanContext:
        """Link a run's span to that of a call, or of a request, that had a part in it; return the run's."""
        span = run.context if isinstance(run.context, Span) else self._begin(run, model, offset_ns)
        if span.is_recording():
            span.add_link(call)
        return span.get_span_context()

    def close(self) -> None:
        """End them all."""
        for span, (timer, _) in list(self._open.items()):
            timer.cancel()
            self._end(span)

    def _begin(self, run: Run, model: ModelInfo | None, offset_ns: int) -> Span:
        span = self._tracer.start_span(
            "batch",
            Context(),  # a trace of its own: it belongs to no call more than to others
            attributes={"cifar10net.images": run.images, **model_attributes(model)},
            start_time=in_ns(run.began_s, offset_ns),
        )
        run.context = span
        timer = asyncio.get_running_loop().call_later(_WAIT_S, self._end, span)
        self._open[span] = timer, in_ns(run.ended_s, offset_ns)
        return span

    def _end(self, span: Span) -> None:
        _, ended_ns = self._open.pop(span)
        span.end(ended_ns)


def model_attributes(model: ModelInfo | None) -> dict[str, str | int]:
    """Say which model it is, if that is known."""
    return {} if model is None else {"cifar10net.model": model.name, "cifar10net.version": model.version}


def in_ns(clock_s: float, offset_ns: int) -> int:
    """Convert seconds of ``service.observability.timing.clock`` to nanoseconds since 1970."""
    return round(clock_s * 1e9) + offset_ns
