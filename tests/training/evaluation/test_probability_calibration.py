"""A known temperature is recovered, folded into the weights, and improves an export's probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from training.data.dataset import hold_out
from training.evaluation.metrics import evaluate, onnx_predictor, torch_predictor
from training.evaluation.probability_calibration import HIGHEST, LOWEST, fit_temperature, with_temperature
from training.export.exporter import export
from training.learning.train import trained_network
from training.networks import NETWORKS

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from training.data.dataset import Split
    from training.learning.run import Run


def _softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: npt.NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.5])
def test_a_temperature_is_found_again(temperature: float) -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(scale=2, size=(50_000, 10))
    noise = generator.gumbel(size=logits.shape)
    labels = (logits + noise).argmax(axis=1)  # drawn with the probabilities softmax(logits)

    found = fit_temperature(_softmax(logits * temperature), labels)

    assert found == pytest.approx(temperature, rel=0.02)


def test_the_temperature_of_the_lowest_loss_is_found() -> None:
    generator = np.random.default_rng(1)
    logits, labels = generator.normal(scale=3, size=(200, 10)), generator.integers(0, 10, 200)
    labels[:120] = logits[:120].argmax(axis=1)

    def loss(temperature: float) -> float:
        return float(-np.log(_softmax(logits / temperature)[np.arange(200), labels]).mean())

    found = fit_temperature(_softmax(logits), labels)

    assert LOWEST < found < HIGHEST
    assert loss(found) < min(loss(found * 1.02), loss(found / 1.02))


def test_answers_that_are_all_right_or_all_wrong_have_a_bounded_temperature() -> None:
    logits = np.eye(10)[np.arange(100) % 10] * 5

    assert fit_temperature(_softmax(logits), np.arange(100) % 10) == pytest.approx(LOWEST)
    assert fit_temperature(_softmax(logits), (np.arange(100) + 1) % 10) == pytest.approx(HIGHEST)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_weights_of_each_network_take_a_temperature(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)

    with torch.inference_mode():
        before, cooled = network(images), with_temperature(network, 1.6)(images)

        assert torch.allclose(cooled * 1.6, before, atol=1e-4)
        assert torch.equal(network(images), before)  # the original is left alone


def test_a_network_without_a_last_linear_layer_is_refused() -> None:
    network = NETWORKS["cifar10net"]()
    network.layers.append(nn.Softmax(dim=1))

    with pytest.raises(TypeError, match="Softmax, wanted Linear"):
        with_temperature(network, 2.0)


def test_an_export_takes_its_temperature_from_the_images_that_were_held_out(
    finished: Run, test_split: Split, tmp_path: Path
) -> None:
    checkpoint = finished.load()
    _, held_out = hold_out(test_split, 30)
    wrong = held_out.labels.copy()
    wrong[::4] = (wrong[::4] + 1) % 10  # a quarter: whoever is sure of them is too sure
    held_out = type(held_out)(held_out.images, wrong)
    plain = torch_predictor(trained_network(checkpoint))
    temperature = fit_temperature(plain(held_out.images), held_out.labels)

    exported = export(checkpoint, test_split, "synthetic colours", tmp_path, held_out=held_out)

    answered = onnx_predictor(exported.path)
    assert exported.temperature == pytest.approx(temperature)
    assert evaluate(answered, held_out).loss < evaluate(plain, held_out).loss
    assert exported.evaluation.top1 == evaluate(plain, test_split).top1
    told = {each.key: each.value for each in onnx.load(exported.path).metadata_props}
    assert float(told["temperature"]) == pytest.approx(temperature, abs=1e-4)
    assert f"| temperature | {temperature:.2f}:" in (exported.path.parent.parent / "README.md").read_text()
