"""The figures of ``make bench`` as medians of repeated measurements, with their spread and goals."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Goal:
    """One figure, measured n times; without ``at_least`` and ``at_most`` it has no goal."""

    title: str
    unit: str
    values: Sequence[float]
    at_least: float | None = None
    at_most: float | None = None
    digits: int = 0

    @property
    def median(self) -> float:
        """The median of the measurements, which is compared with the goal."""
        return statistics.median(self.values)

    @property
    def is_met(self) -> bool | None:
        """Whether the median reaches the goal; None without a goal."""
        if self.at_least is not None:
            return self.median >= self.at_least
        return self.median <= self.at_most if self.at_most is not None else None

    def facts(self) -> dict[str, Any]:
        """Return the figure for the file of results."""
        return {
            "unit": self.unit,
            "median": self.median,
            "smallest": min(self.values),
            "largest": max(self.values),
            "n": len(self.values),
            "at_least": self.at_least,
            "at_most": self.at_most,
            "is_met": self.is_met,
        }

    def line(self) -> str:
        """Format the figure as a line of a table."""
        return f"{self.title:64} {self._measured():>34}  n={len(self.values)}  {self._verdict()}".rstrip()

    def _measured(self) -> str:
        middle, low, high = (
            f"{value:,.{self.digits}f}" for value in (self.median, min(self.values), max(self.values))
        )
        return f"{middle} {self.unit} ({low} to {high})"

    def _verdict(self) -> str:
        if self.is_met is None:
            return ""
        sign, bound = (">=", self.at_least) if self.at_least is not None else ("<=", self.at_most)
        return f"{'met' if self.is_met else 'MISSED':6} {sign} {bound:,.{self.digits}f}"


_Wanted = dict[str, Any]
_Figure = tuple[str, str, str, str, _Wanted]
_Rows = Mapping[str, Mapping[str, Sequence[float]]]


def figures(rows: _Rows) -> dict[str, Goal]:
    """Return the figures of ``make bench`` by key, in the order to show, as far as they were measured."""
    found = {
        f"{row}.{column}": Goal(title, unit, rows[row][column], **wanted)
        for row, column, title, unit, wanted in _FIGURES
        if column in rows.get(row, {})
    }
    if "stream_1" in rows:
        found["stream_1.cpu_us_beside_model"] = _stream_beside_model(rows)
    return found


def _stream_beside_model(rows: _Rows) -> Goal:
    """Return a message's CPU time beyond the model's own in batches of 64, which is the minimum."""
    model_us = statistics.median(rows["ceiling_64"]["cpu_us_an_image"])
    beside = [cpu_us - model_us for cpu_us in rows["stream_1"]["cpu_us_an_image"]]
    return Goal("stream: server CPU a message beside the model's own", "us", beside, at_most=200)


def _load(row: str, title: str, *, rate: _Wanted, cpu: _Wanted) -> list[_Figure]:
    return [
        (row, "images_per_s", title, "images/s", rate),
        (row, "cpu_us_an_image", f"{title}: server CPU", "us/image", cpu),
    ]


def _poisson(share: int, wanted: _Wanted) -> list[_Figure]:
    row, title = f"poisson_{share}", f"random times, {share}% of capacity"
    latencies: list[_Figure] = [
        (row, f"{name}_ms", f"{title}: {name}", "ms", {"digits": 1}) for name in ("p50", "p99", "p999")
    ]
    return [*latencies, (row, "p99_over_p50", f"{title}: p99 / p50", "", {"digits": 1} | wanted)]


_FIGURES: list[_Figure] = [
    *_load("ceiling_1", "ONNX Runtime alone, batches of 1", rate={}, cpu={}),
    *_load("ceiling_64", "ONNX Runtime alone, batches of 64", rate={}, cpu={}),
    *_load("unary_1", "1 raw image a call", rate={"at_least": 3_300}, cpu={"at_most": 305}),
    *_load("unary_1_own", "the same by our own generator", rate={}, cpu={}),
    *_load("stream_1", "1 raw image a message of a stream", rate={}, cpu={}),
    ("ratios", "stream_over_unary", "stream / unary, single images", "", {"at_least": 1.3, "digits": 2}),
    *_load("unary_64", "64 raw images a call", rate={}, cpu={}),
    (
        "ratios",
        "unary_64_over_ceiling",
        "64 images a call / ONNX Runtime alone",
        "",
        {"at_least": 0.95, "digits": 2},
    ),
    ("ratios", "ceiling_over_unary_64_cpu", "the same, by CPU time", "", {"at_least": 0.95, "digits": 2}),
    *_load("photographs_16", "16 photographs (640x480 JPEG) a call", rate={}, cpu={}),
    *_poisson(50, {}),
    *_poisson(80, {"at_most": 5}),
    *_load("one_worker_64", "1 worker, 1 core, 64 images a call, 16 connections", rate={}, cpu={}),
    *_load("two_workers_64", "2 workers, 2 cores shared with the load", rate={}, cpu={}),
    ("ratios", "two_workers_over_one", "2 workers / 1 worker", "", {"at_least": 1.85, "digits": 2}),
    ("start", "start_s", "start to SERVING", "s", {"digits": 2}),
    ("memory", "one_worker_mb", "resident after load, 1 worker", "MB", {"at_most": 150}),
    ("memory", "two_workers_mb", "resident after load, largest process of 2 workers", "MB", {"at_most": 150}),
    ("idle", "core_share_percent", "CPU while idle", "% of a core", {"at_most": 0.5, "digits": 2}),
]
