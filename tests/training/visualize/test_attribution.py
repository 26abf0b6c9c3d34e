"""Attribution finds the decisive pixels of hand-made models."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.visualize.nets import Chain
from training.errors import MissingPackageError
from training.networks import CIFAR10Net
from training.visualize.attribution import gradients, occlusion

BLACK = np.zeros(3, np.uint8)


def _bright_square(images: np.ndarray) -> np.ndarray:
    """Class 3 is as likely as rows 8 to 15 of columns 12 to 19 are bright; class 5 the opposite."""
    bright = images[:, 8:16, 12:20].mean(axis=(1, 2, 3)) / 255
    probabilities = np.zeros((len(images), 10), np.float32)
    probabilities[:, 3], probabilities[:, 5] = bright, 1 - bright
    return probabilities


def test_occlusion_finds_the_region_that_decides() -> None:
    images = np.full((2, 32, 32, 3), 255, np.uint8)

    lost = occlusion(_bright_square, images, np.array([3, 5]), BLACK)

    assert lost.shape == (2, 32, 32)
    inside = np.zeros((32, 32), bool)
    inside[8:16, 12:20] = True
    assert lost[0][inside].min() > lost[0][~inside].max()
    row, column = np.unravel_index(lost[0].argmax(), (32, 32))
    assert (row // 2, column // 2) in {(5, 7), (5, 8), (6, 7), (6, 8)}  # about its middle
    # Further away than a window is wide, nothing is lost.
    assert not lost[0, :, :4].any()
    assert not lost[0, :, 28:].any()
    assert not lost[0, 24:].any()
    np.testing.assert_allclose(lost[1], -lost[0], atol=1e-6)  # what one class loses the other gains


def test_hiding_what_is_as_the_window_costs_nothing() -> None:
    assert not occlusion(_bright_square, np.zeros((1, 32, 32, 3), np.uint8), np.array([3]), BLACK).any()


def test_gradients_of_a_matrix_are_its_weights() -> None:
    torch.manual_seed(0)
    network = Chain(flatten=nn.Flatten(), fc=nn.Linear(3072, 10))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    fill = np.array([100, 120, 140], np.uint8)

    found = gradients(network, images, np.array([4, 9]), fill)

    fc = network.layers.fc
    assert isinstance(fc, nn.Linear)
    weights = fc.weight.detach().numpy()[[4, 9]].reshape(2, 3, 32, 32).transpose(0, 2, 3, 1) / 255
    np.testing.assert_allclose(found.saliency, np.abs(weights).max(axis=3), atol=1e-7)
    shares = (weights * (images.astype(float) - fill)).sum(axis=3)
    np.testing.assert_allclose(found.integrated, shares, atol=1e-4)


def test_integrated_gradients_add_up_to_the_difference_of_the_logits() -> None:
    torch.manual_seed(0)
    network = CIFAR10Net((0.5,) * 3, (0.25,) * 3).eval()
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    fill = np.array([125, 123, 114], np.uint8)
    classes = np.array([1, 2])

    found = gradients(network, images, classes, fill)

    with torch.inference_mode():
        plain = network(torch.from_numpy(np.broadcast_to(fill, images.shape).copy())).numpy()
        logits = network(torch.from_numpy(images)).numpy()
    difference = (logits - plain)[[0, 1], classes]
    np.testing.assert_allclose(found.integrated.sum(axis=(1, 2)), difference, rtol=0.05, atol=2e-3)


def test_without_captum_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)

    with pytest.raises(MissingPackageError, match=r"needs captum.*\[train\]"):
        occlusion(_bright_square, np.zeros((1, 32, 32, 3), np.uint8), np.array([3]), BLACK)
