"""The totals of ModelStatistics are made of what was counted, by stated definitions."""

from __future__ import annotations

import asyncio

from service.errors import Code
from service.observability.metrics.totals import totals_of
from service.observability.statistics import BatchTotals, ModelTotals, Spent
from service.observability.timing import Run
from tests.service.observability.metrics.work import model, recorder, request

S = 1_000_000_000


def test_each_total_has_its_count_and_its_time() -> None:
    counting = recorder(model(), model(2))
    asked = request(model(), Run(8, 106.0, 110.0), images=10)
    asked.decode_began_s, asked.decode_ended_s = 100.5, 101.5
    asked.bad_images, asked.cached_images, asked.uncached_images = 1, 4, 5
    known = request(model(), images=3)
    known.cached_images = 3
    late = request(model(), images=9, code=Code.DEADLINE_EXCEEDED)
    late.queued_s = 115.0
    for each in (asked, known, late, request(None, code=Code.NOT_FOUND)):
        counting.on_request(each)
    counting.on_run(model(), Run(8, 106.0, 110.0))

    totals = dict(totals_of(asyncio.run(counting.collect()).kept))

    found = totals.pop(("colours", 1))
    assert found.last_inference_ms > 0
    found.last_inference_ms = 0
    assert found == ModelTotals(
        inference_count=5,
        execution_count=1,
        success=Spent(2, 40 * S),
        fail=Spent(1, 20 * S),
        queue=Spent(3, 8 * S),  # every request, one that did not wait too
        compute_input=Spent(1, 2 * S),  # decoding, and the way into the model's thread
        compute_infer=Spent(1, 4 * S),
        compute_output=Spent(1, 10 * S),
        cache_hit=Spent(1),
        cache_miss=Spent(1),
        batches={8: BatchTotals(compute_infer=Spent(1, 4 * S))},
    )
    assert totals == {("colours", 2): ModelTotals()}
