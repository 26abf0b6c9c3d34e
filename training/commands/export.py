"""``cifar10net-train export``, ``manifest`` and ``inside``."""

from __future__ import annotations

from pathlib import Path

import click

from training.atomic_files import replacing, write_text
from training.commands.options import cache_option, checkpoint_at, data_option
from training.commands.presentation import echo_object, examples, json_option
from training.data.dataset import DataSet, hold_out
from training.errors import CheckpointError
from training.export.exporter import export as export_checkpoint
from training.export.layer_outputs import INSIDE_NAME, look_inside
from training.export.manifest import MANIFEST_NAME, describe


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
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    default=Path("exported_models"),
    help="Model repository to write into.",
)
@click.option("--model-version", type=click.IntRange(min=1), default=1, help="Version folder.")
@click.option(
    "--replace",
    is_flag=True,
    help="Replace another model of that version instead of refusing.",
)
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
    """Write a run as .onnx, measured and verified.

    How sure it is of its answers is corrected on the validation images, by a temperature.
    It is measured on the test split and compared with PyTorch, and kept only if they agree. Beside model.onnx
    goes manifest.json: its digest, its signature and golden answers, which a server checks before it serves;
    and inside.onnx: the same model, that tells what comes out of each layer, for the page of cifar10net web.
    A new version appears whole or not at all, to servers that watch the folder too.
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

    For one that has none beside it, such as one of an earlier release.
    """
    path = model.with_name(MANIFEST_NAME)
    write_text(path, describe(model))
    if as_json:
        echo_object({"path": str(path)})
    else:
        click.echo(f"wrote {path}")


@click.command("inside", epilog=examples("cifar10net-train inside exported_models/lenet/1/model.onnx"))
@click.argument("model", type=click.Path(path_type=Path))
@json_option
def write_inside(*, model: Path, as_json: bool) -> None:
    """Write what looks inside an exported MODEL.

    The same model, with an output for each layer, for the page of cifar10net web; it is kept only if it
    answers as MODEL does. For one of floats that has no inside.onnx beside it.
    """
    try:
        content = model.read_bytes()
    except OSError as error:
        raise CheckpointError(f"no model at {model}: {error.strerror}") from error
    path = model.with_name(INSIDE_NAME)
    try:
        inside = look_inside(content)
    except CheckpointError as error:
        raise CheckpointError(f"{model}: {error}") from error
    with replacing(path) as file:
        file.write(inside)
    if as_json:
        echo_object({"path": str(path)})
    else:
        click.echo(f"wrote {path}")
