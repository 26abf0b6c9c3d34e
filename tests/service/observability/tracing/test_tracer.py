"""Sampling, and spans in edge cases: late requests, endless streams, shutdown."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, format_trace_id

from service.errors import Code
from service.observability.observers import Request
from service.observability.timing import ModelRun, clock
from service.observability.tracing import batches, tracer
from service.observability.tracing.tracer import CallTracer
from service.runtime.model import ModelInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
MODEL = ModelInfo("colours", 3, ("a", "b"), "CPU", {})


class _Call:
    """A call that has ended well."""

    path = "/test.Service/Ask"
    peer = "[::1]:4711"
    code = Code.OK

    def __init__(self, traceparent: str = "", *, is_stream: bool = False) -> None:
        self.metadata = {b"traceparent": traceparent.encode()} if traceparent else {}
        self.is_stream = is_stream
        self.context: object = None
        self.images = 0
        self.began_s = clock()

    def facts(self) -> dict[str, str]:
        return {}


class _Traced:
    """A tracer, and the spans that it has ended."""

    def __init__(self, ratio: float = 0.0) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.observer = CallTracer(provider.get_tracer("test"), ratio)

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def request(self, call: _Call, runs: Sequence[ModelRun] = ()) -> None:
        with Request(self.observer, call) as request:
            request.images, request.model = 1, MODEL
            request.queued_s = request.taken_s = clock()
            request.runs.extend(runs)

    def calls(self, *traceparents: str) -> list[ReadableSpan]:
        """Have some calls; return the spans of those that were traced."""
        for traceparent in traceparents:
            call = _Call(traceparent)
            self.request(call)
            self.observer.on_call(call)
        return self.spans(_Call.path[1:])


def _parent(flags: str) -> str:
    return f"00-{TRACE_ID}-{SPAN_ID}-{flags}"


def _run() -> ModelRun:
    return ModelRun(2, clock(), clock())


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_the_caller_decides_if_it_says_so_and_else_the_ratio(ratio: float) -> None:
    no_id = _parent("00").replace(TRACE_ID, "0" * 32)

    told = _Traced(ratio).calls(_parent("01"), _parent("00"), "", "junk", "00-junk", "x" * 54 + "0", no_id)

    parents = [span.parent.span_id if span.parent else None for span in told]
    assert parents == [int(SPAN_ID, 16), *([None] * 5 if ratio else [])]


def test_the_ratio_is_the_share_of_calls_that_are_traced() -> None:
    told = _Traced(0.3).calls(*[""] * 2_000)

    assert 450 < len(told) < 750  # seven standard deviations either way: never by chance
    assert len({span.context.trace_id for span in told if span.context}) == len(told)


def test_a_stream_is_traced_as_a_whole_or_not_at_all() -> None:
    traced = _Traced(0.5)
    for _ in range(50):
        call = _Call(is_stream=True)
        for _ in range(4):
            traced.request(call)
        traced.observer.on_call(call)

    calls = traced.spans(_Call.path[1:])
    assert 0 < len(calls) < 50
    assert len(traced.spans("request")) == 4 * len(calls)


def test_a_stream_gets_spans_of_its_first_requests_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracer, "_MAX_REQUESTS", 5)
    traced, call = _Traced(1), _Call(is_stream=True)
    for _ in range(9):
        traced.request(call)
    traced.observer.on_call(call)

    [span] = traced.spans(_Call.path[1:])
    assert span.attributes is not None
    assert span.attributes["cifar10net.requests"] == 9
    assert len(traced.spans("request")) == 5


def test_a_request_that_ends_after_its_call_is_still_below_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    traced, call = _Traced(1), _Call()
    traced.observer.on_call(call)  # as when its deadline has passed: its handler is cancelled after that
    traced.request(call)

    [span], [queue] = traced.spans(_Call.path[1:]), traced.spans("queue")
    assert queue.parent == span.context
    assert not caplog.records


def test_a_call_that_was_never_a_request_is_traced_and_named_in_the_log() -> None:
    traced, call, other = _Traced(0), _Call(_parent("01")), _Call()
    assert traced.observer.describe(call) == {"trace_id": TRACE_ID}
    assert traced.observer.describe(other) == {}
    for each in (call, other):
        traced.observer.on_call(each)

    [span] = traced.spans(_Call.path[1:])
    assert span.attributes is not None
    assert (span.attributes["network.peer.address"], span.attributes["network.peer.port"]) == ("[::1]", 4711)


def test_times_are_those_of_the_wall_clock() -> None:
    traced = _Traced(1)
    before_ns = time.time_ns()
    [span] = traced.calls("")
    after_ns = time.time_ns()

    assert span.start_time is not None
    assert span.end_time is not None
    # Two clocks are read one after the other, once a call.
    assert before_ns - 1_000_000 <= span.start_time <= span.end_time <= after_ns + 1_000_000


def test_a_batch_has_one_span_with_all_calls_that_end_within_moments(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(batches, "_WAIT_S", 0.05)
    traced, run = _Traced(1), _run()

    async def course() -> None:
        for _ in range(3):
            traced.request(_Call(is_stream=True), [run])
        async with asyncio.timeout(30):
            while not traced.spans("batch"):
                await asyncio.sleep(0.01)
        traced.request(_Call(is_stream=True), [run])  # too late for a link

    asyncio.run(course())

    [batch] = traced.spans("batch")
    requests = traced.spans("request")
    assert [link.context for link in batch.links] == [span.context for span in requests[:3]]
    assert [link.context for span in traced.spans("compute") for link in span.links] == [batch.context] * 4
    assert (batch.attributes or {})["cifar10net.version"] == 3
    assert not caplog.records


def test_spans_of_batches_that_are_still_open_are_ended() -> None:
    traced = _Traced(1)

    async def course() -> None:
        traced.request(_Call(), [_run(), _run()])
        assert not traced.spans("batch")
        traced.observer.close()

    asyncio.run(course())

    assert len(traced.spans("batch")) == 2


def test_a_call_of_very_many_runs_makes_no_more_spans_than_there_may_be_links() -> None:
    traced = _Traced(1)

    async def course() -> None:
        traced.request(_Call(), [_run() for _ in range(1_000)])
        traced.observer.close()

    asyncio.run(course())

    [compute] = traced.spans("compute")
    assert len(compute.links) == len(traced.spans("batch")) == 128


def test_ids_are_the_callers() -> None:
    [span] = _Traced().calls(_parent("01"))

    assert span.context is not None
    assert span.parent is not None
    assert format_trace_id(span.context.trace_id) == TRACE_ID
    assert format_span_id(span.parent.span_id) == SPAN_ID
    assert span.parent.is_remote


@given(state=st.binary(max_size=200), parent=st.binary(max_size=80) | st.just(_parent("01").encode()))
def test_whatever_callers_send_nothing_is_raised(state: bytes, parent: bytes) -> None:
    traced, call = _Traced(1), _Call()
    call.metadata = {b"traceparent": parent, b"tracestate": state, b"x-request-id": state}

    traced.observer.describe(call)
    traced.request(call)
    traced.observer.on_call(call)


@given(st.from_regex(rb"[a-z0-9=,@*/_ -]{0,600}", fullmatch=True))
def test_the_callers_state_is_kept_as_far_as_it_is_one(state: bytes) -> None:
    traced, call = _Traced(), _Call(_parent("01"))
    call.metadata[b"tracestate"] = state
    traced.request(call)
    traced.observer.on_call(call)

    [span] = traced.spans(_Call.path[1:])
    assert span.context is not None
    assert len(span.context.trace_state) <= 32
