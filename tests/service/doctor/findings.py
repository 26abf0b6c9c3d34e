"""Runs ``cifar10net doctor --json`` and looks findings up in its output."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

from service.cli import cli


@dataclass(frozen=True)
class Report:
    """The exit code of ``cifar10net doctor --json``, and the object that it printed."""

    code: int
    output: dict[str, Any]

    @property
    def is_well(self) -> bool:
        """Whether all is well."""
        return bool(self.output["is_well"])

    def state(self, section: str, name: str) -> str:
        """Return the state of a finding."""
        return self._one(section, name)["state"]

    def value(self, section: str, name: str) -> str:
        """Return the value of a finding."""
        return self._one(section, name)["value"]

    def advice(self, section: str, name: str) -> str:
        """Return the advice of a finding."""
        return self._one(section, name)["advice"]

    def _one(self, section: str, name: str) -> dict[str, str]:
        [found] = [
            each for each in self.output["findings"] if (each["section"], each["name"]) == (section, name)
        ]
        return dict(found)


def run_doctor(*arguments: str) -> Report:
    """Run the command in this process."""
    done = CliRunner().invoke(cli, ["doctor", "--json", *arguments])
    assert done.stderr == ""
    return Report(done.exit_code, json.loads(done.stdout))
