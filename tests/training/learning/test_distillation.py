"""The distillation loss is the published one; CutMix targets are the mean of both images'."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.learning.distillation import distillation_loss, mix_logits, mix_targets


def test_the_distillation_loss_is_the_published_formula() -> None:
    generator = np.random.default_rng(3)
    logits, teacher = generator.normal(0, 3, (2, 7, 10)).astype(np.float32)
    temperature = 4.0

    def softened(values: np.ndarray) -> np.ndarray:
        powers = np.exp(values.astype(np.float64) / temperature)
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    p, q = softened(teacher), softened(logits)
    expected = temperature**2 * (p * np.log(p / q)).sum(axis=1).mean()

    loss = distillation_loss(torch.from_numpy(logits), torch.from_numpy(teacher), temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    # Softmax does not see a constant that is added to all logits.
    assert distillation_loss(
        torch.from_numpy(teacher - 7), torch.from_numpy(teacher), temperature
    ).item() == pytest.approx(0, abs=1e-5)


def test_mixed_answers_are_the_mean_by_area() -> None:
    one, other = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])

    assert mix_targets(one, other, torch.tensor([0.25, 1.0])).tolist() == [[0.25, 0.75], [1.0, 0.0]]


def test_a_teacher_of_mixed_images_says_the_mean_at_its_temperature() -> None:
    generator = torch.Generator().manual_seed(5)
    one, other = torch.randn(2, 6, 10, generator=generator) * 4
    share, temperature = torch.linspace(0, 1, 6), 3.0

    said = torch.softmax(mix_logits(one, other, share, temperature) / temperature, dim=1)

    expected = share[:, None] * torch.softmax(one / temperature, dim=1)
    expected += (1 - share[:, None]) * torch.softmax(other / temperature, dim=1)
    assert torch.allclose(said, expected, atol=1e-6)


def test_a_class_that_both_teachers_exclude_stays_finite() -> None:
    sure = torch.tensor([[0.0, -500.0]])

    assert torch.isfinite(mix_logits(sure, sure, torch.tensor([0.5]), 1.0)).all()
