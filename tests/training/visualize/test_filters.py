"""Weights are shown as they are."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from tests.training.visualize.nets import Recurrent, small_chain, small_matrix, small_resnet
from training.visualize.filters import convolution_kernels, fully_connected_input, pixel_weights
from training.visualize.layers import layers_of


def test_kernels_within_blocks_are_found_too() -> None:
    found = convolution_kernels(small_resnet())

    assert list(found)[:3] == ["stem", "block1.conv1", "block1.conv2"]
    assert len(found) == 7
    assert found["stem"].shape == (4, 3, 3, 3)


def test_the_weights_of_a_matrix_are_laid_out_as_pixels() -> None:
    network = small_matrix()
    layer = fully_connected_input(layers_of(network))
    assert layer is not None
    assert isinstance(layer.module, nn.Linear)

    weights = pixel_weights(network, layer)

    by_hand = layer.module.weight.detach().numpy().reshape(7, 3, 32, 32).transpose(0, 2, 3, 1) / 255
    np.testing.assert_allclose(weights, by_hand, atol=1e-8)


def test_a_network_that_begins_otherwise_has_no_first_matrix() -> None:
    assert fully_connected_input(layers_of(small_chain())) is None
    assert fully_connected_input(layers_of(Recurrent())) is None
    assert all(not value.requires_grad or value.grad is None for value in small_chain().parameters())
    assert torch.is_grad_enabled()
