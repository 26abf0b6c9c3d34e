"""``cifar10net-train quantize``."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from training.commands.options import cache_option, data_option, repository_options, setting_options
from training.commands.presentation import echo_object, examples, json_option
from training.data.dataset import DataSet
from training.quantization.quantized_model import read_float_model
from training.quantization.quantizer import QuantizeConfig
from training.quantization.quantizer import quantize as quantize_model


@click.command(
    "quantize",
    epilog=examples(
        "cifar10net-train quantize exported_models/cifar10net/1/model.onnx",
        "cifar10net-train quantize exported_models/cifar10net/1/model.onnx --form fp16 --replace --json",
    ),
)
@click.argument("model", type=click.Path(path_type=Path))
@data_option
@cache_option
@setting_options(QuantizeConfig, asdict(QuantizeConfig()), leave_out={"validation_per_class"})
@repository_options
@json_option
def quantize(  # noqa: PLR0913 - click passes each option by name
    *,
    model: Path,
    data: Path | None,
    cache_dir: Path | None,
    to: Path,
    model_version: int,
    replace: bool,
    as_json: bool,
    **settings: Any,  # noqa: ANN401 - checked by QuantizeConfig
) -> None:
    """Quantise MODEL and measure the loss of accuracy.

    MODEL is an exported float32 .onnx. Activation ranges come from training images; the validation images
    choose between ways to calibrate. An int8 model that loses more than half a point of top-1 on the test
    split is not kept.
    """
    config = QuantizeConfig(**settings)
    source, images = read_float_model(model), DataSet(data, cache_dir)
    report = partial(click.echo, err=as_json)
    done = quantize_model(source, images, config, to, model_version, may_replace=replace, report=report)
    effect = done.effect
    if as_json:
        echo_object(
            {
                "path": str(done.path),
                "bytes": done.path.stat().st_size,
                "top1": effect.after.top1,
                "top1_float32": effect.before.top1,
                "top3": effect.after.top3,
                "top3_float32": effect.before.top3,
                "images": effect.after.n,
                "same_top1": float(effect.same_top1),
                "mean_difference": float(effect.mean_difference),
                "largest_difference": float(effect.largest_difference),
            }
        )
        return
    click.echo(
        f"wrote {done.path}, {done.path.stat().st_size:,} bytes: top-1 {effect.after.top1:.2%} (float32 "
        f"{effect.before.top1:.2%}), top-3 {effect.after.top3:.2%} ({effect.before.top3:.2%}) on "
        f"{effect.after.n:,} images (test split, {images.description()}); the same top-1 of "
        f"{effect.same_top1:.2%}, probabilities differ by {effect.mean_difference:.1e} on average and "
        f"{effect.largest_difference:.3f} at most"
    )
