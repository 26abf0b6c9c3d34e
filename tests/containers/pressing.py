"""Overloads a server: calls of many images and of large pictures, all at once, without retries."""

from __future__ import annotations

import asyncio
import io
from collections import Counter

import grpc
import grpc.aio
from PIL import Image

from cifar10net.pb import classifier_pb2 as pb
from cifar10net.pb import classifier_pb2_grpc
from cifar10net.protocol import MAX_CALL_IMAGES, MAX_MESSAGE_BYTES

_CALLERS = 12
_CALLS = 2
_LIMIT_S = 120.0
_SIDE = 3_900  # of a picture just below 16 megapixels
_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
)


async def press(address: str) -> Counter[str]:
    """Ask with all callers at a time, a bounded number of calls each.

    Returns:
        How many calls were ``answered``, ``refused`` as too many, and how many had which other status.
    """
    requests = [_many_images(), _large_pictures()]
    outcomes: Counter[str] = Counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(_CALLERS):
            tasks.create_task(_ask(address, requests[number % len(requests)], outcomes))
    return outcomes


async def _ask(address: str, request: pb.ClassifyRequest, outcomes: Counter[str]) -> None:
    async with grpc.aio.insecure_channel(address, _OPTIONS) as channel:
        stub = classifier_pb2_grpc.ClassifierStub(channel)
        for _ in range(_CALLS):
            try:
                await stub.Classify(request, timeout=_LIMIT_S, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                is_refused = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                outcomes["refused" if is_refused else error.code().name] += 1
            else:
                outcomes["answered"] += 1


def _many_images() -> pb.ClassifyRequest:
    return pb.ClassifyRequest(packed_pixels=bytes(MAX_CALL_IMAGES * 3072))


def _large_pictures() -> pb.ClassifyRequest:
    file = io.BytesIO()
    Image.effect_noise((_SIDE, _SIDE), 30).convert("RGB").save(file, "WEBP", quality=50, method=0)
    return pb.ClassifyRequest(images=[pb.Image(encoded=file.getvalue())])
