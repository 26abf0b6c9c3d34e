"""A refused version does not stop the others from being served, unless it is required."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from service.config import ServerConfig
from service.errors import ModelError, ProviderError, UnknownModelError
from service.observability.observers import Observer
from service.repository import OtherWorkers, Repository, load_models, loading
from service.version_policy import VersionPolicies
from tests.service.colours import colour_model
from tests.service.int8_models import int8_manifest, int8_model
from tests.service.manifests import manifest, publish, replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.observability.observers import ModelEvent

GOOD = colour_model()
TOLD = manifest(GOOD)
SATURATING = int8_model()


class _Recorder(Observer):
    def __init__(self) -> None:
        self.seen: list[tuple[str, int, str]] = []

    def on_model(self, name: str, version: int, event: ModelEvent) -> None:
        self.seen.append((name, version, event))


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Return a repository of a good model, a truncated one, and one whose answers are a saturating CPU's."""
    publish(tmp_path, GOOD, TOLD, "good")
    publish(tmp_path, GOOD[:-1], TOLD, "truncated")
    publish(tmp_path, SATURATING, int8_manifest(SATURATING, saturated=True), "saturating")
    return tmp_path


def _opened(
    root: Path,
    look: Callable[[Repository], Any] = lambda _repository: None,
    *,
    observer: Observer | None = None,
    other_workers: OtherWorkers | None = None,
    **settings: Any,
) -> Any:
    """Open a repository as a server does, and return what ``look`` returns for it."""

    async def main() -> Any:
        repository = Repository()
        config = ServerConfig(models=root, max_batch=8, **settings)
        try:
            loaded = load_models(config, None if other_workers is None else other_workers.versions)
            repository.open(loaded, config, observer, other_workers)
            return look(repository)
        finally:
            await repository.close()

    return asyncio.run(main())


def _keys(repository: Repository) -> list[tuple[str, int]]:
    return [(info.name, info.version) for info in repository.list()]


def test_the_good_one_is_served_and_the_others_say_why_they_are_not(mixed: Path) -> None:
    recorder = _Recorder()

    def look(repository: Repository) -> None:
        index = {entry.name: (entry.state.value, entry.reason) for entry in repository.index()}
        assert index["good"] == ("READY", "")
        assert index["truncated"][0] == index["saturating"][0] == "UNAVAILABLE"
        assert "it is incomplete" in index["truncated"][1]
        assert "golden image 0" in index["saturating"][1]
        assert repository.models() == {"good": True, "truncated": False, "saturating": False}
        assert repository.default == "good"
        assert repository.get("", "").info.name == "good"
        with pytest.raises(
            UnknownModelError, match=r"model truncated does not answer: .* incomplete.*; there are: good"
        ):
            repository.get("truncated", "")

    with capture_logs() as log:
        _opened(mixed, look, observer=recorder)

    refused = [line for line in log if line["event"] == "model refused"]
    assert [(line["model"], line["version"]) for line in refused] == [("saturating", 1), ("truncated", 1)]
    assert recorder.seen == [("saturating", 1, "refused"), ("truncated", 1, "refused"), ("good", 1, "loaded")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"default_model": "truncated"}, r"the default model 'truncated' does not answer: .*incomplete"),
        (
            {"default_model": "absent"},
            r"'absent' is not in the repository, which has: good, ",
        ),
        ({"require_models": ("good", "truncated")}, r"'truncated', which --require-model names, does not"),
        ({"require_models": ("absent",)}, r"'absent', which --require-model names, is not in the repository"),
        ({"strict_models": True}, r"^saturating version 1 classifies golden image 0"),
    ],
)
def test_one_that_has_to_answer_and_does_not_ends_the_start(
    mixed: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        _opened(mixed, **settings)

    assert "\n" not in str(caught.value)


def test_ours_has_to_answer_if_it_is_there(mixed: Path) -> None:
    publish(mixed, GOOD[:-1], TOLD, "cifar10net")

    with pytest.raises(ModelError, match=r"'cifar10net' does not answer: .*these answer: good$"):
        _opened(mixed)
    assert _opened(mixed, _keys, default_model="good") == [("good", 1)]


def test_where_no_model_answers_all_reasons_are_given(tmp_path: Path) -> None:
    publish(tmp_path, GOOD[:-1], TOLD, "a")
    publish(tmp_path, b"junk", None, "b")

    with pytest.raises(
        ModelError, match=r"no model of .* answers: a version 1: .*incomplete.*; b version 1: "
    ):
        _opened(tmp_path)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("latest:1", [("net", 2)]),
        ("latest:2", [("net", 2), ("net", 1)]),
        ("all", [("net", 2), ("net", 1)]),
        ("2,3", [("net", 2)]),
        ("latest:9", [("net", 2), ("net", 1)]),
    ],
)
def test_an_older_version_takes_the_place_of_one_that_is_refused(
    tmp_path: Path, policy: str, expected: list[tuple[str, int]]
) -> None:
    for version, content in ((1, GOOD), (2, GOOD), (3, GOOD[:-1])):
        publish(tmp_path, content, TOLD, "net", version)

    def look(repository: Repository) -> list[tuple[str, int]]:
        index = {entry.version: (entry.state.value, entry.reason) for entry in repository.index()}
        assert index[3][0] == "UNAVAILABLE"
        assert "incomplete" in index[3][1]
        return _keys(repository)

    assert _opened(tmp_path, look, versions=VersionPolicies.parse([policy])) == expected


def test_a_number_that_is_asked_for_has_no_stand_in(tmp_path: Path) -> None:
    publish(tmp_path, GOOD, TOLD, "net", 1)
    publish(tmp_path, GOOD[:-1], TOLD, "net", 2)

    with pytest.raises(ModelError, match=r"no model of .* answers"):
        _opened(tmp_path, versions=VersionPolicies.parse(["2"]))


def test_a_fault_of_ours_refuses_one_version(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verify = loading.verify

    def fail(found: Any, config: ServerConfig) -> Any:
        if found.name == "saturating":
            raise ZeroDivisionError
        return verify(found, config)

    monkeypatch.setattr(loading, "verify", fail)

    with capture_logs() as log:
        reasons = _opened(mixed, lambda repository: {each.name: each.reason for each in repository.index()})

    assert reasons["saturating"] == "it failed to load: ZeroDivisionError; see the server's log"
    assert [line["model"] for line in log if line["event"] == "model failed to load"] == ["saturating"]
    with pytest.raises(ZeroDivisionError):
        _opened(mixed, strict_models=True)


def test_a_provider_that_is_not_there_ends_the_start_at_once(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_found: Any, _config: ServerConfig) -> Any:
        raise ProviderError("provider cuda was asked for")

    monkeypatch.setattr(loading, "load", fail)

    with pytest.raises(ProviderError):
        _opened(mixed)


@pytest.mark.parametrize(
    ("other_workers", "expected"),
    [
        (OtherWorkers("good", {"good": [1], "truncated": [1]}), [("good", 1)]),
        (OtherWorkers("truncated", {"good": [1], "truncated": []}), [("good", 1)]),  # unloaded by hand
        (OtherWorkers("gone", {"good": [1]}), [("good", 1)]),
        (OtherWorkers("good", {"good": [], "truncated": []}), []),
    ],
)
def test_a_worker_that_starts_need_not_have_what_the_others_have_not(
    mixed: Path, other_workers: OtherWorkers, expected: list[tuple[str, int]]
) -> None:
    assert _opened(mixed, _keys, other_workers=other_workers) == expected


def test_a_worker_without_the_default_of_the_others_does_not_start(mixed: Path) -> None:
    other_workers = OtherWorkers("truncated", {"good": [1], "truncated": [1]})

    with pytest.raises(ModelError, match="the default model 'truncated' does not answer"):
        _opened(mixed, other_workers=other_workers)


def test_a_required_model_that_no_worker_serves_does_not_keep_a_worker_from_starting(mixed: Path) -> None:
    other_workers = OtherWorkers("good", {"good": [1]})

    assert _opened(mixed, _keys, other_workers=other_workers, require_models=("gone",)) == [("good", 1)]


def test_a_worker_that_starts_knows_what_the_others_refused(mixed: Path) -> None:
    def refusals(repository: Repository) -> Any:
        return repository._opened().index.for_other_workers().refused

    def reasons(repository: Repository) -> dict[str, str]:
        return {entry.name: entry.reason for entry in repository.index()}

    first = _opened(mixed, refusals)
    other_workers = OtherWorkers("good", {"good": [1]}, json.loads(json.dumps(first)))
    recorder = _Recorder()

    with capture_logs() as log:
        told = _opened(mixed, reasons, other_workers=other_workers, observer=recorder)

    assert told == _opened(mixed, reasons)
    assert "incomplete" in told["truncated"]
    assert not [line for line in log if line["event"] == "model refused"]  # it has been said
    assert recorder.seen == [("good", 1, "loaded")]
    replace(mixed / "truncated/1/model.onnx", GOOD)
    assert (
        _opened(mixed, reasons, other_workers=other_workers)["truncated"] == "not loaded yet"
    )  # another file


@pytest.mark.parametrize("part", ["locked", "locked/1"])
def test_a_folder_that_cannot_be_read_is_unavailable_and_no_more(
    mixed: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    publish(mixed, GOOD, TOLD, "locked")
    stat, scandir = type(mixed).stat, os.scandir

    def refuse(path: Any) -> None:
        if Path(path).is_relative_to(mixed / part):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    def guarded_stat(path: Path, **how: Any) -> os.stat_result:
        refuse(path)
        return stat(path, **how)

    def guarded_scandir(path: Any) -> Any:
        refuse(path)
        return scandir(path)

    monkeypatch.setattr(type(mixed), "stat", guarded_stat)
    monkeypatch.setattr(os, "scandir", guarded_scandir)

    def look(repository: Repository) -> dict[str, tuple[str, str]]:
        return {entry.name: (entry.state.value, entry.reason) for entry in repository.index()}

    told = _opened(mixed, look)

    assert told["good"] == ("READY", "")
    assert told["locked"] == ("UNAVAILABLE", f"cannot read {mixed / part}: Permission denied")
