"""The result of a comparison, and its form in ``compare.json``. Rates are 0 to 1."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from training.compare.shifts import Rate
from training.compare.speed import Speed
from training.errors import CheckpointError

FORMAT = 1


@dataclass(frozen=True)
class ShiftRates:
    """Results for images shifted by ``distance_px`` pixels, averaged over the directions."""

    distance_px: int
    top1: Rate
    unchanged: Rate
    """Share of top-1 predictions that equal those for the original images."""


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """One model."""

    name: str
    sha256: str
    """Of the file."""
    size_bytes: int
    kind: str
    """As in ``training.onnx_graph.cost``."""
    parameters: int
    multiply_adds: int
    """Per image."""
    top1: Rate
    top3: Rate
    speed: Speed
    shifted: tuple[ShiftRates, ...]
    """By distance, 0 first."""


@dataclass(frozen=True)
class Margin:
    """A model's lead over the fully connected baseline on shifted images, paired by image; -1 to 1."""

    name: str
    distance_px: int
    top1: Rate
    unchanged: Rate

    @property
    def is_clear(self) -> bool:
        """Whether both leads are above zero by more than two standard errors."""
        return all(rate.mean > 2 * rate.standard_error for rate in (self.top1, self.unchanged))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All models, and the conditions under which they were measured."""

    rows: tuple[ModelResult, ...]
    baseline: str | None
    """The fully connected model that keeps most of its predictions; None if there is none."""
    margins: tuple[Margin, ...]
    """Of each convolutional model over the baseline."""
    data: str
    data_sha256: str
    """Of pixels and labels."""
    images: int
    shift_images: int
    batch: int
    """Images per batch in the timing."""
    machine: str
    versions: dict[str, str]
    commit: str
    time: str
    """ISO 8601, UTC."""


def to_json(comparison: Comparison) -> str:
    """Write a comparison as JSON."""
    return json.dumps({"format": FORMAT, **asdict(comparison)}, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> Comparison:
    """Parse the output of ``to_json``. Raises CheckpointError if it is anything else."""
    try:
        content: dict[str, Any] = json.loads(text)
        if content.pop("format") != FORMAT:
            raise ValueError("another format")  # reported below
        rows = tuple(_model_result(each) for each in content.pop("rows"))
        margins = tuple(Margin(**_with_rates(each)) for each in content.pop("margins"))
        return Comparison(rows=rows, margins=margins, **content)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"this is not a compare.json of this version of cifar10net-train ({error}); write a new one with "
            "cifar10net-train compare --out FOLDER"
        ) from error


def _model_result(content: dict[str, Any]) -> ModelResult:
    shifted = tuple(ShiftRates(**_with_rates(each)) for each in content["shifted"])
    rates = {name: Rate(**content[name]) for name in ("top1", "top3")}
    return ModelResult(**{**content, **rates, "speed": Speed(**content["speed"]), "shifted": shifted})


def _with_rates(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "top1": Rate(**content["top1"]), "unchanged": Rate(**content["unchanged"])}
