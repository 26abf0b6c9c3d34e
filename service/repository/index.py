"""The repository index: the state of every version, and why a version is not served."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.repository.folder import Contents, FoundVersion, Stamp
    from service.repository.registry import Registry
    from service.runtime.model import ModelInfo
    from service.version_policy import VersionPolicies

UNVERIFIED = "it has no manifest.json: neither its bytes nor its answers could be verified"
_Key = tuple[str, int]


class VersionState(StrEnum):
    """State of a version, by Triton's names."""

    READY = "READY"
    LOADING = "LOADING"
    UNLOADING = "UNLOADING"
    """Replaced, and still answering calls that began before."""
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True)
class IndexEntry:
    """One version in the index."""

    name: str
    version: int
    state: VersionState
    reason: str
    """Why it does not answer, or a warning about one that does; may be empty."""


@dataclass(frozen=True)
class OtherWorkers:
    """The models that the other workers serve, as one of them reports to a worker that starts."""

    default: str
    """The model for requests that name none."""
    versions: Mapping[str, list[int]]
    """Served versions by model; empty for a model that was unloaded by a call."""
    refused: Sequence[Sequence[Any]] = ()
    """Refused versions: name, version, stamp as text, reason."""

    @property
    def answering(self) -> set[str]:
        """Models that are served."""
        return {name for name, numbers in self.versions.items() if numbers}

    @property
    def unloaded(self) -> list[str]:
        """Models that were unloaded by a call."""
        return [name for name, numbers in self.versions.items() if not numbers]


class VersionIndex:
    """Records the state of each version."""

    def __init__(self, policies: VersionPolicies, registry: Registry) -> None:
        """Record versions; ``registry`` asks this index why a model does not answer."""
        self.contents: Contents = {}
        """The last scan of the folder."""
        self.loading: set[_Key] = set()
        self.unloaded: set[str] = set()
        """Models unloaded by a call; they stay so until a call loads them."""
        self._policies = policies
        self._registry = registry
        registry.why_not = self.why_not
        self._tried: dict[_Key, Stamp] = {}
        self._refused: dict[_Key, str] = {}

    def record_contents(self, contents: Contents) -> None:
        """Record a scan, and forget versions that are gone."""
        self.contents = contents
        there = {(name, version) for name, versions in contents.items() for version in versions}
        for known in (self._tried, self._refused):
            for key in known.keys() - there:
                del known[key]

    def record_loaded(self, found: FoundVersion) -> None:
        """Record that a version's files were loaded."""
        self._tried[found.key] = found.stamp
        self._refused.pop(found.key, None)

    def record_refused(self, found: FoundVersion, reason: str) -> None:
        """Record why a version's files were refused."""
        self._tried[found.key] = found.stamp
        self._refused[found.key] = reason

    def for_other_workers(self) -> OtherWorkers:
        """Return what this worker serves and has refused; not before the registry has a default."""
        versions = {name: sorted(self._registry.versions(name)) for name in self._registry.names}
        refused = [(*key, repr(self._tried[key]), reason) for key, reason in self._refused.items()]
        return OtherWorkers(
            self._registry.default or "", {name: [] for name in self.unloaded} | versions, refused
        )

    def adopt(self, other_workers: OtherWorkers) -> None:
        """Take over what the other workers have unloaded, and refused where the files are the same here."""
        self.unloaded.update(other_workers.unloaded)
        for name, version, files, reason in other_workers.refused:
            found = self.contents.get(name, {}).get(version)
            if found is not None and repr(found.stamp) == files:
                self.record_refused(found, reason)

    def is_settled(self, found: FoundVersion, *, is_served: bool) -> bool:
        """Return whether these very files answer or were refused, so that loading them again is pointless."""
        return self._tried.get(found.key) == found.stamp and (is_served or found.key in self._refused)

    def wanted(self, name: str) -> set[int]:
        """Return the versions of a model that the policy chooses."""
        return self._policies.of(name).choose(self.contents.get(name, {}))

    def entries(self) -> list[IndexEntry]:
        """Return every version that is served, retiring or in the folder, by name and version."""
        served = {(info.name, info.version): info for info in self._registry.infos()}
        retiring = {(model.info.name, model.info.version) for model in self._registry.retiring}
        there = {(name, version) for name, versions in self.contents.items() for version in versions}
        entries = []
        for key in sorted(there | served.keys() | retiring | self.loading):
            if key in served:
                reason = self._refused.get(key, _warnings(served[key]))
                entries.append(IndexEntry(*key, VersionState.READY, reason))
            elif key in self.loading:
                entries.append(IndexEntry(*key, VersionState.LOADING, ""))
            elif key in retiring:
                entries.append(IndexEntry(*key, VersionState.UNLOADING, ""))
            else:
                entries.append(IndexEntry(*key, VersionState.UNAVAILABLE, self._why_not(*key)))
        return entries

    def models(self) -> Mapping[str, bool]:
        """Return whether each known model answers."""
        names = {*self.contents, *self._registry.names, *self.unloaded}
        return {name: bool(self._registry.versions(name)) for name in names}

    def why_not(self, name: str) -> str:
        """Return why a model does not answer; empty if none of its wanted versions was refused."""
        if name in self.unloaded:
            return ""  # whatever was refused before it
        reasons = (self._refused.get((name, version)) for version in sorted(self.wanted(name), reverse=True))
        return next(filter(None, reasons), "")

    def _why_not(self, name: str, version: int) -> str:
        if name in self.unloaded:
            return "unloaded"
        if (name, version) in self._refused:
            return self._refused[name, version]
        if version not in self.wanted(name):
            return f"the server answers with versions {self._policies.of(name)}"
        return "not loaded yet"


def _warnings(info: ModelInfo) -> str:
    """Return the warnings about a served version; may be empty."""
    return "; ".join(filter(None, (info.warning, "" if info.is_verified else UNVERIFIED)))
