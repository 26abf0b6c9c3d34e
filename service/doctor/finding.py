"""One thing that was looked at, and how it is. Knows nothing of how it was found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How something is."""

    OK = "ok"
    ABSENT = "absent"
    """Not there, and nobody has asked for it."""
    NOTE = "note"
    """It works, and could be better."""
    BAD = "bad"
    """It was asked for, or cannot be done without, and is not well."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found of one thing."""

    section: str
    name: str
    state: State = State.OK
    value: str = ""
    advice: str = ""
    """What to do about it: a sentence, of everything that is not well."""
