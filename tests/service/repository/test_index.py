"""The index has every version's state, and why it does not answer."""

from __future__ import annotations

from pathlib import Path

from service.repository.background_thread import BackgroundThread
from service.repository.folder import FoundVersion
from service.repository.index import VersionIndex
from service.repository.registry import Registry
from service.version_policy import VersionPolicies
from tests.service.repository.models import StandIn, served


def _found(version: int, name: str = "net") -> FoundVersion:
    return FoundVersion(name, version, Path(name), ((version,), None))


def _registry(*versions: int) -> Registry:
    registry = Registry(BackgroundThread())
    registry.default = "net"
    registry.put("net", {version: served(StandIn("net", version)) for version in versions})
    return registry


def test_every_version_has_its_state_and_reason() -> None:
    version_index = VersionIndex(VersionPolicies.parse(["latest:2"]), _registry(2, 9))
    version_index.record_contents(
        {
            "net": {version: _found(version) for version in (1, 2, 3, 4)},
            "other": {1: _found(1, "other")},
            "away": {1: _found(1, "away")},
        }
    )
    version_index.record_refused(_found(2), "changed in place, and broken")
    version_index.record_refused(_found(4), "broken")
    version_index.loading.add(("net", 3))
    version_index.unloaded.add("away")

    entries = [
        (entry.name, entry.version, str(entry.state), entry.reason) for entry in version_index.entries()
    ]

    assert entries == [
        ("away", 1, "UNAVAILABLE", "unloaded"),
        ("net", 1, "UNAVAILABLE", "the server answers with versions latest:2"),
        ("net", 2, "READY", "changed in place, and broken"),
        ("net", 3, "LOADING", ""),
        ("net", 4, "UNAVAILABLE", "broken"),
        ("net", 9, "READY", "it has no manifest.json: neither its bytes nor its answers could be verified"),
        ("other", 1, "UNAVAILABLE", "not loaded yet"),
    ]


def test_the_same_files_are_tried_once_as_long_as_they_are_there() -> None:
    version_index = VersionIndex(VersionPolicies(), _registry())
    there = {"net": {1: _found(1)}}
    version_index.record_contents(there)
    assert not version_index.is_settled(_found(1), is_served=False)

    version_index.record_refused(_found(1), "broken")
    assert version_index.is_settled(_found(1), is_served=False)

    version_index.record_contents({})
    version_index.record_contents(there)  # moved away and back
    assert not version_index.is_settled(_found(1), is_served=False)


def test_files_that_were_taken_are_tried_again_once_they_do_not_answer() -> None:
    version_index = VersionIndex(VersionPolicies(), _registry())
    version_index.record_contents({"net": {1: _found(1)}})
    version_index.record_loaded(_found(1))

    assert version_index.is_settled(_found(1), is_served=True)
    assert not version_index.is_settled(_found(1), is_served=False)


def test_known_models_are_listed_with_whether_they_answer() -> None:
    version_index = VersionIndex(VersionPolicies(), _registry(1))
    version_index.record_contents({"new": {1: _found(1, "new")}})
    version_index.unloaded.add("away")

    assert version_index.models() == {"net": True, "new": False, "away": False}
