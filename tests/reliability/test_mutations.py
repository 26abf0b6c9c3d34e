"""Thousands of nearly valid requests to every method: none finds a fault in the server."""

from __future__ import annotations

import os
from random import Random
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from cifar10net import Client
from cifar10net.pb import inference_pb2 as pb
from tests.inference_stub import InferenceStub
from tests.reliability.mutations import mutant, targets
from tests.reliability.servers import MIB, memory, peak_memory
from tests.reliability.volley import Volley

if TYPE_CHECKING:
    from tests.reliability.account import Account
    from tests.reliability.conftest import Start

MUTANTS = int(os.environ.get("CIFAR10NET_MUTANTS", "500"))
"""For each method; CI takes 10,000."""
OK = 0
INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS, RESOURCE_EXHAUSTED = 3, 4, 5, 6, 8
FAILED_PRECONDITION, ABORTED = 9, 10
EXPECTED = {INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED}
WATCH = "/grpc.health.v1.Health/Watch"  # which ends by its deadline alone
TIMED = {
    WATCH,
    "/inference.GRPCInferenceService/ModelInfer",
    "/inference.GRPCInferenceService/ModelStreamInfer",
}
"""Methods whose deadline may have passed: it is one of their parameters, or their only end."""
WORDS: dict[str, tuple[Any, ...]] = {
    "model": ("", "colours", "pale"),
    "version": ("", "1", "2", "01", "-1"),
    "service": ("", "cifar10net.v1.Classifier", "grpc.health.v1.Health"),
    "packed_pixels": (bytes(3_072), bytes(6_144), bytes(3_071), b""),
    "pixels": (bytes(3_072), bytes(3_071), b""),
    "top_k": (1, 2, 3, 10, 11),
    # Of the Open Inference Protocol.
    "model_name": ("colours", "pale", ""),
    "model_version": ("", "1", "2"),
    "name": ("images", "probabilities", "colours", "region", ""),
    "datatype": ("UINT8", "FP32", "BYTES", ""),
    "shape": (0, 1, 2, 3, 32, -1, 2**62),
    "raw_input_contents": (bytes(3_072), bytes(6_144), b""),
    "uint_contents": (0, 255, 256),
    "key": ("/region", "/../region", "/none", ""),
    "parameters.key": (
        "classification",
        "priority",
        "timeout",
        "shared_memory_region",
        "shared_memory_offset",
        "shared_memory_byte_size",
        "triton_enable_empty_final_response",
        "unload_dependents",
    ),
}


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_mutated_requests_are_answered_or_refused_on_every_method(start: Start, account: Account) -> None:
    server = start("--shared-memory", "--model-control")
    before = memory(server.pid)

    for target in targets(server.address):
        random = Random(target.path)  # noqa: S311 - the same in every run
        messages = (mutant(target, random, WORDS) for _ in range(MUTANTS))
        timeout = "20m" if target.path == WATCH else "60S"
        with Volley(server.address) as volley:
            statuses = volley.fire(target.path, messages, timeout)
        account.tried += sum(statuses.values())
        for status, count in statuses.items():
            if status == OK:
                account.answered += count
            elif status in EXPECTED or (target.path in TIMED and status == DEADLINE_EXCEEDED):
                for _ in range(count):
                    account.refuse(str(status))
            else:
                account.losses += [f"{target.path}: status {status}"] * count
        assert sum(statuses.values()) == MUTANTS

    with grpc.insecure_channel(server.address) as channel:  # mutants have unloaded it, too
        stub = InferenceStub(channel)
        stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="colours"), timeout=60)
    with Client(server.address) as client:
        (result,) = client.classify(np.zeros((1, 32, 32, 3), np.uint8))
        assert result.error is None
    assert peak_memory(server.pid) - before < 128 * MIB
