"""Confusion, calibration, and the most confident mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.data.cifar10 import CLASS_NAMES
from training.evaluation.metrics import predict_all, score
from training.provenance import library_versions
from training.visualize.drawing.reliability_plots import confusion_matrix, mistakes_sheet, reliability_diagram
from training.visualize.reliability import BINS, calibration, confident_mistakes
from training.visualize.report import Table

if TYPE_CHECKING:
    import numpy.typing as npt

    from training.evaluation.metrics import Evaluation, Predictor
    from training.visualize.book import Book

TITLE = "How good its answers are"
_MOST_MISTAKES = 24


def draw(book: Book) -> None:
    """Measure the model on the images; states the facts at the head of the report, too."""
    split = book.looked.split
    probabilities = predict_all(_counted(book), split.images)
    result = score(probabilities, split)
    _state_facts(book, result)
    _confusion(book, result)
    _calibration(book, probabilities)
    _mistakes(book, probabilities)


def _state_facts(book: Book, result: Evaluation) -> None:
    subject = book.subject
    opened = "answers only" if subject.network is None else "weights opened in PyTorch"
    versions = library_versions("torch", "captum", "matplotlib").items()
    book.report.facts += [
        ("Model", str(subject.path)),
        ("Network", f"{subject.name}, answers by {subject.runtime}, {opened}"),
        ("Images", book.looked.description),
        ("Top-1", f"{result.top1:.2%} (standard error {result.top1_standard_error:.2%})"),
        ("Top-3", f"{result.top3:.2%}"),
        ("Made with", ", ".join(f"{name} {version}" for name, version in versions)),
    ]
    book.numbers["model"] = {"network": subject.name, "path": str(subject.path)}
    book.numbers["images"] = book.looked.description
    book.numbers["answers"] = {
        "images": result.n,
        "top1": result.top1,
        "top3": result.top3,
        "loss": result.loss,
        "confusion": result.confusion.tolist(),
    }


def _confusion(book: Book, result: Evaluation) -> None:
    title = f"{book.subject.name}: {result.n:,} images, top-1 {result.top1:.2%}"
    confusion_matrix(book.path("confusion.png"), title, result)
    wrong = result.confusion - np.diag(np.diag(result.confusion))
    label, said = np.unravel_index(wrong.argmax(), wrong.shape)
    book.add(
        TITLE,
        "Confusion matrix",
        "confusion.png",
        alt=f"Confusion matrix of ten classes, top-1 {result.top1:.2%}. Most often confused: "
        f"{CLASS_NAMES[label]} taken for {CLASS_NAMES[said]}, {wrong.max()} times.",
        caption="Rows are what the images show, columns what the model answered; numbers are images.",
    )
    counted = zip(CLASS_NAMES, result.per_class, result.confusion, strict=True)
    book.report.tables.append(
        Table(
            TITLE,
            "The confusion matrix in numbers: a row for what the images show, a column for each answer",
            ["class", "right", *CLASS_NAMES],
            [
                [label, "none" if np.isnan(share) else f"{share:.1%}", *map(str, counts)]
                for label, share, counts in counted
            ],
        )
    )


def _calibration(book: Book, probabilities: npt.NDArray[np.float32]) -> None:
    measured = calibration(probabilities, book.looked.split.labels)
    error, bias = measured.expected_error, measured.bias
    book.report.facts.append(("Expected calibration error", f"{error:.2%} ({BINS} bins)"))
    title = f"{book.subject.name}: expected calibration error {error:.2%}"
    reliability_diagram(book.path("calibration.png"), title, measured)
    book.add(
        TITLE,
        "Calibration",
        "calibration.png",
        alt=f"Reliability diagram with {BINS} bins: expected calibration error {error:.2%}, mean confidence "
        f"{abs(bias):.2%} {'above' if bias > 0 else 'below'} accuracy; below it a histogram of confidence.",
        caption="Bars on the dashed line would mean that of the answers given with 80% confidence 80% "
        "are right. "
        "Bars below it: too sure of itself. The expected calibration error is the mean gap, weighted by the "
        "number of answers (Guo et al. 2017, arXiv:1706.04599).",
    )
    book.numbers["calibration"] = {
        "expected_error": error,
        "bias": bias,
        "counts": measured.counts.tolist(),
        "confidence": _without_nan(measured.confidence),
        "accuracy": _without_nan(measured.accuracy),
    }


def _mistakes(book: Book, probabilities: npt.NDArray[np.float32]) -> None:
    split, indices = book.looked.split, book.looked.indices
    mistakes = confident_mistakes(probabilities, split.labels, _MOST_MISTAKES)
    if not mistakes:
        book.leave_out("The most confident mistakes", "every answer is right")
        return
    numbers = {each.index: int(indices[each.index]) for each in mistakes}
    title = f"{book.subject.name}: the most confident of its mistakes"
    mistakes_sheet(book.path("mistakes.png"), title, mistakes, split.images, numbers)
    first = mistakes[0]
    book.add(
        TITLE,
        "The most confident mistakes",
        "mistakes.png",
        alt=f"{len(mistakes)} images with wrong answers. The most confident: image "
        f"{numbers[first.index]} of class "
        f"{CLASS_NAMES[first.label]}, taken for {CLASS_NAMES[first.said]} with {first.probability:.1%}.",
        caption="Above each image: the answer and its probability, what it shows and the probability of "
        "that, and "
        "its number, which --image takes to look closer. Some labels are wrong, too.",
    )
    book.numbers["mistakes"] = [
        {
            **vars(each),
            "index": numbers[each.index],
            "label": CLASS_NAMES[each.label],
            "said": CLASS_NAMES[each.said],
        }
        for each in mistakes
    ]


def _counted(book: Book) -> Predictor:
    """Wrap the model so that the listener hears how many images are done."""
    done = 0

    def predict(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        nonlocal done
        probabilities = book.subject.predict(images)
        done += len(images)
        book.listener.on_images(done, len(book.looked.split))
        return probabilities

    return predict


def _without_nan(values: npt.NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(each) else each for each in values.tolist()]
