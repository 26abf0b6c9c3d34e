"""``cifar10net-train export``, ``manifest`` and ``inside``."""

from __future__ import annotations

from pathlib import Path

import click

from training.atomic_files import write_bytes, write_text
from training.commands.options import cache_option, checkpoint_at, data_option, repository_options
from training.commands.presentation import echo_object, examples, json_option
from training.data.dataset import DataSet, hold_out
from training.errors import CheckpointError
from training.export.exporter import export as export_checkpoint
from training.export.layer_outputs import LAYER_OUTPUTS_NAME, with_layer_outputs
from training.export.manifest import MANIFEST_NAME, make_manifest


@click.command(
    "export",
    epilog=examples(
        "cifar10net-train export --run runs/first",
        "cifar10net-train export --run runs/first --to exported_models --model-version 2 --json",
    ),
)
@click.option(
    "--run",
    "model",
    type=click.Path(path_type=Path),
    required=True,
    help="A finished run folder, or its checkpoint.pt.",
)
@data_option
@cache_option
@repository_options
@json_option
def export_model(  # noqa: PLR0913 - click passes each option by name
    *,
    model: Path,
    data: Path | None,
    cache_dir: Path | None,
    to: Path,
    model_version: int,
    replace: bool,
    as_json: bool,
) -> None:
    """Write a finished run as .onnx, verified and measured.

    Probabilities are calibrated on the validation images by temperature scaling. Accuracy is measured on the
    test split; the model is kept only if ONNX Runtime and PyTorch agree there. Beside model.onnx stand
    manifest.json, with the digest, signature and golden answers that a server checks before it serves, and
    inside.onnx, the same model with an output for each layer, for the page of cifar10net web. A new version
    appears whole or not at all, also to servers that watch the folder.
    """
    checkpoint = checkpoint_at(model)
    if not checkpoint.is_finished:
        raise CheckpointError(
            f"{model} has done {checkpoint.epoch} of {checkpoint.config.epochs} epochs; finish it "
            f"with cifar10net-train fit --resume {model}"
        )
    source = DataSet(data, cache_dir)
    _, held_out = hold_out(source.split("train"), checkpoint.config.validation_per_class)
    done = export_checkpoint(
        checkpoint,
        source.split("test"),
        source.description(),
        to,
        model_version,
        held_out=held_out,
        may_replace=replace,
    )
    if as_json:
        echo_object(
            {
                "path": str(done.path),
                "top1": done.evaluation.top1,
                "top3": done.evaluation.top3,
                "images": done.evaluation.n,
                "source": source.description(),
                "largest_difference": float(done.largest_difference),
                "compared": done.compared,
                "temperature": done.temperature,
            }
        )
        return
    click.echo(
        f"wrote {done.path}: top-1 {done.evaluation.top1:.2%}, top-3 {done.evaluation.top3:.2%} on "
        f"{done.evaluation.n:,} images (test split, {source.description()}); ONNX Runtime and "
        f"PyTorch differ by at most {done.largest_difference:.1e} on {done.compared:,} images"
    )


@click.command("manifest", epilog=examples("cifar10net-train manifest exported_models/lenet/1/model.onnx"))
@click.argument("model", type=click.Path(path_type=Path))
@json_option
def write_manifest(*, model: Path, as_json: bool) -> None:
    """Write the manifest of an exported MODEL.

    For models without one, such as those of an earlier release.
    """
    path = model.with_name(MANIFEST_NAME)
    write_text(path, make_manifest(model))
    _report(path, as_json=as_json)


@click.command("inside", epilog=examples("cifar10net-train inside exported_models/lenet/1/model.onnx"))
@click.argument("model", type=click.Path(path_type=Path))
@json_option
def write_layer_outputs(*, model: Path, as_json: bool) -> None:
    """Write inside.onnx beside an exported MODEL.

    It is the same model with an output for each layer, for the page of cifar10net web, and is kept only if it
    gives MODEL's probabilities. MODEL must be a float model.
    """
    try:
        content = model.read_bytes()
    except OSError as error:
        raise CheckpointError(f"no model at {model}: {error.strerror}") from error
    path = model.with_name(LAYER_OUTPUTS_NAME)
    try:
        inside = with_layer_outputs(content)
    except CheckpointError as error:
        raise CheckpointError(f"{model}: {error}") from error
    write_bytes(path, inside)
    _report(path, as_json=as_json)


def _report(path: Path, *, as_json: bool) -> None:
    if as_json:
        echo_object({"path": str(path)})
    else:
        click.echo(f"wrote {path}")
