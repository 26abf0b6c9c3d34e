"""Activations land on the pixels that caused them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from captum.attr import NeuronDeconvolution
from torch import nn
from torch.nn import functional

from tests.training.visualize.nets import (
    Chain,
    convolution,
    convolution_of,
    small_chain,
    small_matrix,
    small_resnet,
)
from training.networks import CIFAR10Net
from training.visualize.deconvolution import NotAChainError, chain_to, project
from training.visualize.layers import feature_maps, layer_named, layers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

RED = (1.0, 0.0, 0.0)


def _project(
    network: nn.Module, layer: str, image: np.ndarray, channel: int, row: int, column: int
) -> np.ndarray:
    layers = layers_of(network)
    chain = chain_to(network, layers, layer_named(layers, layer, "net"))
    one = [np.array([each]) for each in (channel, row, column)]
    return np.asarray(project(chain, image[None], one[0], one[1], one[2])[0])


def _tap(row: int, column: int, colour: tuple[float, float, float]) -> list[list[list[float]]]:
    """Make a 3x3 filter that reads one place."""
    kernel = np.zeros((3, 3, 3))
    kernel[:, row, column] = colour
    return kernel.tolist()


@pytest.fixture
def undetermined() -> Iterator[None]:
    """Allow operations without a deterministic implementation, even after a training in this process."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(mode=False)
    yield
    torch.use_deterministic_algorithms(before)


def test_an_activation_lands_on_the_pixel_that_caused_it() -> None:
    # conv1 looks up and to the right, conv2 down: a wrong flip or shift lands elsewhere.
    network = Chain(
        conv1=convolution([_tap(0, 2, RED)], padding=1),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        conv2=convolution([[[[0, 0, 0], [0, 0, 0], [0, 3, 0]]]], padding=1),
        relu2=nn.ReLU(),
        flatten=nn.Flatten(),
        fc=nn.Linear(256, 10),
    )
    image = np.zeros((32, 32, 3), np.uint8)
    image[9, 14, 0] = 255  # in conv1 at (10, 13), in pool1 at (5, 6), in conv2 at (4, 6)

    projected = _project(network, "conv2", image, 0, 4, 6)

    expected = np.zeros((32, 32, 3))
    expected[9, 14, 0] = 9  # 3 on the way up, 3 on the way down
    np.testing.assert_allclose(projected, expected)


def test_switches_send_a_value_back_to_the_maximum_alone() -> None:
    network = Chain(
        conv1=convolution([_tap(1, 1, RED)], padding=1),
        pool1=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        fc=nn.Linear(256, 10),
    )
    image = np.zeros((32, 32, 3), np.uint8)
    image[4:6, 8:10, 0] = [[10, 20], [255, 30]]

    projected = _project(network, "pool1", image, 0, 2, 4)

    assert np.argwhere(projected).tolist() == [[5, 8, 0]]
    assert projected[5, 8, 0] == pytest.approx(1)


def test_overlapping_windows_add_up_at_their_common_maximum() -> None:
    network = Chain(
        pool1=nn.MaxPool2d(3, stride=1), conv1=convolution(np.ones((1, 3, 1, 2)).tolist()), fc=nn.Flatten()
    )
    image = np.zeros((32, 32, 3), np.uint8)
    image[10, 10] = (255, 0, 0)  # both places that the filter reads have it as their maximum

    projected = _project(network, "conv1", image, 0, 9, 9)

    assert projected[10, 10, 0] == pytest.approx(4)


def test_what_comes_down_is_rectified() -> None:
    network = Chain(
        conv1=convolution([_tap(1, 1, RED), _tap(1, 1, (0.0, 1.0, 0.0))], padding=1),
        relu1=nn.ReLU(),
        conv2=convolution([[[[2.0]], [[-1.0]]]]),
        flatten=nn.Flatten(),
        fc=nn.Linear(1024, 10),
    )
    image = np.full((32, 32, 3), 255, np.uint8)

    projected = _project(network, "conv2", image, 0, 3, 5)

    assert np.argwhere(projected).tolist() == [[3, 5, 0]]  # red; green spoke against it


def test_mean_pooling_spreads_a_value_evenly() -> None:
    network = Chain(pool1=nn.AvgPool2d(2), flatten=nn.Flatten(), fc=nn.Linear(768, 10))
    image = np.full((32, 32, 3), 255, np.uint8)

    projected = _project(network, "pool1", image, 1, 0, 15)

    assert np.argwhere(projected).tolist() == [[0, 30, 1], [0, 31, 1], [1, 30, 1], [1, 31, 1]]
    assert projected[0, 30, 1] == pytest.approx(1 / 4)


def test_a_negative_activation_goes_nowhere() -> None:
    network = Chain(conv1=convolution([_tap(1, 1, (-1.0, 0.0, 0.0))], padding=1), fc=nn.Flatten())

    projected = _project(network, "conv1", np.full((32, 32, 3), 255, np.uint8), 0, 3, 3)

    assert not projected.any()


def test_it_is_unpooling_rectifying_and_transposed_convolution_as_pytorch_has_them(
    undetermined: None,  # noqa: ARG001 - PyTorch's own unpooling needs it
) -> None:
    torch.manual_seed(1)
    network = CIFAR10Net((0.5, 0.4, 0.3), (0.2, 0.2, 0.3)).eval()
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    conv1, conv2 = convolution_of(network, "conv1"), convolution_of(network, "conv2")
    with torch.no_grad():
        below = conv1(network.normalise(torch.from_numpy(image[None]))).relu()
        pooled, switches = functional.max_pool2d(below, 2, return_indices=True)
        top = conv2(pooled)
        channel, row, column = np.unravel_index(int(top.argmax()), top.shape[1:])
        signal = torch.zeros_like(top)
        signal[0, channel, row, column] = top.max()
        signal = functional.conv_transpose2d(signal, conv2.weight, padding=2)
        signal = functional.max_unpool2d(signal, switches, (2, 2)).relu()
        expected = functional.conv_transpose2d(signal, conv1.weight, padding=2)[0].permute(1, 2, 0)

    projected = _project(network, "conv2", image, int(channel), int(row), int(column))

    np.testing.assert_allclose(projected, expected.numpy(), atol=1e-6)


def test_captum_gives_the_same_up_to_scale() -> None:
    torch.manual_seed(2)
    std = (0.2, 0.25, 0.3)
    network = CIFAR10Net((0.5, 0.4, 0.3), std).eval()
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    layers = layers_of(network)
    top = feature_maps(network, layers, image)["conv3"]
    channel, row, column = (int(each) for each in np.unravel_index(top.argmax(), top.shape))
    method = NeuronDeconvolution(network, convolution_of(network, "conv3"))
    pixels = torch.from_numpy(image[None]).float().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the hooks that it sets
        slope = method.attribute(pixels, (channel, row, column))[0].detach().numpy()

    projected = _project(network, "conv3", image, channel, row, column)

    # Captum has the slope by the pixels, we the activation's share in normalised ones.
    np.testing.assert_allclose(projected, top.max() * slope * 255 * np.array(std), atol=1e-5)


def test_a_shortcut_is_no_chain() -> None:
    with pytest.raises(NotAChainError, match="block1 is a Block, and only chains of"):
        _project(small_resnet(), "pool", np.zeros((32, 32, 3), np.uint8), 0, 0, 0)


def test_layers_before_the_first_shortcut_are_one() -> None:
    image = np.full((32, 32, 3), 200, np.uint8)

    assert _project(small_resnet(), "relu", image, 0, 5, 5).shape == (32, 32, 3)


def test_layers_that_run_in_another_way_than_they_are_listed_are_found_out() -> None:
    class Doubling(Chain):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.layers(2 * self.normalise(images))
            return logits

    network = Doubling(conv1=nn.Conv2d(3, 2, 3), flatten=nn.Flatten(), fc=nn.Linear(1800, 10))

    with pytest.raises(NotAChainError, match="are not a chain"):
        _project(network, "conv1", np.zeros((32, 32, 3), np.uint8), 0, 0, 0)


def test_several_images_are_projected_each_by_itself() -> None:
    network = small_chain()
    layers = layers_of(network)
    chain = chain_to(network, layers, layer_named(layers, "conv2", "net"))
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    channels, rows, columns = np.array([0, 3, 4]), np.array([1, 7, 15]), np.array([2, 8, 0])

    together = project(chain, images, channels, rows, columns)

    for place in range(3):
        one = slice(place, place + 1)
        alone = project(chain, images[one], channels[one], rows[one], columns[one])
        np.testing.assert_allclose(together[one], alone, atol=1e-6)


def test_a_matrix_cannot_be_run_backwards() -> None:
    network = small_matrix()
    layers = layers_of(network)

    with pytest.raises(NotAChainError, match="flatten is a Flatten"):
        chain_to(network, layers, layers[1])
