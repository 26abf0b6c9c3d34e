"""What is known of every version in the repository: whether it answers, and if not, why.

In: what a look at the folder found, and what became of the attempts to load it. Out: an index for people and
programs. Knows nothing of how a version is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from service.repository.folder import Contents, FoundVersion, Stamp
    from service.repository.registry import Shelf
    from service.runtime.model import ModelInfo
    from service.version_policy import VersionPolicies

UNVERIFIED = "it has no manifest.json: neither its bytes nor its answers could be verified"
_Key = tuple[str, int]


class State(StrEnum):
    """Of a version; the words are Triton's."""

    READY = "READY"
    LOADING = "LOADING"
    UNLOADING = "UNLOADING"
    """It is replaced, and answers the calls that it has."""
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True)
class IndexEntry:
    """One version."""

    name: str
    version: int
    state: State
    reason: str
    """Why it does not answer, or what is to be known of one that does; may be empty."""


class Ledger:
    """Keeps what became of each version."""

    def __init__(self, policies: VersionPolicies) -> None:
        self.contents: Contents = {}
        """What the last look at the folder found."""
        self.loading: set[_Key] = set()
        self.unloaded: set[str] = set()
        """Models that somebody has unloaded by hand; they stay so until they are loaded by hand."""
        self._policies = policies
        self._tried: dict[_Key, Stamp] = {}
        self._refused: dict[_Key, str] = {}

    def note_contents(self, contents: Contents) -> None:
        """Keep what a look found, and forget what became of files that are gone."""
        self.contents = contents
        there = {(name, version) for name, versions in contents.items() for version in versions}
        for known in (self._tried, self._refused):
            for key in known.keys() - there:
                del known[key]

    def note_taken(self, found: FoundVersion) -> None:
        """Keep that a version's files are what answers."""
        self._tried[found.key] = found.stamp
        self._refused.pop(found.key, None)

    def note_refused(self, found: FoundVersion, reason: str) -> None:
        """Keep why a version's files were refused."""
        self._tried[found.key] = found.stamp
        self._refused[found.key] = reason

    def refusals(self) -> list[tuple[str, int, str, str]]:
        """Tell another process what was refused: name, number, which files, and why."""
        return [(*key, repr(self._tried[key]), reason) for key, reason in self._refused.items()]

    def note_refusals(self, refusals: Iterable[Sequence[Any]]) -> None:
        """Keep what another process has refused, of files that are the same here."""
        for name, version, files, reason in refusals:
            found = self.contents.get(name, {}).get(version)
            if found is not None and repr(found.stamp) == files:
                self.note_refused(found, reason)

    def is_settled(self, found: FoundVersion, *, is_served: bool) -> bool:
        """Whether these very files answer or were refused, so that trying them again would be for nothing."""
        return self._tried.get(found.key) == found.stamp and (is_served or found.key in self._refused)

    def wanted(self, name: str) -> set[int]:
        """Choose among the versions of a model that there are."""
        return self._policies.of(name).choose(self.contents.get(name, {}))

    def entries(self, shelf: Shelf) -> list[IndexEntry]:
        """List every version that answers, did until now, or lies in the folder, by name and number."""
        served = {(info.name, info.version): info for info in shelf.infos()}
        retiring = {(model.info.name, model.info.version) for model in shelf.retiring}
        there = {(name, version) for name, versions in self.contents.items() for version in versions}
        entries = []
        for key in sorted(there | served.keys() | retiring | self.loading):
            if key in served:
                reason = self._refused.get(key, _what_to_know(served[key]))
                entries.append(IndexEntry(*key, State.READY, reason))
            elif key in self.loading:
                entries.append(IndexEntry(*key, State.LOADING, ""))
            elif key in retiring:
                entries.append(IndexEntry(*key, State.UNLOADING, ""))
            else:
                entries.append(IndexEntry(*key, State.UNAVAILABLE, self._why_not(*key)))
        return entries

    def models(self, shelf: Shelf) -> Mapping[str, bool]:
        """Say of every model that there is whether it answers."""
        return {name: bool(shelf.versions(name)) for name in {*self.contents, *shelf.names, *self.unloaded}}

    def why_not(self, name: str) -> str:
        """Say why a model does not answer; empty where no wanted version of it was refused."""
        if name in self.unloaded:
            return ""  # whatever was refused before
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


def _what_to_know(info: ModelInfo) -> str:
    """Say what is to be known of a version that answers; may be empty."""
    return "; ".join(filter(None, (info.caution, "" if info.is_verified else UNVERIFIED)))
