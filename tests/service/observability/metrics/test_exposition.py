"""Both text formats are what the parsers of the prometheus-client library read, the strict one included."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from service.errors import Code
from service.observability.metrics.exposition import Exposition
from service.observability.metrics.snapshot import MetricValues, Snapshot
from service.observability.metrics.table import METRICS, REFUSALS, Kind
from service.observability.timing import ModelRun
from tests.service.observability.metrics.scraper import parse_open_metrics
from tests.service.observability.metrics.work import model, recorder, request

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
"""What Prometheus 3 accepts."""


@pytest.fixture
def snapshot() -> Snapshot:
    counting = recorder(model(), model(2))
    for run in (ModelRun(3, 105.5, 107.25), ModelRun(64, 105.0001, 105.5)):
        counting.on_request(request(model(), run))
        counting.on_run(model(), run)
    counting.on_request(request(None, code=Code.NOT_FOUND))
    counting.on_refusal("call refused", "NOT_FOUND")
    return asyncio.run(counting.collect())


def test_both_formats_have_the_same_samples(snapshot: Snapshot) -> None:
    text, open_metrics = (
        "".join(Exposition(accept).write(snapshot)) for accept in ("text/plain", PROMETHEUS)
    )

    samples, same = (
        [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]
        for families in (parse_text(text), parse_open_metrics(open_metrics))
    )
    assert samples == same
    assert len(samples) > 200


def test_families_are_the_tables(snapshot: Snapshot) -> None:
    text = "".join(Exposition(PROMETHEUS).write(snapshot))

    families = {family.name: family for family in parse_open_metrics(text)}
    assert len(families) == len(METRICS)
    for metric in METRICS:
        name = metric.full_name.removesuffix("_total").removesuffix("_info")
        kind = "gauge" if metric.kind is Kind.LATEST else metric.kind.value
        family = families[name]
        assert (family.type, family.unit, family.documentation) == (kind, metric.unit, metric.help)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (PROMETHEUS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ],
)
def test_the_format_is_the_one_that_is_accepted(accept: str, content_type: str) -> None:
    assert Exposition(accept).content_type == content_type


@pytest.mark.parametrize("accept", ["text/plain", PROMETHEUS])
def test_any_label_value_is_escaped(accept: str) -> None:
    odd = 'a "quoted" back\\nslash, a new\nline \u2603 {x="1"} #'
    snapshot = Snapshot(MetricValues({REFUSALS.name: {odd: {"": 7}}}))

    text = "".join(Exposition(accept).write(snapshot))

    parse = parse_open_metrics if accept is PROMETHEUS else parse_text
    [sample] = [sample for family in parse(text) for sample in family.samples]
    assert (sample.labels, sample.value) == ({"event": odd, "reason": ""}, 7)
