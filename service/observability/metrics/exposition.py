"""Writes a snapshot in Prometheus' text format or in OpenMetrics, as the reader accepts.

Not by the prometheus-client library, which takes 15 to 45 us a line, during which it blocks the event loop;
the tests read the text with that library's two parsers.

https://prometheus.io/docs/instrumenting/exposition_formats/,
https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from service.observability.metrics import table
from service.observability.metrics.snapshot import BATCHES, MetricValues, batches, leaves, seconds
from service.observability.metrics.table import METRICS, Kind, Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from service.observability.metrics.snapshot import Snapshot, Tree

_OPEN_METRICS = "application/openmetrics-text"
_TYPES = {
    Kind.COUNTER: "counter",
    Kind.HISTOGRAM: "histogram",
    Kind.GAUGE: "gauge",
    Kind.LATEST: "gauge",
    Kind.INFO: "info",
}
_SUFFIXES = {Kind.COUNTER: "_total", Kind.INFO: "_info"}
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Exposition:
    """One of the two formats."""

    def __init__(self, accept: str) -> None:
        """Choose by the value of an HTTP header ``Accept``: OpenMetrics where it is named."""
        self._is_open = _OPEN_METRICS in accept
        kind, version = (_OPEN_METRICS, "1.0.0") if self._is_open else ("text/plain", "0.0.4")
        self.content_type = f"{kind}; version={version}; charset=utf-8"

    def write(self, snapshot: Snapshot) -> Iterator[str]:
        """Yield one metric at a time, so that the event loop can turn to others in between."""
        values = MetricValues()
        values.add(snapshot.cumulative)
        values.add(snapshot.current)
        for of_model in values.models.values():
            of_model.update(_batch_metrics(of_model))
        for metric in METRICS:
            yield "".join((*self._head(metric), *_samples(metric, values)))
        if self._is_open:
            yield "# EOF\n"

    def _head(self, metric: Metric) -> Iterator[str]:
        name, kind = metric.full_name, _TYPES[metric.kind]
        if self._is_open:
            name = name.removesuffix(_SUFFIXES.get(metric.kind, ""))
        elif metric.kind is Kind.INFO:
            kind = "gauge"  # the older format has no other
        yield f"# HELP {name} {metric.help}\n# TYPE {name} {kind}\n"
        if self._is_open and metric.unit:
            yield f"# UNIT {name} {metric.unit}\n"


def _samples(metric: Metric, values: MetricValues) -> Iterator[str]:
    for labels, value in _leaves(metric, values):
        if isinstance(value, list):
            yield from _histogram(metric, labels, value)
        else:
            yield f"{metric.full_name}{_braces(labels)} {_amount(metric, value)}\n"


def _leaves(metric: Metric, values: MetricValues) -> Iterator[tuple[str, int | list[int]]]:
    """Yield each sample's labels, as text, and its value."""
    of_versions: Iterable[tuple[tuple[str, ...], Mapping[str, Tree]]] = [((), values.server)]
    if metric.labels[:2] == table.MODEL_LABELS:
        of_versions = values.models.items()
    for version, of_version in of_versions:
        if metric.name in of_version:
            for labels, value in leaves(of_version[metric.name]):
                yield ",".join(map(_label, metric.labels, (*version, *labels))), value


def _histogram(metric: Metric, labels: str, value: list[int]) -> Iterator[str]:
    *buckets, total = value
    name = metric.full_name
    before = f"{name}_bucket{{{labels}," if labels else f"{name}_bucket{{"
    counts = list(accumulate(buckets))
    for bound, count in zip((*map(repr, metric.bounds), "+Inf"), counts, strict=True):
        yield f'{before}le="{bound}"}} {count}\n'
    yield f"{name}_count{_braces(labels)} {counts[-1]}\n"
    yield f"{name}_sum{_braces(labels)} {_amount(metric, total)}\n"


def _batch_metrics(values: Mapping[str, Tree]) -> Mapping[str, Tree]:
    """Compute a model version's metrics of its runs from the counts by batch size, if it has them."""
    if BATCHES not in values:
        return {}
    buckets = [0] * (len(table.BATCH_IMAGES.bounds) + 1)
    images = total_ns = 0
    for size, runs, busy_ns in batches(values):
        buckets[bisect_left(table.BATCH_IMAGES.bounds, size)] += runs
        images += size * runs
        total_ns += busy_ns
    return {
        table.RUNS.name: sum(buckets),
        table.RUN_TIME.name: total_ns,
        table.BATCH_IMAGES.name: [*buckets, images],
    }


def _amount(metric: Metric, value: int) -> str:
    return repr(seconds(value)) if metric.unit == "seconds" else str(value)


def _braces(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _label(name: str, value: str) -> str:
    return f'{name}="{value.translate(_ESCAPES)}"'
