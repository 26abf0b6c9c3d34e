"""``cifar10net-train quantize``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from training.commands.options import cache_option, data_option
from training.commands.presentation import echo_object, examples, json_option
from training.data.dataset import DataSet
from training.quantization.quantized_model import read_source
from training.quantization.quantizer import FORMS, QuantizeConfig
from training.quantization.quantizer import quantize as quantize_model

_DEFAULTS = QuantizeConfig()


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
@click.option(
    "--form",
    type=click.Choice(FORMS),
    default=_DEFAULTS.form,
    help="int8: for ONNX Runtime's CPU provider; int8_openvino: for the OpenVINO provider; fp16: for GPUs.",
)
@click.option(
    "--calibration-images",
    type=int,
    default=_DEFAULTS.calibration_images,
    help="Training images that ranges are taken from (int8).",
)
@click.option("--seed", type=int, default=_DEFAULTS.seed, help="Chooses these images.")
@click.option(
    "--weight-bits",
    type=int,
    default=_DEFAULTS.weight_bits,
    help="7: every processor gives the same answers. 8: a finer grid, but on x86 processors without VNNI "
    "exact sums take longer, and other runtimes than cifar10net's answer worse there (int8).",
)
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    default="exported_models",
    help="Model repository to write <model>_<form> into.",
)
@click.option("--model-version", type=click.IntRange(min=1), default=1, help="Version folder.")
@click.option("--replace", is_flag=True, help="Replace another model of that version instead of refusing.")
@json_option
def quantize(  # noqa: PLR0913 - click passes each option by name
    *,
    model: Path,
    data: Path | None,
    cache_dir: Path | None,
    to: Path,
    model_version: int,
    replace: bool,
    form: str,
    calibration_images: int,
    seed: int,
    weight_bits: int,
    as_json: bool,
) -> None:
    """Write a twin of MODEL in narrower numbers.

    MODEL is an exported .onnx file; what the twin has lost is measured beside it. Ranges come from training
    images, the way to choose them from the validation images; an int8 twin that has lost more than half a
    point of top-1 on the test split is not kept.
    """
    config = QuantizeConfig(
        form=form, calibration_images=calibration_images, seed=seed, weight_bits=weight_bits
    )
    source, images = read_source(model), DataSet(data, cache_dir)
    report = partial(click.echo, err=as_json)
    done = quantize_model(source, images, config, to, model_version, may_replace=replace, report=report)
    found = done.comparison
    if as_json:
        echo_object(
            {
                "path": str(done.path),
                "bytes": done.path.stat().st_size,
                "top1": found.after.top1,
                "top1_float32": found.before.top1,
                "top3": found.after.top3,
                "top3_float32": found.before.top3,
                "images": found.after.n,
                "same_top1": float(found.same_top1),
                "mean_difference": float(found.mean_difference),
                "largest_difference": float(found.largest_difference),
            }
        )
        return
    click.echo(
        f"wrote {done.path}, {done.path.stat().st_size:,} bytes: top-1 {found.after.top1:.2%} (float32 "
        f"{found.before.top1:.2%}), top-3 {found.after.top3:.2%} ({found.before.top3:.2%}) on "
        f"{found.after.n:,} images (test split, {images.description()}); the same top-1 of "
        f"{found.same_top1:.2%}, probabilities differ by {found.mean_difference:.1e} on average and "
        f"{found.largest_difference:.3f} at most"
    )
