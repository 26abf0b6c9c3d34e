"""Which versions of a model a server wants, of those that there are.

In: words such as ``latest:2``, ``all`` or ``1,3``, for all models or for one. Out: version numbers. Knows
nothing of folders.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from cifar10net.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LATEST = re.compile(r"latest:([1-9][0-9]{0,3})")
_NUMBERS = re.compile(r"[1-9][0-9]{0,17}(,[1-9][0-9]{0,17})*")


@dataclass(frozen=True)
class VersionPolicy:
    """A choice among versions; the default is the newest one."""

    latest: int | None = 1
    """So many of the newest; None for all of them, or for those below."""
    numbers: frozenset[int] = frozenset()
    """These and no others, if there are any."""

    @classmethod
    def parse(cls, words: str) -> Self:
        """Read ``latest:N``, ``all``, or numbers with commas between them.

        Raises:
            ConfigError: it is none of these.
        """
        if words == "all":
            return cls(None)
        if latest := _LATEST.fullmatch(words):
            return cls(int(latest[1]))
        if _NUMBERS.fullmatch(words):
            return cls(None, frozenset(map(int, words.split(","))))
        raise ConfigError(f"versions is {words!r}, wanted latest:N, all, or numbers such as 1,3")

    def choose(self, there: Iterable[int]) -> set[int]:
        """Choose among the versions that there are."""
        if self.numbers:
            return set(self.numbers.intersection(there))
        newest = sorted(there, reverse=True)
        return set(newest[: self.latest])

    def in_place_of(self, chosen: Iterable[int], there: Iterable[int]) -> list[int]:
        """List what may take the place of a chosen version that is refused: older ones, the newest first.

        Nothing, where versions are chosen by number, or all of them are.
        """
        if self.numbers or self.latest is None:
            return []
        return sorted(set(there).difference(chosen), reverse=True)

    def missing(self, there: Iterable[int]) -> set[int]:
        """Name the versions that are asked for by number and are not there."""
        return set(self.numbers.difference(there))

    def __str__(self) -> str:
        if self.numbers:
            return ",".join(map(str, sorted(self.numbers)))
        return "all" if self.latest is None else f"latest:{self.latest}"


@dataclass(frozen=True)
class VersionPolicies:
    """A policy for every model, and others for some."""

    general: VersionPolicy = field(default_factory=VersionPolicy)
    by_model: Mapping[str, VersionPolicy] = field(default_factory=dict)

    @classmethod
    def parse(cls, options: Iterable[str]) -> Self:
        """Read options such as ``latest:2`` for every model and ``cifar10net=1,3`` for one.

        Raises:
            ConfigError: an option is of neither form, or one is given twice.
        """
        general: VersionPolicy | None = None
        by_model: dict[str, VersionPolicy] = {}
        for option in options:
            model, is_for_one, words = option.rpartition("=")
            policy = VersionPolicy.parse(words)
            if model in by_model or (not model and general is not None):
                raise ConfigError(f"versions are given twice for {model or 'every model'}: {option!r}")
            if is_for_one:
                by_model[model] = policy
            else:
                general = policy
        return cls(general or VersionPolicy(), by_model)

    def of(self, model: str) -> VersionPolicy:
        """Find the policy of a model."""
        return self.by_model.get(model, self.general)
