"""Scrapes a server as Prometheus does, by the parsers of the prometheus-client library."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias
from urllib.request import ProxyHandler, Request, build_opener

from prometheus_client.openmetrics.parser import text_string_to_metric_families as _families_of_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from prometheus_client import Metric

Samples: TypeAlias = dict[tuple[str, frozenset[tuple[str, str]]], float]
PREFIX = "cifar10net_"
_direct = build_opener(ProxyHandler({}))


def url_of(log: Path) -> str:
    """Find the URL of a server's metrics in its log of JSON lines."""
    [line] = [event for event in map(json.loads, log.read_text().splitlines()) if event["event"] == "metrics"]
    return str(line["url"])


def fetch(url: str, accept: str = "text/plain") -> tuple[str, str]:
    """Return an answer's content type and text."""
    with _direct.open(Request(url, headers={"Accept": accept}), timeout=60) as response:  # noqa: S310 - ours
        return response.headers["Content-Type"], response.read().decode()


def scrape(url: str) -> Samples:
    """Return every sample; each may be there once."""
    return samples_of(fetch(url)[1])


def samples_of(text: str) -> Samples:
    """Read a text."""
    samples = [sample for family in parse_text(text) for sample in family.samples]
    found = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(found) == len(samples)
    return found


def parse_open_metrics(text: str) -> Iterable[Metric]:
    """Read the other format, strictly."""
    families: Iterable[Metric] = _families_of_open_metrics(text)  # type: ignore[no-untyped-call]
    return families


def value(samples: Samples, name: str, **labels: str) -> float:
    """Return the sum of what there is by this name, without the prefix, with these labels among others."""
    wanted = labels.items()
    return sum(
        amount
        for (each, their), amount in samples.items()
        if each == PREFIX + name and wanted <= dict(their).items()
    )
