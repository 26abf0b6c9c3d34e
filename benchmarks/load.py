"""A closed-loop load generator: a number of callers, each asking again as soon as it is answered."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import grpc
import numpy as np

METHOD = "/cifar10net.v1.Classifier/Classify"


@dataclass(frozen=True)
class Load:
    """What a run of the generator saw; latencies in milliseconds."""

    calls: int
    seconds: float
    p50_ms: float
    p99_ms: float


def run(address: str, request: bytes, callers: int, seconds: float) -> Load:
    """Send a serialized ClassifyRequest over and over; every call must succeed.

    Args:
        address: ``host:port`` of the server.
        request: the serialized request, so that the generator spends no time on messages.
        callers: calls in flight at any time.
        seconds: how long; bounded, calls in flight at the end are still awaited.
    """
    return asyncio.run(_run(address, request, callers, seconds))


async def _run(address: str, request: bytes, callers: int, seconds: float) -> Load:
    latencies: list[float] = []
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        began = time.perf_counter()

        async def ask() -> None:
            while (sent := time.perf_counter()) - began < seconds:
                await call(request, timeout=60)
                latencies.append(time.perf_counter() - sent)

        await asyncio.gather(*(ask() for _ in range(callers)))
        took = time.perf_counter() - began
    p50, p99 = np.percentile(latencies, [50, 99]) * 1000
    return Load(len(latencies), took, float(p50), float(p99))
