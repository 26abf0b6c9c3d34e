"""Priority and deadline of a request, and what is refused before it is parsed."""

from __future__ import annotations

import numpy as np
import pytest

from cifar10net.pb import inference_pb2 as pb
from service.batching.batcher import Priority
from service.errors import InvalidRequestError
from service.servicers.inference import requests
from service.servicers.inference.requests import effective_deadline, parse_request, priority_of
from tests.service.servicers.inference.requests import infer_request, parameters


@pytest.mark.parametrize(
    ("value", "priority"),
    [
        (None, Priority.INTERACTIVE),
        (pb.InferParameter(int64_param=0), Priority.INTERACTIVE),
        (pb.InferParameter(int64_param=1), Priority.INTERACTIVE),
        (pb.InferParameter(uint64_param=1), Priority.INTERACTIVE),
        (pb.InferParameter(int64_param=2), Priority.BULK),
        (pb.InferParameter(uint64_param=2**64 - 1), Priority.BULK),
    ],
    ids=str,
)
def test_lower_priorities_are_more_urgent(value: pb.InferParameter | None, priority: Priority) -> None:
    request = pb.ModelInferRequest(parameters={} if value is None else {"priority": value})

    assert priority_of(request) is priority


@pytest.mark.parametrize(
    ("timeout_us", "call_deadline_s", "deadline_s"),
    [
        (None, None, None),
        (None, 105.0, 105.0),
        (0, 105.0, 105.0),
        (2_500_000, None, 102.5),
        (2_500_000, 105.0, 102.5),
        (7_500_000, 105.0, 105.0),
        (2**63 - 1, 105.0, 105.0),
    ],
)
def test_the_earlier_of_timeout_and_deadline_counts(
    timeout_us: int | None, call_deadline_s: float | None, deadline_s: float | None
) -> None:
    given = {} if timeout_us is None else {"timeout": timeout_us}
    request = pb.ModelInferRequest(parameters=parameters(given))

    assert effective_deadline(request, 100.0, call_deadline_s) == deadline_s


def test_reading_parameters_does_not_insert_them() -> None:
    request = pb.ModelInferRequest()

    priority_of(request)
    effective_deadline(request, 0, None)

    assert not request.parameters


@pytest.mark.parametrize(
    "filler",
    [
        b"\x2a\x00",
        b"\x32\x00",
        b"\x22\x00",
        b"\x3a\x00",
        b"\x18\x01",
        b"\x2a\x02\x22\x00",
        b"\x32\x02\x12\x00",
    ],
    ids=["inputs", "outputs", "parameters", "raw", "unknown", "input parameters", "output parameters"],
)
def test_a_message_of_nothing_but_tiny_fields_is_refused_before_it_is_parsed(
    monkeypatch: pytest.MonkeyPatch, filler: bytes
) -> None:
    monkeypatch.delattr(requests, "parse")

    with pytest.raises(InvalidRequestError, match="more than 1,000 fields"):
        parse_request(filler * ((8 << 20) // len(filler)))


def test_the_largest_request_is_parsed() -> None:
    images = np.zeros((4096, 32, 32, 3), np.uint8)

    assert parse_request(infer_request(images).SerializeToString()).model_name == "colours"
