"""The totals of ModelStatistics follow from the counts by the stated definitions."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from service.errors import Code
from service.observability.metrics.snapshot import NO_MODEL
from service.observability.metrics.totals import TimeSpent, VersionTotals, totals_of
from service.observability.timing import ModelRun
from tests.service.observability.metrics.work import model, recorder, request

S = 1_000_000_000


def test_each_total_has_its_count_and_its_time() -> None:
    counting = recorder(model(), model(2))
    asked = request(model(), ModelRun(8, 106.0, 110.0), images=10)
    asked.decode_began_s, asked.decode_ended_s = 100.5, 101.5
    asked.bad_images, asked.cached_images, asked.uncached_images = 1, 4, 5
    known = request(model(), images=3)
    known.cached_images = 3
    late = request(model(), images=9, code=Code.DEADLINE_EXCEEDED)
    late.queued_s = 115.0
    for each in (asked, known, late, request(None, code=Code.NOT_FOUND)):
        counting.on_request(each)
    counting.on_run(model(), ModelRun(8, 106.0, 110.0))

    versions = dict(totals_of(asyncio.run(counting.collect())).versions)

    found = versions.pop(("colours", "1"))
    assert found.last_answer_ms > 0
    assert replace(found, last_answer_ms=0) == VersionTotals(
        is_loaded=True,
        requests={"ok": 2, "deadline_exceeded": 1},
        images={"ok": 12, "deadline_exceeded": 9, "bad_image": 1},
        cached_images=7,
        uncached_images=5,
        cached_requests=1,
        uncached_requests=1,
        answered=TimeSpent(2, 40 * S),
        failed=TimeSpent(1, 20 * S),
        decode=TimeSpent(1, 1 * S),
        queue=TimeSpent(2, 8 * S),
        batch_wait=TimeSpent(1, 1 * S),
        compute=TimeSpent(1, 4 * S),
        reply_ns=10 * S,
        batches={8: TimeSpent(1, 4 * S)},
        waiting_images=3,
    )
    no_model = versions.pop(NO_MODEL)
    assert no_model.requests == {"ok": 0, "not_found": 1}
    assert versions == {
        ("colours", "2"): VersionTotals(
            is_loaded=True, requests={"ok": 0}, images={"ok": 0, "bad_image": 0}, waiting_images=3
        )
    }


def test_totals_of_the_server_are_read_from_its_metrics() -> None:
    counting = recorder(model())
    for _ in range(2):
        counting.on_refusal("call refused", "NOT_FOUND")

    totals = totals_of(asyncio.run(counting.collect()))

    assert totals.refusals == {("call refused", "NOT_FOUND"): 2}
    assert (totals.workers, totals.worker_restarts, totals.connections) == (1, 0, 2)
    assert (totals.active_calls, totals.admitted_images) == (0, 0)
