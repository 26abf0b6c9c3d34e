"""Batch normalisation over shards equals batch normalisation of the whole batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest
import torch
from torch import nn

from tests.training.threads import Threads
from training.learning.data_parallel import ProcessGroup
from training.learning.sync_batchnorm import SyncBatchNorm2d, synchronize_batchnorm

SHARES = (slice(0, 3), slice(3, 8))


def _network() -> nn.Sequential:
    torch.manual_seed(5)
    norm = nn.BatchNorm2d(4)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.normal_()
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU()).double()


def _learn(network: nn.Module, images: torch.Tensor, weights: torch.Tensor) -> dict[str, torch.Tensor]:
    """Send images through and back; returns outputs, gradients and buffers."""
    images = images.clone().requires_grad_()
    output = network(images)
    (output * weights).sum().backward()
    gradients = {name: cast("torch.Tensor", value.grad) for name, value in network.named_parameters()}
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    return {"output": output.detach(), "images": cast("torch.Tensor", images.grad), **gradients, **buffers}


def _both(images: torch.Tensor, weights: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    threads = Threads(len(SHARES))

    def one(rank: int) -> dict[str, torch.Tensor]:
        network = copies[rank]
        synchronize_batchnorm(network, threads.group(rank))
        return _learn(network, images[SHARES[rank]], weights[SHARES[rank]])

    copies = [_network() for _ in SHARES]
    with ThreadPoolExecutor(len(SHARES)) as pool:
        return list(pool.map(one, range(len(SHARES))))


def test_uneven_shares_give_outputs_gradients_and_statistics_of_the_whole_batch() -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(8, 3, 7, 6, generator=generator, dtype=torch.float64) * 3 + 5
    weights = torch.randn(8, 4, 5, 4, generator=generator, dtype=torch.float64)
    whole = _learn(_network(), images, weights)

    first, second = _both(images, weights)

    def close(one: torch.Tensor, other: torch.Tensor) -> bool:
        return torch.allclose(one, other, rtol=1e-9, atol=1e-9)

    for name in ("output", "images"):
        assert close(torch.cat([first[name], second[name]]), whole[name]), name
    for name in ("0.weight", "0.bias", "1.weight", "1.bias"):
        assert close(first[name] + second[name], whole[name]), name
    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        assert torch.equal(first[name], second[name]), name
        assert close(first[name], whole[name]), name


def test_a_network_keeps_the_names_of_its_weights_and_answers_alone_when_it_does_not_learn() -> None:
    plain, network = _network(), _network()
    synchronize_batchnorm(network, ProcessGroup(0, 2))  # nobody else is there: a sum would fail
    images = torch.rand(2, 3, 5, 5, dtype=torch.float64)

    assert isinstance(network[1], SyncBatchNorm2d)
    assert network.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(network.eval()(images), plain.eval()(images))


@pytest.mark.parametrize(("n", "size"), [(250, 2), (7, 3), (3, 3)])
def test_shares_cover_a_batch_once(n: int, size: int) -> None:
    shares = [range(n)[ProcessGroup(rank, size).shard(n)] for rank in range(size)]

    assert [index for share in shares for index in share] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
