"""Where a call stands in its caller's trace (W3C Trace Context).

In: what the caller says, else OpenTelemetry's current span where the program has OpenTelemetry. Out: metadata
of a call.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cifar10net.request_options import Question

Metadata = tuple[tuple[str, str], ...]


def trace_metadata(question: Question | None = None) -> Metadata:
    """Say which span the call is below; nothing if there is none."""
    if question is not None and question.traceparent:
        sent = {"traceparent": question.traceparent, "tracestate": question.tracestate}
    # A program that has not loaded OpenTelemetry has no span, and need not pay for loading it.
    elif "opentelemetry.trace" in sys.modules:
        sent = _current()
    else:
        return ()
    return tuple((key, value) for key, value in sent.items() if value)


def _current() -> dict[str, str]:
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - an extra
        TraceContextTextMapPropagator,
    )

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier
