"""Dashboard, alerts and scraping name metrics that exist, in expressions that Prometheus accepts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from service.observability.metrics.table import METRICS, Kind, Metric

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "cifar10net.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
PROMETHEUS = DEPLOY / "prometheus" / "prometheus.yml"
_SERIES = re.compile(r"\b(cifar10net_[a-z0-9_]+)(?:\{([^}]*)\})?")
_BY = re.compile(r"\b(?:by|on) \(([^)]*)\)")
_FROM_SCRAPING = {"instance", "job"}
_OF_BUCKETS = {"le"}


def _expressions() -> dict[str, str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    of_panels = {
        f"panel {panel['title']}, {target['refId']}": target["expr"]
        for panel in panels
        for target in panel.get("targets", [])
    }
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return of_panels | {f"alert {rule['alert']}": rule["expr"] for group in groups for rule in group["rules"]}


EXPRESSIONS = _expressions()


def _series() -> dict[str, Metric]:
    """Name every series that a scrape has, by the metric that it is of."""
    found: dict[str, Metric] = {}
    for metric in METRICS:
        if metric.kind is Kind.HISTOGRAM:
            found |= {f"{metric.full_name}_{part}": metric for part in ("bucket", "sum", "count")}
        else:
            found[metric.full_name] = metric
    return found


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_each_expression_names_series_and_labels_that_there_are(where: str) -> None:
    known = _series()
    expression = re.sub(r"job=\"cifar10net\"", "", EXPRESSIONS[where])
    named = _SERIES.findall(expression)
    labels = set(_FROM_SCRAPING)

    assert named or "up{" in expression
    for name, matchers in named:
        assert name in known, name
        labels |= {*known[name].labels} | (_OF_BUCKETS if name.endswith("_bucket") else set())
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        assert asked <= {*known[name].labels} | _FROM_SCRAPING, (name, asked)
    for kept in _BY.findall(expression):
        assert {label.strip() for label in kept.split(",")} <= labels, kept


def test_each_panel_asks_the_source_that_is_provisioned() -> None:
    sources = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    dashboard = json.loads(DASHBOARD.read_text())
    asked = {
        target["datasource"]["uid"] for panel in dashboard["panels"] for target in panel.get("targets", [])
    }

    assert asked == {source["uid"] for source in sources}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_each_alert_is_tried_both_ways() -> None:
    rules = {
        rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    }
    quiet, loud = yaml.safe_load((DEPLOY / "prometheus/alerts_test.yml").read_text())["tests"]

    assert {case["alertname"] for case in quiet["alert_rule_test"] if "exp_alerts" not in case} == rules
    assert {case["alertname"] for case in loud["alert_rule_test"] if case.get("exp_alerts")} == rules


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", PROMETHEUS),
        ("check", "rules", ALERTS),
        ("test", "rules", DEPLOY / "prometheus/alerts_test.yml"),
    ],
    ids=lambda arguments: " ".join(map(str, arguments[:2])),
)
def test_promtool_accepts(arguments: tuple[str | Path, ...]) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool here: it comes with Prometheus (Debian's package prometheus)")

    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
