"""Samples calls and creates their spans, each when the work that it describes has ended.

A sampled call has a span below its caller's, with child spans for decoding, queueing and computing; in a
stream these are children of a span for each request. A call that is not sampled costs a metadata lookup and a
random number.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from service.errors import Code
from service.observability.observers import Observer
from service.observability.request_context import (
    TraceParent,
    is_in_unsampled_trace,
    sent_request_id,
    sent_trace_parent,
)
from service.observability.timing import clock
from service.observability.tracing.batches import BatchSpans, in_ns, model_attributes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.trace import Span, Tracer

    from service.observability.observers import ObservedCall, Request

_UNTRACED = "untraced"
_MAX_REQUESTS = 1_000
"""Requests of a stream that get a span; a stream may last for days."""
_MAX_RUNS = 128
"""Links that OpenTelemetry keeps in a span by default; a call of 4,096 images can have that many runs."""
# The statuses that are the server's fault by OpenTelemetry's conventions for gRPC.
_SERVER_ERRORS = {Code.DEADLINE_EXCEEDED, Code.UNIMPLEMENTED, Code.INTERNAL, Code.UNAVAILABLE}


class CallTracer(Observer):
    """Traces the calls whose callers sample them, and a share of those without a ``traceparent``."""

    def __init__(self, tracer: Tracer, ratio: float) -> None:
        """Create spans with ``tracer``, which must sample all of them; ``ratio`` is the share, 0 to 1."""
        self._tracer = tracer
        self._ratio = ratio
        self._batches = BatchSpans(tracer)

    def on_request(self, request: Request) -> None:
        """Create the spans of a request."""
        trace = self._trace_of(request.call)
        if trace is not None:
            trace.add(request)

    def on_call(self, call: ObservedCall) -> None:
        """End a call's span; a cancelled handler may end its request only after that."""
        trace = self._trace_of(call)
        if trace is not None:
            trace.end(call)

    def describe(self, call: ObservedCall) -> Mapping[str, str]:
        """Return the log field ``trace_id``."""
        trace = self._trace_of(call)
        return {} if trace is None else {"trace_id": trace.id}

    def close(self) -> None:
        """End the spans of runs that are still open."""
        self._batches.close()

    def _trace_of(self, call: ObservedCall) -> _CallTrace | None:
        trace = call.context
        if trace is None:
            trace = call.context = self._begin(call) or _UNTRACED
        return trace if isinstance(trace, _CallTrace) else None

    def _begin(self, call: ObservedCall) -> _CallTrace | None:
        if is_in_unsampled_trace(call.metadata):
            return None
        parent = sent_trace_parent(call.metadata)
        is_sampled = random.random() < self._ratio if parent is None else parent.is_sampled  # noqa: S311 - no secret
        return _CallTrace(self._tracer, self._batches, call, parent) if is_sampled else None


class _CallTrace:
    """The spans of one call."""

    def __init__(
        self, tracer: Tracer, batches: BatchSpans, call: ObservedCall, parent: TraceParent | None
    ) -> None:
        self._tracer = tracer
        self._batches = batches
        # Per call, since the system's time may be set; the same for all of its spans.
        self._offset_ns = time.time_ns() - round(clock() * 1e9)
        self._requests = 0
        self._span = tracer.start_span(
            call.path[1:],
            Context() if parent is None else _context_of(parent, call.metadata),
            SpanKind.SERVER,
            _call_attributes(call),
            start_time=in_ns(call.began_s, self._offset_ns),
        )

    @property
    def id(self) -> str:
        """The trace id, 32 hexadecimal digits."""
        return f"{self._span.get_span_context().trace_id:032x}"

    def add(self, request: Request) -> None:
        """Create spans for a request's parts, below a span of its own in a stream."""
        self._requests += 1
        if self._requests > _MAX_REQUESTS:
            return
        attributes = _request_attributes(request)
        if request.call.is_stream:
            span = self._start("request", self._span, request.began_s, attributes)
            self._add_parts(request, span)
            _conclude(span, request.code, in_ns(request.ended_s, self._offset_ns))
        else:
            if self._span.is_recording():
                self._span.set_attributes(attributes)
            self._add_parts(request, self._span)

    def end(self, call: ObservedCall) -> None:
        """End the call's own span."""
        if call.is_stream:
            self._span.set_attribute("cifar10net.requests", self._requests)
        _conclude(self._span, call.code, in_ns(clock(), self._offset_ns))

    def _add_parts(self, request: Request, below: Span) -> None:
        def add(name: str, began_s: float, ended_s: float, links: Sequence[Link] = ()) -> None:
            self._start(name, below, began_s, links=links).end(in_ns(ended_s, self._offset_ns))

        if request.decode_began_s is not None:
            add("decode", request.decode_began_s, request.decode_ended_s or request.ended_s)
        if request.queued_s is not None:
            add("queue", request.queued_s, request.taken_s or request.ended_s)
        if request.runs:
            context = below.get_span_context()
            links = [
                Link(self._batches.join(run, request.model, context, self._offset_ns))
                for run in request.runs[:_MAX_RUNS]
            ]
            add("compute", request.runs[0].began_s, request.runs[-1].ended_s, links)

    def _start(
        self,
        name: str,
        below: Span,
        began_s: float,
        attributes: dict[str, str | int] | None = None,
        links: Sequence[Link] = (),
    ) -> Span:
        return self._tracer.start_span(
            name,
            set_span_in_context(below, Context()),
            attributes=attributes,
            links=links,
            start_time=in_ns(began_s, self._offset_ns),
        )


def _context_of(parent: TraceParent, metadata: Mapping[bytes, bytes]) -> Context:
    state = metadata.get(b"tracestate", b"").decode("ascii", "replace")
    caller = SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=TraceState.from_header([state]),
    )
    return set_span_in_context(NonRecordingSpan(caller), Context())


def _call_attributes(call: ObservedCall) -> dict[str, str | int]:
    """Return a call's attributes by OpenTelemetry's conventions for gRPC."""
    host, _, port = call.peer.rpartition(":")
    attributes: dict[str, str | int] = {
        "rpc.system.name": "grpc",
        "rpc.method": call.path[1:],
        "network.peer.address": host,
    }
    if port.isdecimal():
        attributes["network.peer.port"] = int(port)
    request_id = sent_request_id(call.metadata)
    if request_id is not None:
        attributes["cifar10net.request_id"] = request_id
    return attributes


def _request_attributes(request: Request) -> dict[str, str | int]:
    return {
        "cifar10net.images": request.images,
        "cifar10net.bad_images": request.bad_images,
        "cifar10net.cached_images": request.cached_images,
        **model_attributes(request.model),
    }


def _conclude(span: Span, code: Code, ended_ns: int) -> None:
    span.set_attribute("rpc.response.status_code", code.name)
    if code in _SERVER_ERRORS:
        span.set_attribute("error.type", code.name)
        span.set_status(StatusCode.ERROR)
    span.end(ended_ns)
