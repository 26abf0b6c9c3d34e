"""Spans of the model's runs, each linked with the calls that had images in it.

The requests of a run end within moments of each other, so its span is ended one second after the first of
them. A request that ends later still links to the span, which then has no link back.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import Span

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext, Tracer

    from service.observability.timing import ModelRun
    from service.runtime.model import ModelInfo

_WAIT_S = 1.0


class BatchSpans:
    """Creates the spans, and ends them once they have their links."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._open: dict[Span, tuple[asyncio.TimerHandle, int]] = {}
        """The timer that ends each span, and its end time in nanoseconds."""

    def join(self, run: ModelRun, model: ModelInfo | None, call: SpanContext, offset_ns: int) -> SpanContext:
        """Link the span of a run to the span of a call or request with images in it; return the run's."""
        span = run.context if isinstance(run.context, Span) else self._begin(run, model, offset_ns)
        if span.is_recording():
            span.add_link(call)
        return span.get_span_context()

    def close(self) -> None:
        """End all open spans."""
        for span, (timer, _) in list(self._open.items()):
            timer.cancel()
            self._end(span)

    def _begin(self, run: ModelRun, model: ModelInfo | None, offset_ns: int) -> Span:
        span = self._tracer.start_span(
            "batch",
            Context(),  # a trace of its own: a run belongs to no single call
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
    """Return a span's attributes for the model, if it is known."""
    return {} if model is None else {"cifar10net.model": model.name, "cifar10net.version": model.version}


def in_ns(clock_s: float, offset_ns: int) -> int:
    """Convert seconds of ``service.observability.timing.clock`` to nanoseconds since 1970."""
    return round(clock_s * 1e9) + offset_ns
