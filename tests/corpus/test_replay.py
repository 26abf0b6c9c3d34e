"""Every later version answers as was recorded: same statuses, codes and classes, probabilities to 1e-5.

A failure means that clients out there break. The way to new behaviour is a new field, method or exchange.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest

from cifar10net.pb import classifier_pb2 as pb
from cifar10net.pb import inference_pb2
from service.server.spawn import ServerProcess
from tests.corpus.comparison import differences
from tests.corpus.exchange import read
from tests.corpus.record import EXCHANGES, OPTIONS
from tests.corpus.requests import CLASSIFIER, wanted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECORDED = sorted(EXCHANGES.glob("*.jsonl"))


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.Channel]:
    log = tmp_path_factory.mktemp("log") / "server.log"
    with ServerProcess(*OPTIONS, log=log) as server, grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_what_was_recorded_is_answered_alike(channel: grpc.Channel, path: Path) -> None:
    recorded = read(path)

    assert differences(recorded, recorded.again(channel)) == []


def test_every_method_is_in_the_corpus() -> None:
    recorded = {read(path).method for path in RECORDED}
    services = (
        pb.DESCRIPTOR.services_by_name["Classifier"],
        inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"],
    )
    missing = {
        method.name
        for service in services
        for method in service.methods
        if f"/{service.full_name}/{method.name}" not in recorded
    }

    # Each of these is refused, or changes the server that the others are asked of.
    assert missing <= {
        "RepositoryModelUnload", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister",
        "CudaSharedMemoryStatus", "CudaSharedMemoryUnregister",
    }  # fmt: skip
    assert {path.stem for path in RECORDED} == set(wanted())


def _answer(**score: object) -> bytes:
    prediction = pb.Prediction(classes=[pb.ClassScore(**score)])  # type: ignore[arg-type]
    return pb.ClassifyResponse(
        model="colours", results=[pb.ImageResult(prediction=prediction)]
    ).SerializeToString()


@pytest.mark.parametrize(
    ("answer", "difference"),
    [
        (_answer(index=1, label="green", probability=0.5), None),
        (_answer(index=1, label="green", probability=0.500009), None),
        (_answer(index=1, label="green", probability=0.50002), "probability was 0.5, is"),
        (_answer(index=1, label="lime", probability=0.5), "label was 'green', is 'lime'"),
        (_answer(label="green", probability=0.5), "index was 1, is 0"),
        (b"", "results had 1 items, has 0"),
        (_answer(index=1, label="green", probability=0.5) + b"\xfa\x7f\x03new", None),
    ],
)
def test_a_change_of_an_answer_is_noticed(answer: bytes, difference: str | None) -> None:
    recorded = replace(
        read(EXCHANGES / "classify-packed.jsonl"), answers=(_answer(index=1, label="green", probability=0.5),)
    )

    found = differences(recorded, replace(recorded, answers=(answer,)))

    assert recorded.method == CLASSIFIER + "Classify"
    assert not found if difference is None else any(difference in each for each in found)
    assert differences(recorded, replace(recorded, status="INTERNAL")) == ["status was OK, is INTERNAL"]
