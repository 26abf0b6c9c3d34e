"""An exported model becomes its int8 twin, or its float16 one, no worse than it has to be.

In: a float32 ``.onnx``, the data set. Out: a version of ``<model>_int8``, ``<model>_int8_openvino`` or
``<model>_fp16``. Ranges of activations come from training images; which way of choosing them, from the
validation images; the test split is read once, for the figures, and to refuse what has lost too much.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from training.data.dataset import hold_out
from training.errors import QuantizeError, TrainingError
from training.evaluation.metrics import predict_all
from training.quantization.float16 import to_half
from training.quantization.quantized_model import (
    FEWEST_TESTED,
    Comparison,
    Source,
    Twin,
    check_matrices,
    compare,
    divergence,
    predictor,
    publish_twin,
)
from training.quantization.saturation import LARGEST_PAIR, answers_alike_everywhere, largest_pair
from training.quantization.static_quantization import (
    LARGEST_WEIGHT,
    METHODS,
    PORTABLE_WEIGHT_BITS,
    Method,
    calibrate,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx

    from training.data.dataset import DataSet, Split

FORMS = ("int8", "int8_openvino", "fp16")
MOST_LOST_POINTS = 0.5
"""Of top-1, that an int8 twin may have less than its source."""
ALIKE = "no sum of two products leaves 16 bits: every processor gives the same answers"
SATURATES = (
    "sums of two products can leave 16 bits: x86 processors without VNNI (Intel before Ice Lake, AMD before "
    "Zen 4) answer differently unless the runtime is asked for exact sums, as cifar10net asks the CPU "
    "provider, which takes longer there"
)
"""What 8-bit weights cost where; measured in docs/experiments.md."""
HALF_TOLERANCE = 0.02
"""Largest difference of a probability between float16 and float32."""


@dataclass(frozen=True, kw_only=True)
class QuantizeConfig:
    """How a twin is made."""

    form: str = "int8"
    """One of FORMS."""
    calibration_images: int = 1_000
    """Training images that ranges are taken from."""
    seed: int = 0
    """Chooses them."""
    weight_bits: int = PORTABLE_WEIGHT_BITS
    """7 answers alike on every processor; 8 is a finer grid whose sums of products saturate on some."""
    validation_per_class: int = 100
    """Training images of each class to hold out, where the model does not say how many its run did."""

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise TrainingError(f"form is {self.form!r}, wanted one of {', '.join(FORMS)}")
        if self.weight_bits not in LARGEST_WEIGHT:
            raise TrainingError(f"weight_bits is {self.weight_bits}, wanted 7 or 8")
        for name, smallest, largest in (
            ("calibration_images", 10, 50_000),
            ("seed", 0, 2**32 - 1),
            ("validation_per_class", 1, 5_000),
        ):
            value = getattr(self, name)
            if not smallest <= value <= largest:
                raise TrainingError(f"{name} is {value}, wanted {smallest} to {largest}")


@dataclass(frozen=True)
class Quantized:
    """What ``quantize`` wrote and how good it is."""

    path: Path
    comparison: Comparison


def quantize(  # noqa: PLR0913 - what, and where to
    source: Source,
    data: DataSet,
    config: QuantizeConfig,
    root: Path,
    version: int = 1,
    *,
    may_replace: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Quantized:
    """Write a twin of a model as ``root/<model>_<form>/<version>/model.onnx``.

    Args:
        source: an exported model.
        data: the data set.
        config: how.
        root: the model repository.
        version: version number of the twin, 1 or more.
        may_replace: whether another model of that version makes room.
        report: told of each step in a line.

    Raises:
        DataError: the data set is unusable, or has too few images.
        QuantizeError: the model has no int8 form, or lost too much; nothing was written.
        ExportError: there is another model of that version.
        WriteError: the repository cannot be written.
    """
    if config.form == "fp16":
        twin = Twin("fp16", to_half(source.model), {"arithmetic": "float16, softmax float32"})
    else:
        twin = _int8(source, data.split("train"), config, report)
    test = data.split("test")
    if len(test) < FEWEST_TESTED:
        raise QuantizeError(
            f"{len(test)} test images are too few to measure on, wanted at least {FEWEST_TESTED}"
        )
    comparison = compare(source, predictor(twin.model), test)
    _refuse_what_lost(source, twin, comparison, config.weight_bits)
    path = publish_twin(
        source,
        twin,
        comparison,
        test,
        data.description(),
        root=root,
        version=version,
        may_replace=may_replace,
    )
    return Quantized(path, comparison)


def calibration_images(train: Split, config: QuantizeConfig, held_out_per_class: int) -> tuple[Split, Split]:
    """Divide the training split into the images to calibrate on and those to choose by.

    Raises:
        QuantizeError: too few are left beside those held out.
    """
    kept, validation = hold_out(train, held_out_per_class)
    if len(kept) < config.calibration_images:
        raise QuantizeError(
            f"the training split has {len(kept)} images beside those held out, wanted at least the "
            f"{config.calibration_images} to calibrate on; lower --calibration-images"
        )
    chosen = np.random.default_rng(config.seed).choice(len(kept), config.calibration_images, replace=False)
    return kept[np.sort(chosen)], validation


def _int8(source: Source, train: Split, config: QuantizeConfig, report: Callable[[str], None]) -> Twin:
    """Quantise in each way, and keep the one whose answers on the validation images are nearest."""
    check_matrices(source)
    held_out = source.validation_per_class or config.validation_per_class
    images, validation = calibration_images(train, config, held_out)
    expected = predict_all(source.predict, validation.images)
    calibrated = calibrate(
        source.model,
        images.images,
        METHODS,
        weight_bits=config.weight_bits,
        for_openvino=config.form == "int8_openvino",
    )
    found: list[tuple[float, Method, onnx.ModelProto]] = []
    for method in METHODS:
        model = calibrated.to_int8(method)
        answers = predict_all(predictor(model), validation.images)
        lost = divergence(expected, answers)
        top1 = float((answers.argmax(axis=1) == validation.labels).mean())
        report(f"{method.name:<18} loses {lost * 1e3:.3f} millinats, top-1 {top1:.2%}, on validation")
        found.append((lost, method, model))
    _, method, model = min(found, key=itemgetter(0))
    report(f"{method.name} is nearest to float32 on {len(validation):,} validation images")
    is_portable = answers_alike_everywhere(model)
    if not is_portable:
        if config.weight_bits == PORTABLE_WEIGHT_BITS:
            raise QuantizeError(
                f"with {config.weight_bits} bits two weights of {source.path} add up to "
                f"{largest_pair(model)}, wanted at most {LARGEST_PAIR}: processors would answer differently; "
                "nothing was written"
            )
        report(SATURATES)
    return Twin(
        config.form, model, _settings(config, method, train, len(validation), is_portable=is_portable)
    )


def _settings(
    config: QuantizeConfig, method: Method, train: Split, held_out: int, *, is_portable: bool
) -> dict[str, str]:
    return {
        "arithmetic": f"static QDQ, weights int8 ({config.weight_bits} bits) per channel, activations uint8",
        "processors": ALIKE if is_portable else SATURATES,
        "calibration": f"{method.name} on {config.calibration_images} of {len(train) - held_out} training "
        f"images, seed {config.seed}; chosen of {len(METHODS)} by {held_out} validation images",
    }


def _refuse_what_lost(source: Source, twin: Twin, found: Comparison, bits: int) -> None:
    if twin.form == "fp16" and not found.largest_difference <= HALF_TOLERANCE:
        raise QuantizeError(
            f"float16 and float32 differ by {found.largest_difference:.3f} in a probability on "
            f"{found.after.n} test images, wanted at most {HALF_TOLERANCE}; nothing was written"
        )
    if twin.form != "fp16" and not found.lost_points <= MOST_LOST_POINTS:
        raise QuantizeError(
            f"as {twin.form} {source.path} has top-1 {found.after.top1:.2%} on {found.after.n} test images "
            f"and {found.before.top1:.2%} as float32: {found.lost_points:.2f} points lost, wanted at most "
            f"{MOST_LOST_POINTS}; nothing was written, try more --calibration-images"
            f"{' or --weight-bits 8' if bits == PORTABLE_WEIGHT_BITS else ''}"
        )
