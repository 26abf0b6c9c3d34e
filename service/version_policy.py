"""Version policies: which versions of a model are served, such as ``latest:2``, ``all`` or ``1,3``."""

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
    """A choice of versions; by default the newest."""

    latest: int | None = 1
    """How many of the newest; None for all, or for ``numbers``."""
    numbers: frozenset[int] = frozenset()
    """Exactly these, if there are any."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``latest:N``, ``all``, or numbers separated by commas. Raises ConfigError."""
        if text == "all":
            return cls(None)
        if latest := _LATEST.fullmatch(text):
            return cls(int(latest[1]))
        if _NUMBERS.fullmatch(text):
            return cls(None, frozenset(map(int, text.split(","))))
        raise ConfigError(f"versions is {text!r}, wanted latest:N, all, or numbers such as 1,3")

    def choose(self, available: Iterable[int]) -> set[int]:
        """Select from the versions in the repository."""
        if self.numbers:
            return set(self.numbers.intersection(available))
        newest = sorted(available, reverse=True)
        return set(newest[: self.latest])

    def fallbacks(self, chosen: Iterable[int], available: Iterable[int]) -> list[int]:
        """List the fallbacks for a chosen version that is refused: older ones, newest first.

        Empty where the policy names numbers or takes all.
        """
        if self.numbers or self.latest is None:
            return []
        return sorted(set(available).difference(chosen), reverse=True)

    def missing(self, available: Iterable[int]) -> set[int]:
        """Return the numbers that the policy names and the repository lacks."""
        return set(self.numbers.difference(available))

    def __str__(self) -> str:
        if self.numbers:
            return ",".join(map(str, sorted(self.numbers)))
        return "all" if self.latest is None else f"latest:{self.latest}"


@dataclass(frozen=True)
class VersionPolicies:
    """A general policy, and overrides for some models."""

    general: VersionPolicy = field(default_factory=VersionPolicy)
    by_model: Mapping[str, VersionPolicy] = field(default_factory=dict)

    @classmethod
    def parse(cls, options: Iterable[str]) -> Self:
        """Parse options such as ``latest:2`` for every model and ``cifar10net=1,3`` for one.

        Raises:
            ConfigError: an option has neither form, or a model has two.
        """
        general: VersionPolicy | None = None
        by_model: dict[str, VersionPolicy] = {}
        for option in options:
            model, is_for_one, text = option.rpartition("=")
            policy = VersionPolicy.parse(text)
            if model in by_model or (not model and general is not None):
                raise ConfigError(f"versions are given twice for {model or 'every model'}: {option!r}")
            if is_for_one:
                by_model[model] = policy
            else:
                general = policy
        return cls(general or VersionPolicy(), by_model)

    def of(self, model: str) -> VersionPolicy:
        """Return the policy of a model."""
        return self.by_model.get(model, self.general)
