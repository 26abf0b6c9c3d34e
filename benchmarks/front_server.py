"""Serves the same methods by our own front or by grpcio's server, to compare the two.

Run as ``python -m benchmarks.front_server ours|grpcio empty|models MODELS``; prints its address and serves
until SIGTERM. With ``empty``, Classify's handler does nothing, so that only the front is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from benchmarks.grpcio_front import GrpcioServer
from cifar10net.pb import classifier_pb2 as pb
from service.batching.admission import Admission
from service.config import ServerConfig
from service.observability.logs import configure
from service.repository import Repository, load_models
from service.rpc.method import Method
from service.rpc.server import RpcLimits, RpcServer
from service.servicers.classifier import SERVICE_NAME, ClassifierServicer
from service.servicers.decoding import Decoder
from service.servicers.health import HealthServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from service.rpc.context import UnaryContext

_HOST = "127.0.0.1"
_MAX_MESSAGE_BYTES = 32 << 20
_GRACE_S = 5.0
_REPLY = pb.ClassifyResponse(
    model="none",
    version="1",
    results=[pb.ImageResult(prediction=pb.Prediction(classes=[pb.ClassScore(label="none")]))],
).SerializeToString()


async def _serve(front: str, handler: str, models: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        if handler == "empty":
            methods: tuple[Method, ...] = (Method(f"/{SERVICE_NAME}/Classify", unary=_nothing),)
        else:
            methods = await stack.enter_async_context(_servicers(models))
        port = await stack.enter_async_context(_ours(methods) if front == "ours" else _grpcio(methods))
        gc.collect()
        gc.freeze()  # as `cifar10net serve` does
        print(f"{_HOST}:{port}", flush=True)
        await stop.wait()


async def _nothing(message: bytes, call: UnaryContext) -> bytes:  # noqa: ARG001 - as every handler
    return _REPLY


@contextlib.asynccontextmanager
async def _servicers(models: Path) -> AsyncIterator[tuple[Method, ...]]:
    """Load models and return the methods of the servicers for them."""
    config = ServerConfig(models=models)
    repository, decoder = Repository(), Decoder(config.decode_threads, config.limits)
    repository.open(load_models(config), config)
    classifier = ClassifierServicer(repository, Admission(config.max_pending_images), decoder)
    health = HealthServicer((SERVICE_NAME,))
    health.set_serving(info.provider for info in repository.list())
    yield (*classifier.methods(), *health.methods())
    decoder.close()
    await repository.close()


@contextlib.asynccontextmanager
async def _ours(methods: Iterable[Method]) -> AsyncIterator[int]:
    limits = RpcLimits(max_message_bytes=_MAX_MESSAGE_BYTES, max_held_bytes=512 << 20, max_connections=1_000)
    server = RpcServer(methods, limits)
    listener = socket.create_server((_HOST, 0))
    await server.listen(listener)
    yield listener.getsockname()[1]
    await server.drain(_GRACE_S)
    await server.close()


@contextlib.asynccontextmanager
async def _grpcio(methods: Iterable[Method]) -> AsyncIterator[int]:
    server = GrpcioServer(methods, _MAX_MESSAGE_BYTES)
    yield await server.listen(f"{_HOST}:0")
    await server.stop(_GRACE_S)


if __name__ == "__main__":
    configure("auto", "warning")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
