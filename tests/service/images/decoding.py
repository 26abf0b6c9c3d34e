"""Decodes pictures as a server does, and measures the memory that a fresh process needs for it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from PIL import Image

from cifar10net.pb import classifier_pb2 as pb
from service.config import ImageLimits
from service.images.decode import disable_pillow_pixel_limit
from service.servicers.decoding import Decoder
from service.system.malloc import give_back_large_blocks
from tests.reliability.servers import peak_memory

if TYPE_CHECKING:
    from pathlib import Path


def growth(path: Path, copies: int, threads: int, max_pixels: int) -> tuple[int, int]:
    """Decode copies of a picture; return the growth of this process in bytes, and the failures."""
    return asyncio.run(_growth(path.read_bytes(), copies, threads, max_pixels))


async def _growth(data: bytes, copies: int, threads: int, max_pixels: int) -> tuple[int, int]:
    Image.init()
    disable_pillow_pixel_limit()
    give_back_large_blocks()
    decoder = Decoder(threads, ImageLimits(max_pixels=max_pixels))
    await decoder.read(pb.ClassifyRequest(images=[pb.Image(encoded=b"BM")] * threads), threads)
    before = peak_memory(os.getpid())
    _, errors = await decoder.read(pb.ClassifyRequest(images=[pb.Image(encoded=data)] * copies), copies)
    return peak_memory(os.getpid()) - before, len(errors)
