"""Callers who ask for it, and only they, get the durations of a call's parts."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from PIL import Image

from cifar10net import AsyncClient, Client
from cifar10net.errors import ClientError
from cifar10net.pb import classifier_pb2 as pb
from cifar10net.pb import classifier_pb2_grpc, inference_pb2
from cifar10net.server_timing import parse_timing
from tests.inference_stub import InferenceStub

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

PARTS = {"decode", "queue", "batch", "compute", "total"}


def _picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
    return buffer.getvalue()


def _ask_sync(address: str, images: Any, told: list[dict[str, float]], **options: Any) -> list[Any]:
    with Client(address) as client:
        return client.classify(images, on_timing=told.append, **options)


def _ask_async(address: str, images: Any, told: list[dict[str, float]], **options: Any) -> list[Any]:
    async def ask() -> list[Any]:
        async with AsyncClient(address) as client:
            return await client.classify(images, on_timing=told.append, **options)

    return asyncio.run(ask())


@pytest.mark.parametrize("ask", [_ask_sync, _ask_async])
def test_clients_report_the_parts_of_each_call(server: str, coloured: np.ndarray, ask: Any) -> None:
    told: list[dict[str, float]] = []

    pictures = ask(server, [_picture()] * 3, told)
    pixels = ask(server, coloured, told)
    junk = ask(server, [b"junk"], told)

    assert [len(results) for results in (pictures, pixels, junk)] == [3, 90, 1]
    assert [set(parts) for parts in told] == [PARTS, PARTS - {"decode"}, {"decode", "total"}]
    for parts in told:
        assert 0 < sum(parts.values()) - parts["total"] <= parts["total"] + 0.01
        assert all(part_ms >= 0 for part_ms in parts.values())


def test_a_call_that_is_refused_has_no_parts(server: str, coloured: np.ndarray) -> None:
    told: list[dict[str, float]] = []

    with pytest.raises(ClientError, match="NOT_FOUND"):
        _ask_sync(server, coloured, told, model="none")

    assert told == []


def test_only_a_call_that_asks_gets_timings(server: str, coloured: np.ndarray) -> None:
    request = pb.ClassifyRequest(packed_pixels=coloured[:2].tobytes())
    with grpc.insecure_channel(server) as channel:
        ask = classifier_pb2_grpc.ClassifierStub(channel).Classify.with_call
        _, plain = ask(request, timeout=60)
        _, wanted = ask(request, timeout=60, metadata=(("cifar10net-timing", "1"),))

    assert "server-timing" not in dict(plain.trailing_metadata())
    assert set(parse_timing(dict(wanted.trailing_metadata()))) == PARTS - {"decode"}


def test_tensor_calls_get_timings_too(server: str, coloured: np.ndarray) -> None:
    request = inference_pb2.ModelInferRequest(
        model_name="colours",
        inputs=[inference_pb2.ModelInferRequest.InferInputTensor(
            name="images", datatype="UINT8", shape=[2, 32, 32, 3]
        )],
        raw_input_contents=[coloured[:2].tobytes()],
    )  # fmt: skip
    with grpc.insecure_channel(server) as channel:
        ask = InferenceStub(channel).ModelInfer.with_call
        _, call = ask(request, timeout=60, metadata=(("cifar10net-timing", "1"),))

    assert set(parse_timing(dict(call.trailing_metadata()))) == PARTS - {"decode"}


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("decode;dur=0.120, total;dur=5", {"decode": 0.12, "total": 5.0}),
        ('cache;desc="hit", total; dur=5 ;x=y', {"total": 5.0}),
        ("", {}),
    ],
)
def test_the_syntax_is_that_of_server_timing(written: str, parts: dict[str, float]) -> None:
    assert parse_timing({"server-timing": written}) == parts


def test_classify_prints_them_beside_its_answers(server: str, tmp_path: Path) -> None:
    picture = tmp_path / "red.png"
    picture.write_bytes(_picture())
    command = [
        sys.executable,
        "-m",
        "service.cli",
        "classify",
        str(picture),
        "--server",
        server,
        "--top",
        "1",
    ]

    plain, timed = (
        subprocess.run([*command, *more], capture_output=True, text=True, check=True, timeout=60)
        for more in ((), ("--timing",))
    )

    assert plain.stderr == ""
    assert timed.stdout == plain.stdout
    assert timed.stderr.startswith("server: decode ")
    assert timed.stderr.count(" ms") == 5
