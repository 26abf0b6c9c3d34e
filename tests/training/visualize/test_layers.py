"""Layers are found in the order they run, whatever the network is made of."""

from __future__ import annotations

import pytest

from tests.training.visualize.nets import Recurrent, small_chain, small_matrix, small_resnet
from training.errors import LayerError
from training.networks import NETWORKS
from training.visualize.layers import deepest_convolution, last_pooling, layer_called, layers_of


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


def test_the_last_pooling_is_one_that_leaves_maps() -> None:
    for network, expected in ((small_chain(), "pool2"), (small_resnet(), "pool")):
        pooling = last_pooling(layers_of(network))
        assert pooling is not None
        assert pooling.name == expected
    assert last_pooling(layers_of(small_matrix())) is None


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
        layer_called(layers, "conv9", "net")
    with pytest.raises(LayerError, match=r"^layer fc of net has no feature maps; layers that have: conv1, "):
        layer_called(layers, "fc", "net")
    with pytest.raises(LayerError, match=r"^no layer of net has feature maps, leave --layer out$"):
        layer_called(layers_of(small_matrix()), "fc", "net")
