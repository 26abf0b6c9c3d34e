"""The options that deploy/ and docker-compose.yml set exist and accept the values."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
import yaml

from docs import tables
from service.cli import cli
from service.commands.serve import serve

ROOT = Path(__file__).parents[2]
FILES = [
    ROOT / "docker-compose.yml",
    ROOT / "deploy" / "Dockerfile",
    *sorted((ROOT / "deploy" / "kubernetes").rglob("*.yaml")),
]
_OURS = re.compile(r"\bCIFAR10NET_(?:SERVE|HEALTH|CLASSIFY)_[A-Z0-9_]+")


def _variables(name: str) -> dict[str, click.Option]:
    root = click.Context(cli, info_name="cifar10net", auto_envvar_prefix="CIFAR10NET")
    context = click.Context(cli.commands[name], parent=root, info_name=name)
    return {
        tables.variable(each, context): each
        for each in cli.commands[name].params
        if isinstance(each, click.Option)
    }


@pytest.fixture(scope="module")
def known() -> dict[str, click.Option]:
    return {key: value for name in ("serve", "health", "classify") for key, value in _variables(name).items()}


def test_every_variable_is_one_of_an_option(known: dict[str, click.Option]) -> None:
    seen = set()
    for path in FILES:
        for variable in _OURS.findall(path.read_text()):
            assert variable in known, f"{path.relative_to(ROOT)}: {variable}"
            seen.add(variable)
    assert len(seen) > 10


def test_a_server_takes_the_settings_that_kubernetes_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = yaml.safe_load((ROOT / "deploy/kubernetes/base/settings.yaml").read_text())["data"]
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    context = click.Context(cli, info_name="cifar10net", auto_envvar_prefix="CIFAR10NET")
    values = serve.make_context("serve", [], parent=context).params

    assert values["drain_delay_s"] == float(settings["CIFAR10NET_SERVE_DRAIN_DELAY_S"])
    assert values["require_manifest"] is True
