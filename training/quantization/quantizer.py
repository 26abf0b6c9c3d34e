"""Quantises an exported model to int8, or converts it to float16, and refuses too large a loss of accuracy.

The result is a version of ``<model>_int8``, ``<model>_int8_openvino`` or ``<model>_fp16``. Activation ranges
come from training images; the validation images choose between calibration methods; the test split is read
once, at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated

import numpy as np

from training.data.dataset import hold_out
from training.errors import QuantizeError, TrainingError
from training.evaluation.metrics import predict_all
from training.export.exporter import MIN_TEST_IMAGES
from training.quantization.float16 import to_float16
from training.quantization.quantized_model import (
    FloatModel,
    QuantizationEffect,
    QuantizedModel,
    check_int8_coverage,
    in_memory_predictor,
    kl_divergence,
    measure_effect,
    publish_quantized,
)
from training.quantization.saturation import LARGEST_PAIR, is_portable, largest_pair
from training.quantization.static_quantization import (
    LARGEST_WEIGHT,
    METHODS,
    PORTABLE_WEIGHT_BITS,
    Method,
    calibrate,
)
from training.settings import Setting, check_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx

    from training.data.dataset import DataSet, Split

MAX_LOST_POINTS = 0.5
"""Percentage points of top-1 that an int8 model may lose."""
PORTABLE = "no sum of two products leaves 16 bits: every processor gives the same answers"
SATURATES = (
    "sums of two products can leave 16 bits: x86 processors without VNNI (Intel before Ice Lake, AMD before "
    "Zen 4) answer differently unless the runtime is asked for exact sums, as cifar10net asks the CPU "
    "provider, which takes longer there"
)
"""The price of 8-bit weights; measured in docs/experiments.md."""
FLOAT16_TOLERANCE = 0.02
"""Largest difference of a probability between float16 and float32."""
_FORM_HELP = "int8: for ONNX Runtime's CPU provider; int8_openvino: for OpenVINO; fp16: for GPUs."
_BITS_HELP = (
    "7: every processor gives the same answers. 8: a finer grid, but on x86 processors without VNNI exact "
    "sums take longer, and runtimes other than cifar10net's answer worse there (int8)."
)


@dataclass(frozen=True, kw_only=True)
class QuantizeConfig:
    """Settings of ``quantize``."""

    form: Annotated[str, Setting(_FORM_HELP, choices=("int8", "int8_openvino", "fp16"))] = "int8"
    calibration_images: Annotated[int, Setting("Training images to calibrate on (int8).", 10, 50_000)] = 1_000
    seed: Annotated[int, Setting("Chooses the calibration images.", 0, 2**32 - 1)] = 0
    weight_bits: Annotated[int, Setting(_BITS_HELP)] = PORTABLE_WEIGHT_BITS
    validation_per_class: Annotated[int, Setting("Held out, if the model does not say.", 1, 5_000)] = 100

    def __post_init__(self) -> None:
        check_settings(self)
        if self.weight_bits not in LARGEST_WEIGHT:
            raise TrainingError(f"weight_bits is {self.weight_bits}, wanted 7 or 8")


@dataclass(frozen=True)
class QuantizeResult:
    """The file that ``quantize`` wrote, and its accuracy."""

    path: Path
    effect: QuantizationEffect


def quantize(  # noqa: PLR0913 - the model, its data and the destination
    source: FloatModel,
    data: DataSet,
    config: QuantizeConfig,
    root: Path,
    version: int = 1,
    *,
    may_replace: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> QuantizeResult:
    """Write a narrower form of a model as ``root/<model>_<form>/<version>/model.onnx``.

    Args:
        source: an exported float32 model.
        data: the data set.
        config: form and calibration.
        root: the model repository.
        version: version number of the new model, 1 or more.
        may_replace: whether to replace another model of that version.
        report: called with a line of text after each step.

    Raises:
        DataError: the data set cannot be read, or has too few images.
        QuantizeError: the model has no int8 form, or loses too much accuracy; nothing was written.
        ExportError: that version already holds another model.
        WriteError: the repository cannot be written.
    """
    if config.form == "fp16":
        quantized = QuantizedModel(
            "fp16", to_float16(source.model), {"arithmetic": "float16, softmax float32"}
        )
    else:
        quantized = _int8(source, data.split("train"), config, report)
    test = data.split("test")
    if len(test) < MIN_TEST_IMAGES:
        raise QuantizeError(
            f"{len(test)} test images are too few to measure on, wanted at least {MIN_TEST_IMAGES}"
        )
    effect = measure_effect(source, in_memory_predictor(quantized.model), test)
    _check_accuracy(source, quantized, effect, config.weight_bits)
    path = publish_quantized(
        source,
        quantized,
        effect,
        test,
        data.description(),
        root=root,
        version=version,
        may_replace=may_replace,
    )
    return QuantizeResult(path, effect)


def calibration_images(train: Split, config: QuantizeConfig, held_out_per_class: int) -> tuple[Split, Split]:
    """Divide the training split into (calibration images, validation images).

    Raises:
        QuantizeError: too few images are left after holding out the validation images.
    """
    kept, validation = hold_out(train, held_out_per_class)
    if len(kept) < config.calibration_images:
        raise QuantizeError(
            f"the training split has {len(kept)} images besides those held out, wanted at least the "
            f"{config.calibration_images} to calibrate on; lower --calibration-images"
        )
    chosen = np.random.default_rng(config.seed).choice(len(kept), config.calibration_images, replace=False)
    return kept[np.sort(chosen)], validation


def _int8(
    source: FloatModel, train: Split, config: QuantizeConfig, report: Callable[[str], None]
) -> QuantizedModel:
    """Quantise by each method; keep the one with the lowest divergence on validation images."""
    check_int8_coverage(source)
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
        answers = predict_all(in_memory_predictor(model), validation.images)
        lost = kl_divergence(expected, answers)
        top1 = float((answers.argmax(axis=1) == validation.labels).mean())
        report(f"{method.name:<18} loses {lost * 1e3:.3f} millinats, top-1 {top1:.2%}, on validation")
        found.append((lost, method, model))
    _, method, model = min(found, key=itemgetter(0))
    report(f"{method.name} is nearest to float32 on {len(validation):,} validation images")
    portable = is_portable(model)
    if not portable:
        if config.weight_bits == PORTABLE_WEIGHT_BITS:
            raise QuantizeError(
                f"with {config.weight_bits} bits two weights of {source.path} add up to "
                f"{largest_pair(model)}, wanted at most {LARGEST_PAIR}: processors would answer differently; "
                "nothing was written"
            )
        report(SATURATES)
    return QuantizedModel(
        config.form, model, _settings(config, method, train, len(validation), portable=portable)
    )


def _settings(
    config: QuantizeConfig, method: Method, train: Split, held_out: int, *, portable: bool
) -> dict[str, str]:
    return {
        "arithmetic": f"static QDQ, weights int8 ({config.weight_bits} bits) per channel, activations uint8",
        "processors": PORTABLE if portable else SATURATES,
        "calibration": f"{method.name} on {config.calibration_images} of {len(train) - held_out} training "
        f"images, seed {config.seed}; chosen of {len(METHODS)} by {held_out} validation images",
    }


def _check_accuracy(
    source: FloatModel, quantized: QuantizedModel, effect: QuantizationEffect, bits: int
) -> None:
    if quantized.form == "fp16" and not effect.largest_difference <= FLOAT16_TOLERANCE:
        raise QuantizeError(
            f"float16 and float32 differ by {effect.largest_difference:.3f} in a probability on "
            f"{effect.after.n} test images, wanted at most {FLOAT16_TOLERANCE}; nothing was written"
        )
    if quantized.form != "fp16" and not effect.lost_points <= MAX_LOST_POINTS:
        raise QuantizeError(
            f"as {quantized.form} {source.path} has top-1 {effect.after.top1:.2%} on {effect.after.n} test "
            f"images and {effect.before.top1:.2%} as float32: {effect.lost_points:.2f} points lost, wanted "
            f"at most {MAX_LOST_POINTS}; nothing was written, try more --calibration-images"
            f"{' or --weight-bits 8' if bits == PORTABLE_WEIGHT_BITS else ''}"
        )
