"""The counts of calls, requests and runs, and the meaning of each duration."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from service.errors import Code
from service.observability.metrics import table
from service.observability.metrics.exposition import Exposition
from service.observability.timing import ModelRun
from tests.service.observability.metrics.scraper import Samples, samples_of, value
from tests.service.observability.metrics.work import ASK, Call, model, recorder, request

if TYPE_CHECKING:
    from service.observability.metrics.recorder import Recorder

COLOURS = model()


def _exposed(recorder: Recorder) -> Samples:
    return samples_of("".join(Exposition("").write(asyncio.run(recorder.collect()))))


@pytest.mark.parametrize(
    ("runs", "batch_wait_s", "compute_s", "reply_s"),
    [
        ([ModelRun(8, 106.0, 110.0)], 1, 4, 10),
        ([ModelRun(8, 106.0, 108.0), ModelRun(8, 111.0, 112.0)], 4, 3, 8),
        ([ModelRun(8, 106.0, 110.0), ModelRun(8, 107.0, 112.0)], 1, 6, 8),  # two sessions at a time
        ([ModelRun(8, 107.0, 109.0), ModelRun(8, 106.0, 112.0)], 1, 6, 8),
    ],
)
def test_the_parts_of_a_request_are_timed_separately(
    runs: list[ModelRun], batch_wait_s: float, compute_s: float, reply_s: float
) -> None:
    asked = request(COLOURS, *runs)
    asked.decode_began_s, asked.decode_ended_s = 100.5, 101.5
    counting = recorder(COLOURS)

    counting.on_request(asked)

    exposed = _exposed(counting)
    sums = {
        "decode_seconds_sum": 1,
        "queue_seconds_sum": 3,
        "batch_wait_seconds_sum": batch_wait_s,
        "compute_seconds_sum": compute_s,
        "reply_seconds_total": reply_s,
        "request_duration_seconds_sum": 20,
    }
    assert {name: value(exposed, name, model="colours", version="1") for name in sums} == sums


@pytest.mark.parametrize("n", [255, 256, 600])
def test_events_that_are_counted_in_chunks_are_all_counted(n: int) -> None:
    counting = recorder(COLOURS)
    run = ModelRun(2, 106.0, 110.0)

    for _ in range(n):
        counting.on_run(COLOURS, run)
        counting.on_request(request(COLOURS, run, images=2))
        counting.on_call(Call())

    exposed = _exposed(counting)
    for name in ("queue_seconds", "batch_wait_seconds", "compute_seconds", "request_duration_seconds"):
        assert value(exposed, f"{name}_count", version="1") == n
    assert value(exposed, "queue_seconds_sum") == 3 * n
    assert value(exposed, "compute_seconds_sum") == 4 * n
    assert value(exposed, "reply_seconds_total") == 10 * n
    assert value(exposed, "calls_total") == value(exposed, "call_duration_seconds_count") == n
    assert value(exposed, "images_total", outcome="ok") == 2 * n
    assert value(exposed, "runs_total") == n


def test_parts_that_did_not_happen_are_not_counted() -> None:
    counting = recorder(COLOURS)
    counting.on_request(request(COLOURS))
    waited = request(COLOURS, code=Code.DEADLINE_EXCEEDED)
    waited.queued_s = 104.0

    counting.on_request(waited)

    exposed = _exposed(counting)
    assert value(exposed, "request_duration_seconds_count", outcome="ok") == 1
    assert value(exposed, "request_duration_seconds_count", outcome="failed") == 1
    assert value(exposed, "queue_seconds_count") == 1
    assert value(exposed, "queue_seconds_sum") == 16  # to its end
    for name in ("decode_seconds", "batch_wait_seconds", "compute_seconds"):
        assert value(exposed, f"{name}_count") == 0


def test_images_are_counted_by_outcome() -> None:
    counting = recorder(COLOURS)
    asked = request(COLOURS, ModelRun(10, 106.0, 110.0), images=10)
    asked.bad_images = 2
    asked.cached_images, asked.uncached_images = 3, 5

    counting.on_request(asked)
    counting.on_request(request(COLOURS, images=4, code=Code.RESOURCE_EXHAUSTED))
    counting.on_request(request(None, images=7, code=Code.INVALID_ARGUMENT))

    exposed = _exposed(counting)
    images = {
        (labels["model"], labels["version"], labels["outcome"]): count
        for (name, pairs), count in exposed.items()
        if name == "cifar10net_images_total" and (labels := dict(pairs))
    }
    assert images == {
        ("colours", "1", "ok"): 8,
        ("colours", "1", "bad_image"): 2,
        ("colours", "1", "resource_exhausted"): 4,
        ("", "", "ok"): 0,
        ("", "", "bad_image"): 0,
        ("", "", "invalid_argument"): 7,
    }
    assert value(exposed, "cache_images_total", result="hit") == 3
    assert value(exposed, "cache_images_total", result="miss") == 5


def test_runs_are_counted_by_the_size_of_their_batch() -> None:
    counting = recorder(COLOURS)

    for images in (1, 2, 3, 64, 64):
        counting.on_run(COLOURS, ModelRun(images, 10.0, 10.5))

    exposed = _exposed(counting)
    assert value(exposed, "runs_total") == 5
    assert value(exposed, "run_seconds_total") == 2.5
    assert value(exposed, "batch_images_sum") == 134
    below = {le: value(exposed, "batch_images_bucket", le=le) for le in ("1.0", "2.0", "4.0", "32.0", "64.0")}
    assert below == {"1.0": 1, "2.0": 2, "4.0": 3, "32.0": 3, "64.0": 5}


def test_a_time_at_the_end_of_a_bucket_is_in_it() -> None:
    counting = recorder(COLOURS)

    counting.on_request(request(COLOURS, ModelRun(1, 106.0, 106.25)))

    exposed = _exposed(counting)
    assert value(exposed, "compute_seconds_bucket", le="0.1") == 0
    assert value(exposed, "compute_seconds_bucket", le="0.25") == 1


def test_calls_are_counted_by_method_and_code() -> None:
    counting = recorder()

    for code in (Code.OK, Code.OK, Code.CANCELLED):
        counting.on_call(Call(code))

    exposed = _exposed(counting)
    assert value(exposed, "calls_total", method=ASK[1:], code="OK") == 2
    assert value(exposed, "calls_total", method=ASK[1:], code="CANCELLED") == 1
    assert value(exposed, "call_duration_seconds_count", method=ASK[1:]) == 3


def test_counters_are_exposed_with_zero_before_the_first_event() -> None:
    """Otherwise a rate would miss the first event."""
    exposed = _exposed(recorder(COLOURS))

    assert value(exposed, "calls_total", code="OK") == 0
    for name in ("requests_total", "images_total"):
        key = (
            f"cifar10net_{name}",
            frozenset({"model": "colours", "version": "1", "outcome": "ok"}.items()),
        )
        assert exposed[key] == 0
    assert value(exposed, "compute_seconds_count", version="1") == 0


def test_gauges_have_their_current_values() -> None:
    exposed = _exposed(recorder(COLOURS, model(2)))

    assert value(exposed, "connections") == 2
    assert value(exposed, "waiting_images", model="colours") == 6
    assert value(exposed, "model_info", model="colours", provider="CPUExecutionProvider") == 2
    assert value(exposed, "build_info", version="1.2", python="3.11", onnxruntime="1.23") == 1
    assert value(exposed, "process_resident_memory_bytes") > 1 << 20
    assert value(exposed, "process_open_fds") > 0
    assert value(exposed, "process_cpu_seconds_total") > 0


def test_the_time_of_the_last_request_changes_only_with_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the system's time is set, and although the two clocks are not read at the same moment."""
    counting = recorder(COLOURS)
    counting.on_request(request(COLOURS))
    first_s = value(_exposed(counting), "last_request_timestamp_seconds")

    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)

    assert value(_exposed(counting), "last_request_timestamp_seconds") == first_s > 0
    counting.on_request(request(COLOURS, ModelRun(1, 106.0, 107.0)))
    assert value(_exposed(counting), "last_request_timestamp_seconds") == first_s
    later = request(COLOURS)
    later.ended_s += 1
    counting.on_request(later)
    assert value(_exposed(counting), "last_request_timestamp_seconds") != first_s


def test_the_number_of_refusal_labels_is_bounded() -> None:
    counting = recorder()

    for number in range(1_000):
        counting.on_refusal("call refused", f"reason {number}")

    exposed = _exposed(counting)
    kinds = [labels for name, labels in exposed if name == "cifar10net_refusals_total"]
    assert len(kinds) == 101
    assert value(exposed, "refusals_total") == 1_000
    assert value(exposed, "refusals_total", event="other") == 900


def test_the_number_of_model_event_labels_is_bounded() -> None:
    counting = recorder()

    for number in range(2_000):
        counting.on_model(f"model {number}", 1, "loaded")

    exposed = _exposed(counting)
    kinds = [labels for name, labels in exposed if name == "cifar10net_model_events_total"]
    assert len(kinds) == 1_001
    assert value(exposed, "model_events_total") == 2_000
    assert value(exposed, "model_events_total", model="other", event="loaded") == 1_000


def test_a_hundred_reloads_leave_a_bounded_number_of_versions() -> None:
    counting = recorder(model(1))

    for version in range(1, 101):
        counting.on_model("colours", version, "loaded")
        for _ in range(2):
            counting.on_request(request(model(version), ModelRun(1, 106.0, 107.0)))
    counting.on_request(request(None, code=Code.NOT_FOUND))

    exposed = _exposed(counting)
    versions = {dict(labels)["version"] for name, labels in exposed if name == "cifar10net_requests_total"}
    assert versions == {"", "1", *map(str, range(69, 101))}  # the loaded one, and the newest that are not
    assert value(exposed, "requests_total", version="100") == 2
    assert value(exposed, "model_events_total", model="colours", event="loaded") == 100


def test_every_metric_of_the_table_is_exposed_with_its_labels() -> None:
    counting = recorder(COLOURS)
    counting.on_refusal("call refused", "NOT_FOUND")
    counting.on_model("colours", 1, "loaded")

    exposed = _exposed(counting)

    labels = {name.removeprefix("cifar10net_"): {*dict(pairs)} - {"le"} for name, pairs in exposed}
    for metric in table.METRICS:
        name = f"{metric.name}_count" if metric.kind is table.Kind.HISTOGRAM else metric.name
        assert labels.pop(name) == {*metric.labels}, metric.name
    assert {name.rpartition("_")[2] for name in labels} == {"bucket", "sum"}
