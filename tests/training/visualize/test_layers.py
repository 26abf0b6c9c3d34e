"""Layers are found in the order they run, whatever the network is made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.visualize.nets import (
    Chain,
    Recurrent,
    convolution_of,
    small_chain,
    small_matrix,
    small_resnet,
)
from training.errors import LayerError
from training.networks import NETWORKS
from training.visualize.layers import (
    deepest_convolution,
    feature_maps,
    last_pooling_layers,
    layer_named,
    layers_of,
)


def test_a_chain_has_its_layers_with_shapes() -> None:
    shapes = {each.name: each.shape for each in layers_of(small_chain())}

    assert list(shapes) == ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "flatten", "fc"]
    assert (shapes["conv1"], shapes["pool2"], shapes["fc"]) == ((4, 32, 32), (5, 8, 8), (10,))


def test_containers_are_opened_and_blocks_left_whole() -> None:
    names = [each.name for each in layers_of(small_resnet())]

    assert names == ["stem", "relu", "block1", "pool", "group.first", "group.second", "mean", "flatten", "fc"]


def test_a_recurrent_layer_gives_steps() -> None:
    assert [(each.name, each.shape) for each in layers_of(Recurrent())] == [
        ("read.gru", (32, 12)),
        ("fc", (10,)),
    ]


@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_network_of_ours_ends_with_ten_logits(name: str) -> None:
    assert layers_of(NETWORKS[name]().eval())[-1].shape == (10,)


def test_the_last_pooling_layers_are_those_that_leave_maps() -> None:
    def names(network: nn.Module, most: int) -> list[str]:
        return [each.name for each in last_pooling_layers(layers_of(network), most)]

    assert names(small_chain(), 9) == ["pool1", "pool2"]
    assert names(small_chain(), 1) == ["pool2"]
    assert names(small_resnet(), 9) == ["pool"]
    assert names(small_matrix(), 9) == []
    assert names(Chain(conv=nn.Conv2d(3, 2, 3), relu=nn.ReLU(), out=nn.Flatten()), 9) == ["relu"]


def test_the_deepest_convolution_is_not_one_within_a_block() -> None:
    chain, resnet = small_chain(), small_resnet()
    deepest = deepest_convolution(chain, layers_of(chain))

    assert deepest is not None
    assert deepest.name == "conv2"
    assert deepest_convolution(resnet, layers_of(resnet)) is None


def test_a_layer_that_is_not_there_is_answered_with_those_that_are() -> None:
    layers = layers_of(small_chain())

    with pytest.raises(
        LayerError, match=r"^net has no layer 'conv9'; layers with feature maps: conv1, relu1, "
    ):
        layer_named(layers, "conv9", "net")
    with pytest.raises(LayerError, match=r"^layer fc of net has no feature maps; layers that have: conv1, "):
        layer_named(layers, "fc", "net")
    with pytest.raises(LayerError, match=r"^no layer of net has feature maps, leave --layer out$"):
        layer_named(layers_of(small_matrix()), "fc", "net")


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
