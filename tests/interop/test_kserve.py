"""KServe's own Python client gets the same answers as our own client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.interop.conftest import HERE, Script, answers_of

if TYPE_CHECKING:
    from pathlib import Path

SAME = 1e-6


@pytest.fixture(scope="module")
def answers(kserve: Script, server: str, images_file: Path) -> dict[str, Any]:
    return answers_of(kserve(HERE / "ask_kserve.py", server, str(images_file)))


def test_it_learns_what_is_ready(answers: dict[str, Any]) -> None:
    told = [answers[key] for key in ("live", "ready", "model ready", "other ready")]

    assert told == [True, True, True, False]


@pytest.mark.parametrize("form", ["raw", "contents"])
def test_probabilities_are_those_of_our_own_client(
    answers: dict[str, Any], own_rows: np.ndarray, form: str
) -> None:
    answer = answers[form]

    assert np.allclose(answer["rows"], own_rows, rtol=0, atol=SAME)
    assert (answer["id"], answer["model"]) == ("an id", ["cifar10net", "1"])
    assert answer["output"] == ["probabilities", "FP32", [20, 10]]


def test_a_request_over_4_mib_is_answered(answers: dict[str, Any]) -> None:
    assert answers["many"] == 4096


def test_errors_have_their_statuses(answers: dict[str, Any]) -> None:
    assert answers["unknown model"] == "NOT_FOUND"
    assert answers["wrong datatype"] == "INVALID_ARGUMENT"
