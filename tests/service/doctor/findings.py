"""What ``cifar10net doctor`` has said, to be asked for one thing at a time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

from service.cli import cli


@dataclass(frozen=True)
class Looked:
    """An exit code, and the object that was printed."""

    code: int
    told: dict[str, Any]

    @property
    def is_well(self) -> bool:
        """Whether it says so."""
        return bool(self.told["is_well"])

    def state(self, section: str, name: str) -> str:
        """Return how something is."""
        return self._one(section, name)["state"]

    def value(self, section: str, name: str) -> str:
        """Return what was found of it."""
        return self._one(section, name)["value"]

    def advice(self, section: str, name: str) -> str:
        """Return what to do about it."""
        return self._one(section, name)["advice"]

    def _one(self, section: str, name: str) -> dict[str, str]:
        [found] = [
            each for each in self.told["findings"] if (each["section"], each["name"]) == (section, name)
        ]
        return dict(found)


def look_at(*arguments: str) -> Looked:
    """Run it in this process."""
    done = CliRunner().invoke(cli, ["doctor", "--json", *arguments])
    assert done.stderr == ""
    return Looked(done.exit_code, json.loads(done.stdout))
