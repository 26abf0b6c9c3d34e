"""Feature maps are what the layers gave."""

from __future__ import annotations

import numpy as np
import torch

from tests.training.visualize.nets import convolution_of, small_chain
from training.visualize.feature_maps import feature_maps
from training.visualize.layers import layers_of


def test_maps_are_those_of_each_layer_though_the_next_works_in_place() -> None:
    network = small_chain()  # its first ReLU is in place
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)

    maps = feature_maps(network, layers_of(network), image)

    with torch.inference_mode():
        first = convolution_of(network, "conv1")(network.normalise(torch.from_numpy(image[None])))[0].numpy()
        logits = network(torch.from_numpy(image[None]))[0].numpy()
    assert (first < 0).any()
    np.testing.assert_allclose(maps["conv1"], first, atol=1e-6)
    np.testing.assert_allclose(maps["relu1"], np.maximum(first, 0), atol=1e-6)
    np.testing.assert_allclose(maps["fc"], logits, atol=1e-6)
