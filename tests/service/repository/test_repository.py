"""A repository opens with the wanted versions and lists them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from service.config import ServerConfig
from service.errors import ModelError, NotServingError, UnknownModelError
from service.repository import Repository, load_models

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _open(root: Path, default: str | None = None) -> Repository:
    async def main() -> Repository:
        repository = Repository()
        config = ServerConfig(models=root, default_model=default, max_batch=8)
        repository.open(load_models(config), config)
        await repository.close()
        return repository

    return asyncio.run(main())


def test_the_newest_version_is_served(repository: Path) -> None:
    opened = _open(repository)

    assert [(info.name, info.version) for info in opened.list()] == [("colours", 1), ("shades", 3)]
    assert opened.get("shades", "").info.version == 3
    assert opened.get("shades", "3").info.version == 3


def test_versions_are_compared_as_numbers(tmp_path: Path, add_model: Callable[..., Path]) -> None:
    for version in ("9", "10", "0", "draft"):
        add_model(tmp_path, version=version)

    assert _open(tmp_path).get("", "").info.version == 10


def test_the_default_is_the_one_asked_for_or_cifar10net_or_the_first(
    tmp_path: Path, repository: Path, add_model: Callable[..., Path]
) -> None:
    add_model(tmp_path, "cifar10net")
    add_model(tmp_path, "alexnet")

    assert _open(repository).default == "colours"
    assert _open(repository, "shades").default == "shades"
    assert [info.name for info in _open(tmp_path).list()] == ["cifar10net", "alexnet"]
    with pytest.raises(ModelError, match=r"'lenet' is not in the repository, which has: colours, shades"):
        _open(repository, "lenet")


def test_unknown_models_are_refused_with_the_known_ones(repository: Path) -> None:
    opened = _open(repository)

    with pytest.raises(UnknownModelError, match="no model is called 'lenet'; there are: colours, shades"):
        opened.get("lenet", "")
    with pytest.raises(UnknownModelError, match="model shades has no version '1'; it has: 3"):
        opened.get("shades", "1")


def test_before_models_are_loaded_callers_are_asked_to_wait() -> None:
    with pytest.raises(NotServingError, match="still loading"):
        Repository().get("", "")


def test_an_empty_or_missing_repository_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no model: wanted <model>/<version>/model\.onnx"):
        load_models(ServerConfig(models=tmp_path))
    with pytest.raises(ModelError, match=r"no model repository at .*none"):
        load_models(ServerConfig(models=tmp_path / "none"))
