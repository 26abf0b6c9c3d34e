"""Settings are read from the annotations of a dataclass, and check its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest

from training.errors import TrainingError
from training.settings import Setting, check_settings, settings_of


@dataclass(frozen=True)
class _Config:
    share: Annotated[float, Setting("A share.", 0, 1)] = 0.5
    word: Annotated[str, Setting("A word.", choices=("one", "two"))] = "one"
    free: Annotated[str, Setting("Anything.")] = ""
    internal: int = 0


def test_settings_are_those_of_annotated_fields_in_order() -> None:
    assert {name: each.help for name, each in settings_of(_Config).items()} == {
        "share": "A share.",
        "word": "A word.",
        "free": "Anything.",
    }


def test_bounds_are_allowed() -> None:
    for share in (0, 1):
        check_settings(_Config(share=share, word="two", free="x", internal=-1))


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (_Config(share=1.1), r"^share is 1\.1, wanted 0 to 1$"),
        (_Config(share=float("nan")), "^share is nan"),
        (_Config(word="three"), "^word is 'three', wanted one of one, two$"),
    ],
)
def test_a_value_out_of_range_is_refused(config: _Config, sentence: str) -> None:
    with pytest.raises(TrainingError, match=sentence):
        check_settings(config)
