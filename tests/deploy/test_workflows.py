"""Workflows of GitHub Actions match its schema, and run targets that the Makefile has."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

every_workflow = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def _workflow(file: Path) -> dict[str, Any]:
    workflow = yaml.load(file.read_text(), yaml.BaseLoader)  # noqa: S506 - safe, and `on` stays a word
    assert isinstance(workflow, dict)
    return workflow


@every_workflow
def test_it_is_of_the_schema_of_github(file: Path) -> None:
    tool = Path(sys.executable).parent / "check-jsonschema"
    command = [str(tool), "--builtin-schema", "vendor.github-workflows", str(file)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


@every_workflow
def test_it_may_only_read_and_its_actions_are_pinned(file: Path) -> None:
    workflow = _workflow(file)
    jobs = workflow["jobs"].values()
    actions = [step["uses"] for job in jobs for step in job["steps"] if "uses" in step]

    assert workflow["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in jobs)
    assert all(re.fullmatch(r"actions/[\w-]+@(v\d+|[0-9a-f]{40})", action) for action in actions), actions


def test_both_architectures_run_the_targets_that_people_run() -> None:
    jobs = _workflow(ROOT / ".github" / "workflows" / "check.yml")["jobs"]
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = {line.split()[1] for line in done.stdout.splitlines()}
    run = {step["run"] for job in jobs.values() for step in job["steps"] if "run" in step}
    made = {command.removeprefix("make ") for command in run if command.startswith("make ")}

    assert made == {"check", "test", "test-all"}
    assert made <= targets
    for job in jobs.values():
        assert job["strategy"]["matrix"]["runner"] == ["ubuntu-24.04", "ubuntu-24.04-arm"]
        assert [step["with"]["python-version"] for step in job["steps"] if "setup-python" in str(step)] == [
            "3.11"
        ]
