"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FindingState(StrEnum):
    """Whether something is as it should be."""

    OK = "ok"
    ABSENT = "absent"
    """Missing, and not asked for."""
    NOTE = "note"
    """It works, but could be better."""
    BAD = "bad"
    """Asked for or indispensable, and missing or broken."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    section: str
    name: str
    state: FindingState = FindingState.OK
    value: str = ""
    advice: str = ""
    """What to do; set for every ``NOTE`` and ``BAD``."""
