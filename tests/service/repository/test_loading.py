"""Wanted versions are loaded and checked, or the start fails with one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from service.config import ServerConfig
from service.errors import ModelError
from service.repository.loading import load_models
from service.version_policy import VersionPolicies
from tests.service.colours import colour_model
from tests.service.manifests import manifest, publish, replace

if TYPE_CHECKING:
    from pathlib import Path

    from service.runtime.model import ModelInfo

CONTENT = colour_model()


def _load(root: Path, like: dict[str, list[int]] | None = None, **settings: Any) -> list[ModelInfo]:
    config = ServerConfig(models=root, max_batch=8, strict_models=True, **settings)
    return [sessions[0].info for sessions in load_models(config, like).models]


def _keys(infos: list[ModelInfo]) -> list[tuple[str, int]]:
    return [(info.name, info.version) for info in infos]


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Return a repository of three versions of one model and one of another."""
    for version in (1, 2, 10):
        publish(tmp_path, CONTENT, manifest(CONTENT), "net", version)
    publish(tmp_path, CONTENT, None, "other", 1)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], [("net", 10), ("other", 1)]),
        (["latest:2"], [("net", 2), ("net", 10), ("other", 1)]),
        (["all"], [("net", 1), ("net", 2), ("net", 10), ("other", 1)]),
        (["1"], [("net", 1), ("other", 1)]),
        (["net=1,2"], [("net", 1), ("net", 2), ("other", 1)]),
    ],
)
def test_the_versions_that_are_wanted_are_loaded(
    three: Path, options: list[str], expected: list[tuple[str, int]]
) -> None:
    infos = _load(three, versions=VersionPolicies.parse(options))

    assert _keys(infos) == expected
    assert {info.name: info.is_verified for info in infos} == {"net": True, "other": False}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("net=2,3", r"asks for version 3 of net, which is not in .*; it has: 1, 2, 10"),
        ("2", "asks for version 2 of other, which is not in"),
        ("lenet=1", r"names the model 'lenet', which is not in .*; there are: net, other"),
    ],
)
def test_what_is_asked_for_by_number_or_name_has_to_be_there(three: Path, option: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        _load(three, versions=VersionPolicies.parse([option]))


def test_a_worker_that_starts_is_like_the_others(three: Path) -> None:
    """Whatever the folder holds meanwhile, and although a version there is broken."""
    publish(three, b"broken", None, "net", 11)

    assert _keys(_load(three, {"net": [2, 10], "other": [1]})) == [("net", 2), ("net", 10), ("other", 1)]
    assert _keys(_load(three, {"net": [2], "other": []})) == [("net", 2)]
    assert _keys(_load(three, {"net": [2]})) == [("net", 2)]
    assert _keys(_load(three, {"net": [2, 5]})) == [("net", 2)]
    assert _keys(_load(three, {"other": [5]})) == [("other", 1)]  # its files are gone: as the policy says


def test_a_manifest_can_be_required(three: Path) -> None:
    with pytest.raises(ModelError, match=r"other/1 has no manifest\.json, which --require-manifest asks for"):
        _load(three, require_manifest=True)


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    publish(tmp_path, bytes((1 << 20) + 1), None)

    with pytest.raises(ModelError, match=r"has 1,048,577 bytes, wanted at most 1,048,576"):
        _load(tmp_path, max_model_mib=1)


@pytest.mark.parametrize(
    ("content", "told", "message"),
    [
        (CONTENT, b"{}", "no int at format"),
        (CONTENT[:-1], manifest(CONTENT), "it is incomplete"),
        (colour_model(scale=64), manifest(CONTENT), "bytes|damaged"),
        (CONTENT, manifest(CONTENT, scale=33), "golden image 0 .* wanted red"),
        (CONTENT, manifest(CONTENT, labels=["green", "red", "blue"]), "input, output and labels"),
        (colour_model(softmax=False), manifest(colour_model(softmax=False)), "golden image 0"),
    ],
)
def test_a_version_that_is_not_what_its_manifest_says_is_refused(
    tmp_path: Path, content: bytes, told: bytes, message: str
) -> None:
    publish(tmp_path, content, told)

    with pytest.raises(ModelError, match=message) as caught:
        _load(tmp_path)

    assert "\n" not in str(caught.value)


def test_the_bytes_that_were_verified_are_the_ones_that_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However soon the file is swapped."""
    folder = publish(tmp_path, CONTENT, manifest(CONTENT))
    swapped = colour_model(scale=64)

    def check(_manifest: object, _file: object) -> None:
        replace(folder / "model.onnx", swapped)

    monkeypatch.setattr("service.repository.manifest.Manifest.check_file", check)
    [info] = _load(tmp_path)  # and the golden answers are those of the first

    assert (folder / "model.onnx").read_bytes() == swapped
    assert info.sha256 is not None
    assert info.sha256 in manifest(CONTENT).decode()
