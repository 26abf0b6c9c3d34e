"""docs/deployment.md agrees with the files: alerts, profiles, targets, commands and figures."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from benchmarks import containers
from service.cli import cli

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "deployment.md").read_text()


def _table(page: str, title: str) -> str:
    [text] = re.findall(rf"(?ms)^## {title}\n(.*?)(?=^## |\Z)", page)
    return str(text)


def test_every_alert_has_a_row(page: str) -> None:
    groups = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    told = re.findall(r"(?m)^\| ([A-Z]\w+(?:, \w+)*) \|", _table(page, "Alerts"))

    assert {name for row in told for name in row.split(", ")} == {
        rule["alert"] for group in groups for rule in group["rules"]
    }


def test_every_profile_and_target_has_a_row(page: str) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
    profiles = {profile for service in services for profile in service.get("profiles", [])}
    final = re.findall(r"image\.title=\"cifar10net-([\w-]+)\"", (ROOT / "deploy/Dockerfile").read_text())

    assert set(re.findall(r"(?m)^\| `([\w-]+)` \|", _table(page, "One machine"))) == profiles
    assert set(re.findall(r"(?m)^\| `([\w-]+)` \|", _table(page, "Images"))) == set(final)


def test_commands_and_options_exist(page: str) -> None:
    blocks = re.findall(r"(?s)```sh\n(.*?)```", page.replace("\\\n", " "))
    lines = [line for block in blocks for line in block.splitlines()]
    ours = [words for line in lines if (words := shlex.split(line, comments=True))[:1] == ["cifar10net"]]

    assert len(ours) >= 2
    for _, command, *words in ours:
        known = {option for parameter in cli.commands[command].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, words
    flags = set(re.findall(r"`(--[a-z][a-z-]+)`", page)) - {"--single-child"}
    assert flags <= {option for each in cli.commands.values() for one in each.params for option in one.opts}


def test_the_figures_are_the_measured_ones(page: str) -> None:
    assert containers.table(json.loads(containers.RESULTS.read_text())) in page


def test_the_job_asks_for_options_that_there_are() -> None:
    (job,) = yaml.safe_load_all((ROOT / "deploy/kubernetes/jobs/batch.yaml").read_text())
    words = job["spec"]["template"]["spec"]["containers"][0]["args"]
    known = {option for parameter in cli.commands[words[0]].params for option in parameter.opts}

    assert {word for word in words if word.startswith("--")} <= known
