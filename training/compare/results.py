"""The outcome of a comparison, as it is kept in ``compare.json``.

In: what was measured, or the text of a ``compare.json``. Out: the same as dataclasses, or as that text.
Rates are 0 to 1. Knows neither how it was measured nor how it is shown.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from training.compare.shifts import Rate
from training.compare.speed import Speed
from training.errors import CheckpointError

FORMAT = 1


@dataclass(frozen=True)
class Shifted:
    """Answers to images that were moved by ``distance_px`` pixels, averaged over the directions."""

    distance_px: int
    top1: Rate
    unchanged: Rate
    """Share of top-1 answers that are those to the images as they are."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model."""

    name: str
    sha256: str
    """Of the file."""
    size_bytes: int
    kind: str
    """See ``cost.GraphCost``."""
    parameters: int
    multiply_adds: int
    """Of one image."""
    top1: Rate
    top3: Rate
    speed: Speed
    shifted: tuple[Shifted, ...]
    """By distance, 0 first."""


@dataclass(frozen=True)
class Margin:
    """How much better a model bears moved images than the fully connected one, image by image; -1 to 1."""

    name: str
    distance_px: int
    top1: Rate
    unchanged: Rate

    @property
    def is_clear(self) -> bool:
        """Whether both are above zero by more than two standard errors."""
        return all(rate.mean > 2 * rate.standard_error for rate in (self.top1, self.unchanged))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All models, and on what and with what they were measured."""

    rows: tuple[Row, ...]
    baseline: str | None
    """Name of the fully connected model that keeps most of its answers; None if there is none."""
    margins: tuple[Margin, ...]
    """Of each convolutional model over the baseline."""
    data: str
    data_sha256: str
    """Of pixels and labels."""
    images: int
    shift_images: int
    batch: int
    """Images of the batches that were timed."""
    machine: str
    versions: dict[str, str]
    commit: str
    time: str
    """ISO 8601, UTC."""


def to_json(comparison: Comparison) -> str:
    """Write a comparison as JSON."""
    return json.dumps({"format": FORMAT, **asdict(comparison)}, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> Comparison:
    """Read what ``to_json`` wrote.

    Raises:
        CheckpointError: it is something else.
    """
    try:
        content: dict[str, Any] = json.loads(text)
        if content.pop("format") != FORMAT:
            raise ValueError("another format")  # told below
        rows = tuple(_row(each) for each in content.pop("rows"))
        margins = tuple(
            Margin(each["name"], each["distance_px"], Rate(**each["top1"]), Rate(**each["unchanged"]))
            for each in content.pop("margins")
        )
        return Comparison(rows=rows, margins=margins, **content)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"this is not the compare.json of this version of cifar10net-train ({error}); make it anew with "
            "cifar10net-train compare --out FOLDER"
        ) from error


def _row(content: dict[str, Any]) -> Row:
    shifted = tuple(
        Shifted(each["distance_px"], Rate(**each["top1"]), Rate(**each["unchanged"]))
        for each in content["shifted"]
    )
    rates = {name: Rate(**content[name]) for name in ("top1", "top3")}
    return Row(**{**content, **rates, "speed": Speed(**content["speed"]), "shifted": shifted})
