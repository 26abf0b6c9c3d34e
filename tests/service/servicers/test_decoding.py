"""Pictures of a small call are decoded between those of a large one."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cifar10net.pb import classifier_pb2 as pb
from service.config import ImageLimits
from service.errors import NotServingError
from service.repository import Repository
from service.servicers import decoding as decoding_module
from service.servicers.decoding import Decoder

if TYPE_CHECKING:
    from cifar10net.errors import ImageError


def test_a_small_call_is_decoded_before_the_rest_of_a_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    entered, opened = threading.Event(), threading.Event()

    def decode(data: bytes, *_: object) -> np.ndarray:
        entered.set()
        assert opened.wait(60)
        decoded.append(data[:1])
        return np.zeros((32, 32, 3), np.uint8)

    async def main() -> None:
        decoder = Decoder(1, ImageLimits())
        large = pb.ClassifyRequest(images=[pb.Image(encoded=b"L" * 70_000)] * 50)
        small = pb.ClassifyRequest(images=[pb.Image(encoded=b"s")])
        reading = asyncio.ensure_future(decoder.read(large, 50))
        assert await asyncio.to_thread(entered.wait, 60)
        also = asyncio.ensure_future(decoder.read(small, 1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        opened.set()
        await asyncio.gather(reading, also)
        decoder.close()

    monkeypatch.setattr(decoding_module, "from_encoded", decode)
    asyncio.run(main())

    assert len(decoded) == 51
    assert decoded.index(b"s") <= 2


def test_a_cancelled_call_is_decoded_no_further_than_the_picture_at_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded: list[bytes] = []
    entered, opened = threading.Event(), threading.Event()

    def decode(data: bytes, *_: object) -> np.ndarray:
        entered.set()
        assert opened.wait(60)
        decoded.append(data)
        return np.zeros((32, 32, 3), np.uint8)

    async def main() -> None:
        decoder = Decoder(1, ImageLimits())
        reading = asyncio.ensure_future(
            decoder.read(pb.ClassifyRequest(images=[pb.Image(encoded=b"L")] * 50), 50)
        )
        assert await asyncio.to_thread(entered.wait, 60)
        reading.cancel()
        await asyncio.wait([reading])
        opened.set()
        await decoder.read(pb.ClassifyRequest(images=[pb.Image(encoded=b"s")]), 1)
        decoder.close()

    monkeypatch.setattr(decoding_module, "from_encoded", decode)
    asyncio.run(main())

    assert decoded == [b"L", b"s"]


def test_the_errors_of_images_hold_no_picture() -> None:
    """Frames of a traceback would keep the bytes of the picture until a garbage collection."""
    request = pb.ClassifyRequest(images=[pb.Image(encoded=b"junk"), pb.Image(pixels=b"few")])

    async def main() -> dict[int, ImageError]:
        decoder = Decoder(1, ImageLimits())
        _, errors = await decoder.read(request, 2)
        decoder.close()
        return errors

    assert {index: error.__traceback__ for index, error in asyncio.run(main()).items()} == {0: None, 1: None}


def test_models_are_not_listed_before_they_are_loaded() -> None:
    with pytest.raises(NotServingError, match="still loading"):
        Repository().list()
