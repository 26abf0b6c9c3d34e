"""The table of metrics keeps to the conventions of Prometheus and OpenMetrics."""

from __future__ import annotations

from service.observability.metrics.table import METRICS, Kind


def test_names_say_unit_and_kind() -> None:
    for metric in METRICS:
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        assert metric.name.endswith("_info") == (metric.kind is Kind.INFO), metric.name
        assert metric.name.removesuffix("_total").endswith(metric.unit), metric.name
        assert bool(metric.bounds) == (metric.kind is Kind.HISTOGRAM), metric.name


def test_every_metric_is_explained_in_words_that_need_no_escape() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.help.endswith("."), metric.name
        assert not {"\\", "\n", '"'} & {*metric.help}, metric.name
