"""Trace metadata of a call (W3C Trace Context): given by the caller, or OpenTelemetry's current span."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cifar10net.request_options import RequestOptions

Metadata = tuple[tuple[str, str], ...]


def trace_metadata(options: RequestOptions | None = None) -> Metadata:
    """Return the parent span as metadata; empty if there is none."""
    if options is not None and options.traceparent:
        headers = {"traceparent": options.traceparent, "tracestate": options.tracestate}
    # A program that has not loaded OpenTelemetry has no span, and need not pay for loading it.
    elif "opentelemetry.trace" in sys.modules:
        headers = _current_span()
    else:
        return ()
    return tuple((key, value) for key, value in headers.items() if value)


def _current_span() -> dict[str, str]:
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - an extra
        TraceContextTextMapPropagator,
    )

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return headers
