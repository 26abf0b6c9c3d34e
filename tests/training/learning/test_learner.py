"""A step shared by processes equals the step of one."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from tests.training.threads import Threads
from training.learning.data_parallel import ProcessGroup
from training.learning.learner import Learner
from training.learning.teacher import TeacherLogits

if TYPE_CHECKING:
    from training.data.dataset import Split
    from training.learning.config import TrainConfig

_CPU = torch.device("cpu")


# Of a million values before a ReLU some are zero to rounding, and their gradients are another's.
@pytest.mark.parametrize(
    ("network", "off"), [("cifar10net", 1e-6), ("resnet", 5e-5), ("fully_connected", 1e-6)]
)
def test_shares_of_a_batch_give_the_loss_and_the_weights_of_the_whole(
    quick: TrainConfig, train_split: Split, network: str, off: float
) -> None:
    config = dataclasses.replace(quick, network=network, teacher="somebody", flips="alternating")
    logits = np.random.default_rng(1).normal(size=(len(train_split), 2, 10)).astype(np.float32)
    teacher = TeacherLogits(logits, "random")
    threads = Threads(2)
    alone = Learner(config, train_split, teacher, ProcessGroup(), _CPU)
    both = [Learner(config, train_split, teacher, threads.group(rank), _CPU) for rank in range(2)]
    indices = alone.order(0)[:25]

    loss = alone.learn(indices, 0, 0)
    with ThreadPoolExecutor(2) as pool:
        losses = list(pool.map(lambda learner: learner.learn(indices, 0, 0), both))

    assert losses == [pytest.approx(loss, rel=1e-6)] * 2
    for name, value in alone.state()["model"].items():
        one, other = (learner.state()["model"][name] for learner in both)
        assert torch.equal(one, other), name
        assert torch.allclose(one, value, rtol=1e-4, atol=off), name
    for name, value in alone.average.items():
        assert torch.allclose(both[1].average[name], value, rtol=1e-4, atol=off), name


@pytest.mark.parametrize("mix_share", [0.0, 0.7])
def test_what_is_seen_does_not_depend_on_who_looks(
    quick: TrainConfig, train_split: Split, mix_share: float
) -> None:
    config = dataclasses.replace(quick, mix_share=mix_share, teacher="somebody")
    logits = np.random.default_rng(1).normal(size=(len(train_split), 2, 10)).astype(np.float32)
    groups = [ProcessGroup(), ProcessGroup(0, 2), ProcessGroup(1, 2)]
    alone, first, second = (
        Learner(config, train_split, TeacherLogits(logits, "random"), group, _CPU) for group in groups
    )
    indices = alone.order(2)[50:75]

    (whole,), parts = (
        [learner.batch(indices, 2, 2) for learner in learners] for learners in ([alone], [first, second])
    )

    for index, seen in enumerate(whole):
        assert seen is not None
        assert torch.equal(torch.cat([part[index] for part in parts]), seen)  # type: ignore[misc]


def test_a_mixed_image_is_of_two_classes_by_their_areas(quick: TrainConfig, train_split: Split) -> None:
    config = dataclasses.replace(quick, mix_share=0.7)
    plain, mixing = (Learner(each, train_split, None, ProcessGroup(), _CPU) for each in (quick, config))
    indices = plain.order(0)[:25]

    whole, labels, _ = plain.batch(indices, 0, 0)
    seen, shares, _ = mixing.batch(indices, 0, 0)

    assert torch.allclose(shares.sum(dim=1), torch.ones(25))
    changed = (whole != seen).any(dim=-1).float().mean(dim=(1, 2))
    assert 5 < (changed > 0).sum() < 25
    for own, row, label in zip(1 - changed, shares, labels, strict=True):
        # Where both images have a pixel of one colour nothing changes, and two of one class are one class.
        assert row[label] >= own - 0.05 or row[label] == 1
        assert (row > 0).sum() <= 2


def test_mixed_images_are_learned_from(quick: TrainConfig, train_split: Split) -> None:
    config = dataclasses.replace(quick, mix_share=1.0, epochs=8)
    learner = Learner(config, train_split, None, ProcessGroup(), _CPU)

    losses = [
        np.mean(
            [
                learner.learn(learner.order(epoch)[step * 25 :][:25], epoch, step)
                for step in range(learner.steps)
            ]
        )
        for epoch in range(8)
    ]

    assert losses[-1] < losses[0]


def test_a_square_of_each_image_is_hidden_in_the_mean_colour(quick: TrainConfig, train_split: Split) -> None:
    config = dataclasses.replace(quick, hide_px=6)
    plain, hiding = (Learner(each, train_split, None, ProcessGroup(), _CPU) for each in (quick, config))
    indices = plain.order(0)[:25]

    whole, _, _ = plain.batch(indices, 0, 0)
    hidden, _, _ = hiding.batch(indices, 0, 0)

    mean = torch.from_numpy(train_split.images.mean(axis=(0, 1, 2)))
    changed = (whole != hidden).any(dim=-1)
    assert changed.sum(dim=(1, 2)).max() <= 6**2
    assert changed.sum() > 25 * 6**2 * 0.9
    assert (hidden[changed] - mean).abs().max() <= 0.5
