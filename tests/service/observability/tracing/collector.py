"""A collector of traces, within the test: it keeps the spans that servers send."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.proto.common.v1.common_pb2 import KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as RawSpan

_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Span:
    """A span as it came; ids in hexadecimal digits, empty where there is none."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    began_ns: int
    ended_ns: int
    state: str
    is_error: bool
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    """Trace and span."""
    resource: dict[str, Any]

    @property
    def place(self) -> tuple[str, str]:
        """What links to it say."""
        return self.trace, self.id


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Listens on a port of loopback, which the system chooses."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._spans: list[Span] = []
        self._server = grpc.server(ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.stop(None).wait()

    def Export(  # noqa: N802 - the protocol's name
        self, request: pb.ExportTraceServiceRequest, context: object
    ) -> pb.ExportTraceServiceResponse:
        """Take spans in."""
        del context
        spans = [
            _read(span, _values(group.resource.attributes))
            for group in request.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]
        with self._arrived:
            self._spans += spans
            self._arrived.notify_all()
        return pb.ExportTraceServiceResponse()

    def spans(self) -> list[Span]:
        """Return all that have come, of calls that are no probes of health."""
        with self._arrived:
            return [span for span in self._spans if "Health" not in span.name]

    def wait(self, is_all: Callable[[list[Span]], object]) -> list[Span]:
        """Wait until what has come is all that is wanted."""
        give_up_s = time.monotonic() + _PATIENCE_S
        with self._arrived:
            while not is_all(spans := self.spans()):
                assert self._arrived.wait(give_up_s - time.monotonic()), [span.name for span in spans]
            return spans


def _read(span: RawSpan, resource: dict[str, Any]) -> Span:
    return Span(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        kind=span.kind,
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        state=span.trace_state,
        is_error=span.status.code == span.status.STATUS_CODE_ERROR,
        attributes=_values(span.attributes),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        resource=resource,
    )


def _values(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in attributes}
