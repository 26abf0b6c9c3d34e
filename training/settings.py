"""Settings of a configuration dataclass, declared once: help, range and default stand beside each field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, get_origin, get_type_hints

from training.errors import TrainingError


@dataclass(frozen=True)
class Setting:
    """Describes a field that is annotated with it; the type and the default are those of the field."""

    help: str
    smallest: float | None = None
    """Smallest and largest value of a number; None leaves it unbounded."""
    largest: float | None = None
    choices: tuple[str, ...] = ()
    """Allowed words; empty allows any."""


def settings_of(config: type) -> dict[str, Setting]:
    """Return the settings of a dataclass by field name, in the order of its fields."""
    hints = get_type_hints(config, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if get_origin(hint) is Annotated}


def check_settings(config: object) -> None:
    """Compare the values of a configuration with its settings.

    Raises:
        TrainingError: a number is out of range, or a word is not among the choices.
    """
    for name, setting in settings_of(type(config)).items():
        value = getattr(config, name)
        if setting.choices and value not in setting.choices:
            raise TrainingError(f"{name} is {value!r}, wanted one of {', '.join(setting.choices)}")
        if setting.smallest is not None or setting.largest is not None:
            smallest = -math.inf if setting.smallest is None else setting.smallest
            largest = math.inf if setting.largest is None else setting.largest
            check_range(name, value, smallest, largest)


def check_range(name: str, value: float, smallest: float, largest: float) -> None:
    """Raise TrainingError if a number is out of range."""
    if not smallest <= value <= largest:
        raise TrainingError(f"{name} is {value}, wanted {smallest} to {largest}")
