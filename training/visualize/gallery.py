"""Has every picture of a model made, and the report that binds them.

In: a subject and the images to look at. Out: PNG files, ``report.html`` and ``numbers.json`` in a folder. What does
not apply to a model is left out, and the report says why.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import nn

from training.evaluate import Evaluation, predict_all, score
from training.files import write_text
from training.provenance import library_versions
from training.sources import CLASS_NAMES
from training.visualize.assessment import BINS, calibration, confident_mistakes
from training.visualize.attribution import STRIDE_PX, WINDOW_PX, gradients, occlusion
from training.visualize.curves import curves
from training.visualize.deconvolution import NotAChainError, chain_to, project
from training.visualize.drawing.assessment import confusion_matrix, mistakes_sheet, reliability_diagram
from training.visualize.drawing.attribution import Attributed, attribution_sheet
from training.visualize.drawing.curves import training_curves
from training.visualize.drawing.excitation import patches, projections, whole_images
from training.visualize.drawing.features import feature_sheet
from training.visualize.drawing.filters import colour_filters, kernel_matrix
from training.visualize.drawing.tiles import spread
from training.visualize.examples import Example, class_of
from training.visualize.excitation import Peaks, peaks
from training.visualize.features import feature_maps
from training.visualize.fields import Field, receptive_field
from training.visualize.filters import first_matrix, kernels, pixel_weights
from training.visualize.folder import FILES_KEY, NUMBERS_NAME
from training.visualize.layers import Layer, deepest_convolution, last_pooling, layer_called, layers_of
from training.visualize.report import Picture, Report, Table, page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from training.dataset import Split
    from training.visualize.subject import Subject

REPORT_NAME = "report.html"
_MISTAKES = 24
_STRONGEST = 9
_PROJECTED = 4
_MOST_DEEPER = 3
_MOST_POOLINGS = 3
_SHAPING = (nn.Flatten, nn.Identity, nn.Dropout)  # give what they are given, another way round

_ANSWERS, _LEARNING, _WEIGHTS, _MAPS, _EXCITE, _BACK, _PIXELS = (
    "How good its answers are",
    "How it learned",
    "What it weighs",
    "What each layer makes of an image",
    "What excites its channels",
    "From an activation back to the pixels",
    "Which pixels an answer hangs on",
)


@dataclass(frozen=True)
class Looked:
    """The images that a model is looked at with."""

    description: str
    """Which they are, for the report."""
    split: Split
    """Measured on, and searched for what excites a channel."""
    indices: npt.NDArray[np.int64]
    """(n,): where each of them is in the whole split, as ``--image`` counts."""
    examples: Sequence[Example]
    """Looked at one by one."""


class Listener(Protocol):
    """Is told how the work goes."""

    def on_step(self, number: int, steps: int, what: str) -> None:
        """Take note of a family of pictures that is begun, the first has number 1."""

    def on_images(self, done: int, images: int) -> None:
        """Take note of images that were looked at in this step."""


def make(subject: Subject, looked: Looked, layer: str | None, folder: Path, listener: Listener) -> Report:
    """Make every picture that applies, ``report.html`` and ``numbers.json``.

    Args:
        subject: the model.
        looked: the images.
        layer: whose channels are looked at; None: the pooling layers, and the deepest convolution.
        folder: an empty one to write into.
        listener: is told each step.

    Raises:
        LayerError: there is no such layer, or it has no maps, or the model cannot be opened.
        MissingPackageError: Captum or matplotlib is not installed.
        WriteError: the folder cannot be written.
    """
    gallery = _Gallery(subject, looked, layer, folder, listener)
    steps = [
        (_ANSWERS, gallery.assess),
        (_LEARNING, gallery.draw_curves),
        (_WEIGHTS, gallery.draw_weights),
        (_MAPS, gallery.draw_maps),
        (_EXCITE, gallery.draw_excitation),
        (_BACK, gallery.draw_projections),
        (_PIXELS, gallery.draw_attribution),
    ]
    for number, (what, step) in enumerate(steps, start=1):
        listener.on_step(number, len(steps), what)
        step()
    gallery.bind()
    return gallery.report


def check_layer(subject: Subject, layer: str | None) -> None:
    """See that a layer can be looked at, before work is spent. Raises LayerError."""
    if layer is not None:
        layers = [] if subject.network is None else layers_of(subject.network)
        layer_called(layers, layer, subject.name)


class _Gallery:
    """What one call makes; each method makes a family of pictures."""

    def __init__(
        self, subject: Subject, looked: Looked, layer: str | None, folder: Path, listener: Listener
    ) -> None:
        self._subject, self._looked = subject, looked
        self._folder, self._listener = folder, listener
        self._layers = [] if subject.network is None else layers_of(subject.network)
        self._layer = None if layer is None else layer_called(self._layers, layer, subject.name)
        self._numbers: dict[str, Any] = {}
        self._peaks: dict[str, Peaks] = {}
        self.report = Report(f"A look inside {subject.name}")

    # -- answers ------------------------------------------------------------------------------

    def assess(self) -> None:
        """Confusion, calibration, mistakes."""
        split, name = self._looked.split, self._subject.name
        probabilities = predict_all(self._counted(), split.images)
        result = score(probabilities, split)
        self._state_facts(result)
        self._confusion(result)
        measured = calibration(probabilities, split.labels)
        error, bias = measured.expected_error, measured.bias
        self.report.facts.append(("Expected calibration error", f"{error:.2%} ({BINS} bins)"))
        reliability_diagram(
            self._new("calibration.png"), f"{name}: expected calibration error {error:.2%}", measured
        )
        self._add(
            _ANSWERS,
            "Calibration",
            "calibration.png",
            f"Reliability diagram with {BINS} bins: expected calibration error {error:.2%}, mean confidence "
            f"{abs(bias):.2%} {'above' if bias > 0 else 'below'} accuracy; below it a histogram of confidence.",
            "Bars on the dashed line would mean that of the answers given with 80% confidence 80% are right. Bars "
            "below it: too sure of itself. The expected calibration error is the mean gap, weighted by the number "
            "of answers (Guo et al. 2017, arXiv:1706.04599).",
        )
        self._numbers["calibration"] = {
            "expected_error": error,
            "bias": bias,
            "counts": measured.counts.tolist(),
            "confidence": [None if np.isnan(each) else each for each in measured.confidence.tolist()],
            "accuracy": [None if np.isnan(each) else each for each in measured.accuracy.tolist()],
        }
        self._mistakes(probabilities)

    def _confusion(self, result: Evaluation) -> None:
        split, name = self._looked.split, self._subject.name
        confusion_matrix(
            self._new("confusion.png"), f"{name}: {len(split):,} images, top-1 {result.top1:.2%}", result
        )
        wrong = result.confusion - np.diag(np.diag(result.confusion))
        label, said = np.unravel_index(wrong.argmax(), wrong.shape)
        self._add(
            _ANSWERS,
            "Confusion matrix",
            "confusion.png",
            f"Confusion matrix of ten classes, top-1 {result.top1:.2%}. Most often confused: {CLASS_NAMES[label]} "
            f"taken for {CLASS_NAMES[said]}, {wrong.max()} times.",
            "Rows are what the images show, columns what the model answered; numbers are images.",
        )
        self.report.tables.append(
            Table(
                _ANSWERS,
                "The confusion matrix in numbers: a row for what the images show, a column for each answer",
                ["class", "right", *CLASS_NAMES],
                [
                    [label, "none" if np.isnan(share) else f"{share:.1%}", *map(str, counts)]
                    for label, share, counts in zip(
                        CLASS_NAMES, result.per_class, result.confusion, strict=True
                    )
                ],
            )
        )
        self._numbers["answers"] = {
            "images": result.n,
            "top1": result.top1,
            "top3": result.top3,
            "loss": result.loss,
            "confusion": result.confusion.tolist(),
        }

    def _mistakes(self, probabilities: npt.NDArray[np.float32]) -> None:
        split, indices = self._looked.split, self._looked.indices
        mistakes = confident_mistakes(probabilities, split.labels, _MISTAKES)
        if not mistakes:
            self.report.absent.append(("The most confident mistakes", "every answer is right"))
            return
        shown = {each.index: int(indices[each.index]) for each in mistakes}
        title = f"{self._subject.name}: the most confident of its mistakes"
        mistakes_sheet(self._new("mistakes.png"), title, mistakes, split.images, shown)
        first = mistakes[0]
        self._add(
            _ANSWERS,
            "The most confident mistakes",
            "mistakes.png",
            f"{len(mistakes)} images with wrong answers. The most confident: image {shown[first.index]} of class "
            f"{CLASS_NAMES[first.label]}, taken for {CLASS_NAMES[first.said]} with {first.probability:.1%}.",
            "Above each image: the answer and its probability, what it shows and the probability of that, and its "
            "number, which --image takes to look closer. Some labels are wrong, too.",
        )
        self._numbers["mistakes"] = [
            {
                **vars(each),
                "index": shown[each.index],
                "label": CLASS_NAMES[each.label],
                "said": CLASS_NAMES[each.said],
            }
            for each in mistakes
        ]

    # -- learning -----------------------------------------------------------------------------

    def draw_curves(self) -> None:
        """Losses and accuracies by epoch."""
        if not self._subject.metrics:
            self.report.absent.append(("Training curves", "they need a run folder with its metrics.jsonl"))
            return
        told = curves(self._subject.metrics)
        training_curves(self._new("curves.png"), self._subject.name, told)
        best = (
            ""
            if told.best is None
            else f" Highest validation top-1: {told.best[1]:.2%} in epoch {told.best[0]}."
        )
        self._add(
            _LEARNING,
            "Training curves",
            "curves.png",
            f"Losses and validation accuracies over {len(told.epochs)} epochs.{best}",
            "Training loss is measured while the network learns, on augmented images; validation is measured on the "
            "averaged weights, so that it can be the better one.",
        )

    # -- weights ------------------------------------------------------------------------------

    def draw_weights(self) -> None:
        """Kernels of convolutions, or the weights of a first matrix."""
        network = self._subject.network
        if network is None:
            self.report.absent.append(("Filters", self._subject.closed_because))
            return
        convolutions = kernels(network)
        first = first_matrix(self._layers)
        if convolutions and convolutions[0].sees_colours:
            name, weights = convolutions[0].name, convolutions[0].weights.transpose(0, 2, 3, 1)
            self._colour_filters(name, weights, "A filter answers most to a patch that looks like it.")
        elif first is not None:
            self._colour_filters(
                first.name,
                pixel_weights(network, first),
                "The weights of a hidden unit, pixel by pixel: a matrix has one for each place, and what it learned "
                "at one it does not know at another. At most 64 units.",
            )
        else:
            self.report.absent.append(
                (
                    "Filters in colour",
                    f"the first layer of {self._subject.name} is neither convolution nor matrix",
                )
            )
        deeper = convolutions[1:]
        for place in spread(len(deeper), _MOST_DEEPER) if deeper else []:
            name, weights = deeper[place].name, deeper[place].weights
            file = f"kernels-{_plain(name)}.png"
            kernel_matrix(self._new(file), name, weights)
            self._add(
                _WEIGHTS,
                f"Kernels of {name}",
                file,
                f"Table of kernels {weights.shape[2]} by {weights.shape[3]}: {weights.shape[0]} filters, each reading "
                f"{weights.shape[1]} channels; purple is positive, orange negative.",
                "A row is a filter, a column the channel of the layer below that it reads; all on one scale.",
            )
        if not deeper:
            self.report.absent.append(("Deeper kernels", "there is no second convolution"))

    def _colour_filters(self, name: str, weights: npt.NDArray[np.float32], caption: str) -> None:
        file = f"filters-{_plain(name)}.png"
        colour_filters(self._new(file), name, weights)
        self._add(
            _WEIGHTS,
            f"Filters of {name} in colour",
            file,
            f"{len(weights)} filters of {weights.shape[1]} by {weights.shape[2]} pixels in colour, grey where the "
            "weight is zero.",
            f"{caption} Each is on a scale of its own, which stands below it.",
        )

    # -- maps ---------------------------------------------------------------------------------

    def draw_maps(self) -> None:
        """What each layer makes of each example."""
        network = self._subject.network
        if network is None:
            self.report.absent.append(("Feature maps", self._subject.closed_because))
            return
        layers = [each for each in self._layers[:-1] if not isinstance(each.module, _SHAPING)]
        for number, example in enumerate(self._looked.examples, start=1):
            file = f"features-{number}.png"
            probabilities = self._subject.predict(example.image[None])[0]
            maps = feature_maps(network, layers, example.image)
            title = f"{self._subject.name} looks at {example.name} ({class_of(example)})"
            feature_sheet(self._new(file), title, example.image, probabilities, maps)
            self._listener.on_images(number, len(self._looked.examples))
            said = CLASS_NAMES[int(probabilities.argmax())]
            self._add(
                _MAPS,
                f"{example.name}: {class_of(example)}",
                file,
                f"The image, answered {said} with {probabilities.max():.1%}, and the output of each layer: "
                f"{', '.join(each.name for each in layers)}.",
                "One row of maps a layer (two for many channels), each layer on its own scale: yellow is strong; "
                "where values have signs, purple is positive and orange negative.",
            )

    # -- excitation ---------------------------------------------------------------------------

    def draw_excitation(self) -> None:
        """Patches and images that excite the channels of pooling layers most."""
        network = self._subject.network
        wanted = self._excited()
        if network is None or not wanted:
            why = self._subject.closed_because or "no layer has feature maps"
            self.report.absent.append(("What excites channels", why))
            return
        images = self._looked.split.images
        back = self._projected()
        every = {each.name: each for each in (*wanted, *([] if back is None else [back]))}
        self._peaks = peaks(
            network,
            list(every.values()),
            images,
            _STRONGEST,
            lambda done: self._listener.on_images(done, len(images)),
        )
        self._numbers["excitation"] = {}
        for layer in wanted:
            self._draw_peaks(layer, self._peaks[layer.name], receptive_field(network, layer))

    def _excited(self) -> list[Layer]:
        if self._layer is not None:
            return [self._layer]
        pooling = [each for each in self._layers if each.is_pooling][-_MOST_POOLINGS:]
        last = last_pooling(self._layers)
        return pooling or ([] if last is None else [last])

    def _draw_peaks(self, layer: Layer, found: Peaks, field: Field) -> None:
        images, height, width = self._looked.split.images, *field.size
        title = f"{self._subject.name}, {layer.name}"
        for kind, draw, what in (
            ("patches", patches, "the patches that excite each channel most"),
            ("images", whole_images, "the images that excite each channel most"),
        ):
            file = f"excitation-{_plain(layer.name)}-{kind}.png"
            draw(self._new(file), f"{title}: {what}", found, field, images)
            self._add(
                _EXCITE,
                f"{layer.name}: {what}",
                file,
                f"Strips of {_STRONGEST} {kind} each for the channels of {layer.name}, strongest first.",
                f"Of {len(images):,} images, each counted once at its strongest place. A value of {layer.name} sees "
                f"at most {width}x{height} pixels; at the border of the image the patch ends there.",
            )
        self._numbers["excitation"][layer.name] = {
            "receptive_field": [height, width],
            "images": self._looked.indices[found.images].tolist(),
            "values": np.round(found.values, 5).tolist(),
        }

    # -- deconvolution ------------------------------------------------------------------------

    def draw_projections(self) -> None:
        """The strongest activations of the deepest convolution, run backwards."""
        network, layer = self._subject.network, self._projected()
        if network is None or layer is None:
            why = self._subject.closed_because or self._why_no_projection()
            self.report.absent.append(("Deconvolution", why))
            return
        try:
            chain = chain_to(network, self._layers, layer)
        except NotAChainError as error:
            self.report.absent.append((f"Deconvolution of {layer.name}", str(error)))
            return
        found = self._peaks[layer.name].strongest(_PROJECTED)
        channels, each = found.values.shape
        flat = found.images.ravel()
        images = self._looked.split.images
        projected = project(
            chain,
            images[flat],
            np.repeat(np.arange(channels), each),
            found.rows.ravel(),
            found.columns.ravel(),
        ).reshape(channels, each, *images.shape[1:])
        file = f"deconvolution-{_plain(layer.name)}.png"
        title = f"{self._subject.name}, {layer.name}: what its strongest activations go back to"
        projections(self._new(file), title, found, receptive_field(network, layer), images, projected)
        self._add(
            _BACK,
            f"Deconvolution of {layer.name}",
            file,
            f"Pairs of a patch and the projection of its activation, {each} for the channels of {layer.name}.",
            "Zeiler and Fergus 2013 (arXiv:1311.2901): one activation is kept and the network is run backwards, with "
            "max-unpooling to the places of the maxima, ReLU, and transposed filters. What is seen is the structure "
            "within the patch that caused the activation, in the colours that the filters would add to grey.",
        )

    def _projected(self) -> Layer | None:
        if self._layer is not None:
            return self._layer
        network = self._subject.network
        return None if network is None else deepest_convolution(network, self._layers)

    def _why_no_projection(self) -> str:
        network = self._subject.network
        if network is not None and kernels(network):
            return (
                "the deepest convolution is within a block, and only a chain of layers is run backwards; --layer "
                "with a layer before the first block works"
            )
        return f"{self._subject.name} has no convolution"

    # -- attribution --------------------------------------------------------------------------

    def draw_attribution(self) -> None:
        """Occlusion and gradients of each example."""
        subject, examples = self._subject, self._looked.examples
        images = np.stack([each.image for each in examples])
        probabilities = subject.predict(images)
        classes = probabilities.argmax(axis=1)
        fill = np.rint(self._looked.split.images.mean(axis=(0, 1, 2))).astype(np.uint8)
        lost = occlusion(subject.predict, images, classes, fill)
        by_gradient = None if subject.network is None else gradients(subject.network, images, classes, fill)
        rows = [
            Attributed(
                f"{example.name} ({class_of(example)})\n{CLASS_NAMES[said]} {probabilities[place, said]:.1%}",
                example.image,
                lost[place],
                None if by_gradient is None else by_gradient.saliency[place],
                None if by_gradient is None else by_gradient.integrated[place],
            )
            for place, (example, said) in enumerate(zip(examples, classes, strict=True))
        ]
        attribution_sheet(
            self._new("attribution.png"), f"{subject.name}: which pixels its answers hang on", rows
        )
        if by_gradient is None:
            self.report.absent.append(("Attribution by gradients", subject.closed_because))
        answers = "; ".join(
            f"{example.name} answered {CLASS_NAMES[said]}"
            for example, said in zip(examples, classes, strict=True)
        )
        self._add(
            _PIXELS,
            "Occlusion" if by_gradient is None else "Occlusion and gradients",
            "attribution.png",
            f"A row an image with its maps. {answers}.",
            f"Occlusion: a window of {WINDOW_PX}x{WINDOW_PX} pixels of the mean colour is moved over the image by "
            f"{STRIDE_PX}; purple pixels are those whose hiding costs the answer probability, averaged over windows. "
            "Saliency: how strongly the logit follows a pixel. Integrated gradients: each pixel's share in the logit, "
            "against an image of the mean colour; purple speaks for the answer, orange against it.",
        )

    # -- the report ---------------------------------------------------------------------------

    def bind(self) -> None:
        """Write numbers and page."""
        report = self.report
        files = [each.file for each in report.pictures]
        self._numbers[FILES_KEY] = [*files, REPORT_NAME]
        write_text(self._folder / NUMBERS_NAME, json.dumps(self._numbers, indent=1) + "\n")
        write_text(self._folder / REPORT_NAME, page(report, self._folder))

    def _state_facts(self, result: Evaluation) -> None:
        subject = self._subject
        opened = "weights opened in PyTorch" if subject.network is not None else "answers only"
        self.report.facts += [
            ("Model", str(subject.path)),
            ("Network", f"{subject.name}, answers by {subject.runtime}, {opened}"),
            ("Images", self._looked.description),
            ("Top-1", f"{result.top1:.2%} (standard error {result.top1_standard_error:.2%})"),
            ("Top-3", f"{result.top3:.2%}"),
            (
                "Made with",
                ", ".join(
                    f"{name} {version}"
                    for name, version in library_versions("torch", "captum", "matplotlib").items()
                ),
            ),
        ]
        self._numbers["model"] = {"network": subject.name, "path": str(subject.path)}
        self._numbers["images"] = self._looked.description

    def _counted(self) -> Any:  # noqa: ANN401 - a Predictor
        done, n = 0, len(self._looked.split)

        def predict(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            nonlocal done
            probabilities = self._subject.predict(images)
            done += len(images)
            self._listener.on_images(done, n)
            return probabilities

        return predict

    def _new(self, file: str) -> Path:
        return self._folder / file

    def _add(self, section: str, heading: str, file: str, alt: str, caption: str) -> None:  # noqa: PLR0913, PLR0917
        self.report.pictures.append(Picture(section, heading, file, alt, caption))


def _plain(name: str) -> str:
    return name.replace(".", "-")
