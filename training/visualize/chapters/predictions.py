"""Confusion matrix, calibration, and the most confident mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.data.cifar10 import CLASS_NAMES
from training.evaluation.metrics import predict_all, score
from training.provenance import library_versions
from training.visualize.drawing.reliability_plots import confusion_matrix, mistakes_sheet, reliability_diagram
from training.visualize.html_page import ReportTable
from training.visualize.reliability import BINS, calibration, confident_mistakes

if TYPE_CHECKING:
    import numpy.typing as npt

    from training.evaluation.metrics import Evaluation, Predictor
    from training.visualize.report_builder import ReportBuilder

TITLE = "Accuracy and calibration"
_MOST_MISTAKES = 24


def draw(builder: ReportBuilder) -> None:
    """Measure the model on the images; adds the facts at the top of the report, too."""
    split = builder.selection.split
    probabilities = predict_all(_with_progress(builder), split.images)
    result = score(probabilities, split)
    _add_facts(builder, result)
    _draw_confusion(builder, result)
    _draw_calibration(builder, probabilities)
    _draw_mistakes(builder, probabilities)


def _add_facts(builder: ReportBuilder, result: Evaluation) -> None:
    model, description = builder.model, builder.selection.description
    weights = "weights not available" if model.network is None else "weights loaded into PyTorch"
    versions = library_versions("torch", "captum", "matplotlib").items()
    builder.report.facts += [
        ("Model", str(model.path)),
        ("Network", f"{model.name}, run by {model.runtime}, {weights}"),
        ("Images", description),
        ("Top-1", f"{result.top1:.2%} (standard error {result.top1_standard_error:.2%})"),
        ("Top-3", f"{result.top3:.2%}"),
        ("Made with", ", ".join(f"{name} {version}" for name, version in versions)),
    ]
    builder.numbers["model"] = {"network": model.name, "path": str(model.path)}
    builder.numbers["images"] = description
    builder.numbers["answers"] = {
        "images": result.n,
        "top1": result.top1,
        "top3": result.top3,
        "loss": result.loss,
        "confusion": result.confusion.tolist(),
    }


def _draw_confusion(builder: ReportBuilder, result: Evaluation) -> None:
    title = f"{builder.model.name}: {result.n:,} images, top-1 {result.top1:.2%}"
    confusion_matrix(builder.path("confusion.png"), title, result)
    wrong = result.confusion - np.diag(np.diag(result.confusion))
    label, said = np.unravel_index(wrong.argmax(), wrong.shape)
    builder.add_figure(
        "Confusion matrix",
        "confusion.png",
        alt=f"Confusion matrix of ten classes, top-1 {result.top1:.2%}. The most frequent confusion: "
        f"{CLASS_NAMES[label]} predicted as {CLASS_NAMES[said]}, {wrong.max()} times.",
        caption="Rows are labels, columns are predictions; the numbers count images.",
    )
    counted = zip(CLASS_NAMES, result.per_class, result.confusion, strict=True)
    builder.report.tables.append(
        ReportTable(
            TITLE,
            "The confusion matrix in numbers: one row per label, one column per prediction",
            ["class", "right", *CLASS_NAMES],
            [
                [label, "none" if np.isnan(share) else f"{share:.1%}", *map(str, counts)]
                for label, share, counts in counted
            ],
        )
    )


def _draw_calibration(builder: ReportBuilder, probabilities: npt.NDArray[np.float32]) -> None:
    measured = calibration(probabilities, builder.selection.split.labels)
    error, bias = measured.expected_error, measured.bias
    builder.report.facts.append(("Expected calibration error", f"{error:.2%} ({BINS} bins)"))
    title = f"{builder.model.name}: expected calibration error {error:.2%}"
    reliability_diagram(builder.path("calibration.png"), title, measured)
    builder.add_figure(
        "Calibration",
        "calibration.png",
        alt=f"Reliability diagram with {BINS} bins: expected calibration error {error:.2%}, mean confidence "
        f"{abs(bias):.2%} {'above' if bias > 0 else 'below'} accuracy; below it a histogram of confidence.",
        caption="If all bars ended at the dashed line, 80% of the predictions made with 80% confidence would "
        "be right. Bars below the line mean that the model is overconfident. The expected calibration error "
        "is the mean gap, weighted by the number of predictions (Guo et al. 2017, arXiv:1706.04599).",
    )
    builder.numbers["calibration"] = {
        "expected_error": error,
        "bias": bias,
        "counts": measured.counts.tolist(),
        "confidence": _without_nan(measured.confidence),
        "accuracy": _without_nan(measured.accuracy),
    }


def _draw_mistakes(builder: ReportBuilder, probabilities: npt.NDArray[np.float32]) -> None:
    split, indices = builder.selection.split, builder.selection.indices
    mistakes = confident_mistakes(probabilities, split.labels, _MOST_MISTAKES)
    if not mistakes:
        builder.omit("The most confident mistakes", "every prediction is right")
        return
    numbers = {each.index: int(indices[each.index]) for each in mistakes}
    title = f"{builder.model.name}: the most confident mistakes"
    mistakes_sheet(builder.path("mistakes.png"), title, mistakes, split.images, numbers)
    first = mistakes[0]
    builder.add_figure(
        "The most confident mistakes",
        "mistakes.png",
        alt=f"{len(mistakes)} images with wrong predictions. The most confident: image "
        f"{numbers[first.index]} of class {CLASS_NAMES[first.label]}, predicted as {CLASS_NAMES[first.said]} "
        f"with {first.probability:.1%}.",
        caption="Above each image: the prediction and its probability, the label and its probability, and "
        "the image's number, which --image accepts for a closer look. Some labels are wrong, too.",
    )
    builder.numbers["mistakes"] = [
        {
            **vars(each),
            "index": numbers[each.index],
            "label": CLASS_NAMES[each.label],
            "said": CLASS_NAMES[each.said],
        }
        for each in mistakes
    ]


def _with_progress(builder: ReportBuilder) -> Predictor:
    """Wrap the model's predictor to report the number of images processed."""
    done = 0

    def predict(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        nonlocal done
        probabilities = builder.model.predict(images)
        done += len(images)
        builder.progress.on_images(done, len(builder.selection.split))
        return probabilities

    return predict


def _without_nan(values: npt.NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(each) else each for each in values.tolist()]
