"""A model that misses a golden answer is refused, with which, got and wanted."""

from __future__ import annotations

import numpy as np
import pytest

from service.errors import ModelError
from service.repository.golden import Golden
from service.runtime.model import ModelInfo

WANTED = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], np.float32)
GOLDEN = Golden(np.zeros((2, 32, 32, 3), np.uint8), WANTED)


class _Model:
    """A stand-in model with fixed answers."""

    def __init__(self, answers: np.ndarray, provider: str = "CPUExecutionProvider") -> None:
        self.info = ModelInfo("net", 7, ("cat", "dog", "frog"), provider, {})
        self._answers = answers

    def run(self, images: np.ndarray) -> np.ndarray:
        assert images is GOLDEN.images
        return self._answers


def _check(answers: np.ndarray, provider: str = "CPUExecutionProvider") -> None:
    GOLDEN.check(_Model(answers, provider))  # type: ignore[arg-type] # a stand-in


def _off(by: float) -> np.ndarray:
    answers = WANTED.copy()
    answers[1, :2] += (by, -by)
    return answers


def test_answers_within_the_tolerance_pass() -> None:
    _check(WANTED)
    _check(_off(0.9e-4))


def test_the_tolerance_is_wider_where_another_provider_computes() -> None:
    _check(_off(1.9e-2), "CUDAExecutionProvider")
    with pytest.raises(ModelError, match=r"within 0\.02: .* or CUDAExecutionProvider computes differently"):
        _check(_off(2.1e-2), "CUDAExecutionProvider")


def test_answers_that_are_off_are_refused() -> None:
    with pytest.raises(
        ModelError,
        match=r"net version 7 classifies golden image 1 as frog and gives \w+ 0\.\d+, wanted frog and "
        r"0\.100000 within 0\.0001",
    ):
        _check(_off(1.1e-4))


def test_another_best_class_is_refused_though_the_difference_is_small() -> None:
    close = np.array([[0.5, 0.49999, 0.00001]], np.float32)
    turned = close[:, [1, 0, 2]]

    with pytest.raises(ModelError, match=r"as dog and gives .*, wanted cat"):
        Golden(GOLDEN.images, close).check(_Model(turned))  # type: ignore[arg-type] # a stand-in


def test_nan_counts_as_infinitely_far_off() -> None:
    broken = WANTED.copy()
    broken[0, 2] = np.nan

    with pytest.raises(ModelError, match=r"golden image 0 .* frog nan, wanted cat and 0.2"):
        _check(broken)
    with pytest.raises(ModelError, match="golden image 0"):
        _check(np.full_like(WANTED, np.nan))


@pytest.mark.parametrize("shape", [(1, 3), (3, 3), (2, 4), (2,)])
def test_answers_of_another_shape_are_a_refusal(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"net version 7 answered .* to its golden images, wanted \(2, 3\)"):
        _check(np.zeros(shape, np.float32))


def test_a_run_that_fails_is_a_refusal() -> None:
    class Failing(_Model):
        def run(self, images: np.ndarray) -> np.ndarray:
            raise RuntimeError(f"no kernel\n for {len(images)} images")

    with pytest.raises(
        ModelError, match=r"net version 7 failed on its golden images: no kernel for 2 images"
    ):
        GOLDEN.check(Failing(WANTED))  # type: ignore[arg-type] # a stand-in
