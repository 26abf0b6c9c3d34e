"""The strongest activations are found, with their positions."""

from __future__ import annotations

import numpy as np
from torch import nn

from tests.training.visualize.nets import Chain, convolution
from training.visualize.layers import layers_of
from training.visualize.top_activations import find_top_activations

IDENTITY = np.eye(3)[:2, :, None, None].tolist()  # two channels: red and green


def test_each_channel_has_its_images_strongest_first_and_where() -> None:
    network = Chain(
        conv=convolution(IDENTITY), pool=nn.MaxPool2d(2), flatten=nn.Flatten(), fc=nn.Linear(512, 10)
    )
    images = np.zeros((600, 32, 32, 3), np.uint8)  # three batches
    images[17, 4, 9, 0] = 100
    images[300, 31, 0, 0] = 200
    images[599, 2, 2, 0] = 150
    images[599, 20, 20, 0] = 140  # the same image a second time
    images[0, 6, 5, 1] = 51
    told: list[int] = []

    found = find_top_activations(network, layers_of(network)[:2], images, 3, told.append)

    red, green = found["pool"], found["conv"]
    assert red.images[0].tolist() == [300, 599, 17]
    np.testing.assert_allclose(red.values[0], np.array([200, 150, 100]) / 255)
    assert (red.rows[0].tolist(), red.columns[0].tolist()) == ([15, 1, 2], [0, 1, 4])
    assert (green.images[1, 0], green.rows[1, 0], green.columns[1, 0]) == (0, 6, 5)
    assert green.values[1, 1] == 0  # no other image has any green
    assert told == [250, 500, 600]
    assert red.strongest(1).images.shape == (2, 1)


def test_fewer_images_than_asked_for_give_fewer() -> None:
    network = Chain(conv=convolution(IDENTITY), flatten=nn.Flatten(), fc=nn.Linear(2048, 10))

    found = find_top_activations(network, layers_of(network)[:1], np.zeros((2, 32, 32, 3), np.uint8), 9)

    assert found["conv"].values.shape == (2, 2)
