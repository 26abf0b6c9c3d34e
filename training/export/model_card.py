"""The files beside the versions of a model: model card, and ``config.pbtxt`` and labels for Triton."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from training.data.cifar10 import CLASS_NAMES, IMAGE_SHAPE
from training.evaluation.layer_table import layer_rows
from training.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.data.dataset import Split
    from training.evaluation.metrics import Evaluation
    from training.learning.config import TrainConfig
    from training.learning.run import Checkpoint

LARGEST_BATCH = 4_096
_LIMITS = """\
## What it is not for

It knows ten classes and 32x32 pixels. A picture of anything else gets one of the ten all the same, often
with a high probability: the probabilities are not calibrated for images unlike CIFAR-10.
"""


def recipe_text(config: TrainConfig) -> str:
    """Return all settings of a run in one line."""
    return " ".join(f"{name}={value}" for name, value in asdict(config).items())


def held_out_per_class(recipe: str) -> int | None:
    """Return the images of each class held out, according to a recipe text; None without that setting."""
    settings = dict(part.partition("=")[::2] for part in recipe.split())
    found = settings.get("validation_per_class", "")
    return int(found) if found.isdecimal() else None


def accuracy_metadata(evaluation: Evaluation, test: Split, data_description: str) -> dict[str, str]:
    """Return the part of a model's metadata that describes its accuracy on the test split."""
    return {
        "accuracy_top1": f"{evaluation.top1:.4f}",
        "accuracy_top3": f"{evaluation.top3:.4f}",
        "accuracy_images": str(evaluation.n),
        "accuracy_data": f"test split, {data_description}",
        "accuracy_data_sha256": test.digest(),
    }


def config_pbtxt(name: str) -> str:
    """Return the model configuration for NVIDIA Triton's ONNX Runtime backend."""
    return f"""\
# Makes this folder a model of a Triton model repository. cifar10net itself does not read it: what
# it serves is in model.onnx alone.
name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: {LARGEST_BATCH}
input [
  {{
    name: "images"
    data_type: TYPE_UINT8
    format: FORMAT_NHWC
    dims: [ {", ".join(map(str, IMAGE_SHAPE))} ]
  }}
]
output [
  {{
    name: "probabilities"
    data_type: TYPE_FP32
    dims: [ {len(CLASS_NAMES)} ]
    label_filename: "labels.txt"
  }}
]
dynamic_batching {{ }}
"""


def card_files(name: str, card: str) -> dict[str, str]:
    """Return the files beside the versions of a model: contents by file name."""
    return {
        "config.pbtxt": config_pbtxt(name),
        "labels.txt": "".join(f"{label}\n" for label in CLASS_NAMES),
        "README.md": card,
    }


def model_card(  # noqa: PLR0913, PLR0917 - the facts in the card
    checkpoint: Checkpoint,
    evaluation: Evaluation,
    data_description: str,
    size_bytes: int,
    difference: float,
    temperature: float = 1.0,
) -> str:
    """Return the model card of an exported run, as Markdown."""
    config = checkpoint.config
    network = NETWORKS[config.network]()
    rows = layer_rows(network)
    parameters = sum(row.parameters for row in rows)
    multiply_adds = sum(row.multiply_adds for row in rows)
    classes = _class_rows(evaluation)
    settings = "\n".join(f"| {name} | {value} |" for name, value in asdict(config).items())
    made_with = "\n".join(f"| {name} | {value} |" for name, value in sorted(checkpoint.provenance.items()))
    return f"""\
# {config.network}

{network.description} {parameters:,} parameters, {multiply_adds:,} multiply-adds an image.

Written by `cifar10net-train export`; do not edit. Takes `images`, uint8 (batch, 32, 32, 3), RGB pixels as
they are; gives `probabilities`, float32 (batch, {len(CLASS_NAMES)}). Preprocessing and softmax are inside the
graph. {size_bytes:,} bytes. Labels, accuracy, recipe and provenance are in the file's metadata too.

## How good it is

| measured on | {evaluation.n:,} images: test split, {data_description} |
|---|---|
| top-1 | {evaluation.top1:.2%} (standard error {evaluation.top1_standard_error:.2%}) |
| top-3 | {evaluation.top3:.2%} |
| cross-entropy | {evaluation.loss:.4f} nats |{_temperature_row(temperature)}
| largest difference between ONNX Runtime and PyTorch | {difference:.1e} on the same images |

The test split was read by the export, after training; the validation images, held out of the training split,
chose the recipe.

| class | top-1 |
|---|---|
{classes}

## How it was made

| setting | value |
|---|---|
{settings}

| made with | |
|---|---|
{made_with}

{_LIMITS}"""


def quantized_model_card(
    name: str, metadata: Mapping[str, str], before: Evaluation, after: Evaluation, figures: Mapping[str, str]
) -> str:
    """Return the model card of a quantised model, as Markdown.

    ``before`` is the accuracy of the float32 model on the same images; ``figures`` are further rows by title.
    """
    source = metadata["quantized_from"]
    made = [
        "form",
        "arithmetic",
        "processors",
        "calibration",
        "from",
        "from_sha256",
        "commit",
        "onnx",
        "onnxruntime",
    ]
    how = "\n".join(
        f"| {key} | {metadata[f'quantized_{key}']} |" for key in made if f"quantized_{key}" in metadata
    )
    beside = "\n".join(f"| {key} | {value} |" for key, value in figures.items())
    return f"""\
# {name}

Written by `cifar10net-train quantize`; do not edit. The same network as
[{source}](../{source}/README.md), whose card says how it was trained, in narrower numbers. Takes `images`,
uint8 (batch, 32, 32, 3), RGB pixels as they are; gives `probabilities`, float32 (batch, {len(CLASS_NAMES)}).
Labels, accuracy, recipe and provenance are in the file's metadata too.

## How good it is

Measured on {after.n:,} images: {metadata["accuracy_data"]}.

| | {name} | float32 |
|---|---|---|
| top-1 | {after.top1:.2%} (standard error {after.top1_standard_error:.2%}) | {before.top1:.2%} |
| top-3 | {after.top3:.2%} | {before.top3:.2%} |
| cross-entropy | {after.loss:.4f} nats | {before.loss:.4f} nats |

| beside the float32 model, on the same images | |
|---|---|
{beside}

| class | top-1 |
|---|---|
{_class_rows(after)}

## How it was made

| | |
|---|---|
{how}

{_LIMITS}"""


def _temperature_row(temperature: float) -> str:
    if temperature == 1:
        return ""
    return (
        f"\n| temperature | {temperature:.2f}: logits were divided by it, in the last layer, which "
        "gives the lowest cross-entropy on the validation images |"
    )


def _class_rows(evaluation: Evaluation) -> str:
    return "\n".join(
        f"| {label} | {accuracy:.1%} |"
        for label, accuracy in zip(CLASS_NAMES, evaluation.per_class, strict=True)
    )
