"""A server's life: it serves only once it can answer, says so, and loses no admitted call when it stops."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from cifar10net.errors import ConfigError
from cifar10net.pb import classifier_pb2 as pb
from cifar10net.pb import classifier_pb2_grpc
from service.config import ImageLimits, ServerConfig
from service.repository import Loaded
from service.runtime.model import ModelInfo
from service.server import assembly
from service.server.health_check import check_health
from service.server.lifecycle import Ending, serve
from service.server.spawn import ServerProcess
from tests.service.colours import colour_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ONE_IMAGE = pb.ClassifyRequest(packed_pixels=bytes(3072))
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def test_health_is_checked_for_the_server_and_for_the_service(server: str) -> None:
    assert check_health(server, 10) == "SERVING"
    assert check_health(server, 10, "cifar10net.v1.Classifier") == "SERVING"
    assert check_health(server, 10, "unknown.Service") == "NOT_FOUND"


def test_reflection_describes_every_service(server: str) -> None:
    with grpc.insecure_channel(server) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)

        services = set(database.get_services())
        files = {service: database.FindFileContainingSymbol(service) for service in services}

    assert services == {
        "cifar10net.v1.Classifier",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
    }
    assert all(service == f"{file.package}.{file.service[0].name}" for service, file in files.items())
    methods = files["cifar10net.v1.Classifier"].service[0].method
    assert [method.name for method in methods] == [
        "Classify",
        "ClassifyStream",
        "ListModels",
        "GetStatistics",
    ]


def _health(channel: grpc.aio.Channel) -> Any:
    """Return the stub of a type whose stubs lack the methods."""
    return health_pb2_grpc.HealthStub(channel)


class _SlowModel:
    """A model that holds its first batch until it is let go."""

    def __init__(self) -> None:
        self.info = ModelInfo("slow", 1, ("a", "b", "c"), "CPUExecutionProvider", {})
        self.entered = threading.Event()
        self.released = threading.Event()

    def run(self, images: np.ndarray) -> np.ndarray:
        self.entered.set()
        assert self.released.wait(60)
        return np.full((len(images), 3), 1 / 3, np.float32)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> _SlowModel:
    model = _SlowModel()
    monkeypatch.setattr(assembly, "load_models", lambda _config: Loaded([(model,)]))  # type: ignore[list-item]
    return model


async def _serving(**settings: Any) -> tuple[asyncio.Task[Ending], str]:
    ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(ServerConfig(port=0, **settings), ready.set_result))
    async with asyncio.timeout(60):
        await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()  # raises what ended it
    return task, await ready


def test_sigterm_says_not_serving_finishes_calls_and_outlives_no_watcher(slow: _SlowModel) -> None:
    async def main() -> None:
        task, address = await _serving()
        async with grpc.aio.insecure_channel(address) as channel:
            watch = _health(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == SERVING
            stub = classifier_pb2_grpc.ClassifierStub(channel)
            call = stub.Classify(ONE_IMAGE, timeout=60)
            assert await asyncio.to_thread(slow.entered.wait, 60)

            os.kill(os.getpid(), signal.SIGTERM)

            assert (await watch.read()).status == NOT_SERVING
            # A connection of its own: the first one takes calls until the client has read the goodbye.
            own = [("grpc.use_local_subchannel_pool", 1)]
            async with grpc.aio.insecure_channel(address, options=own) as late:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await classifier_pb2_grpc.ClassifierStub(late).Classify(ONE_IMAGE, timeout=60)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert not call.done()
            slow.released.set()
            assert len((await call).results) == 1
            await asyncio.wait_for(task, 60)  # although the watcher is still there

    asyncio.run(main())


def test_calls_that_outlast_the_grace_period_are_ended(slow: _SlowModel) -> None:
    async def main() -> None:
        task, address = await _serving(grace_s=0.1)
        async with grpc.aio.insecure_channel(address) as channel:
            call = classifier_pb2_grpc.ClassifierStub(channel).Classify(ONE_IMAGE, timeout=60)
            assert await asyncio.to_thread(slow.entered.wait, 60)

            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await call
            assert ended.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
            slow.released.set()
            await asyncio.wait_for(task, 60)

    asyncio.run(main())


def test_calls_are_still_taken_during_the_drain_delay(slow: _SlowModel) -> None:
    slow.released.set()

    async def main() -> None:
        task, address = await _serving(drain_delay_s=1.0)
        async with grpc.aio.insecure_channel(address) as channel:
            watch = _health(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == SERVING
            os.kill(os.getpid(), signal.SIGTERM)
            assert (await watch.read()).status == NOT_SERVING

            response = await classifier_pb2_grpc.ClassifierStub(channel).Classify(ONE_IMAGE, timeout=60)

            assert len(response.results) == 1
            await asyncio.wait_for(task, 60)

    asyncio.run(main())


def test_while_models_load_health_says_not_serving_and_calls_are_retryable(
    monkeypatch: pytest.MonkeyPatch, slow: _SlowModel
) -> None:
    loading, loaded = threading.Event(), threading.Event()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def load(_config: ServerConfig) -> Loaded:
        loading.set()
        assert loaded.wait(60)
        return Loaded([(slow,)])  # type: ignore[list-item] # as far as a server is concerned

    async def main() -> None:
        ready = asyncio.Event()
        task = asyncio.create_task(serve(ServerConfig(port=port), lambda _address: ready.set()))
        await asyncio.to_thread(loading.wait, 60)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            health = _health(channel)
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await classifier_pb2_grpc.ClassifierStub(channel).Classify(ONE_IMAGE, timeout=60)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert not ready.is_set()
            loaded.set()
            await asyncio.wait_for(ready.wait(), 60)
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(task, 60)

    monkeypatch.setattr(assembly, "load_models", load)
    asyncio.run(main())


def test_more_images_than_the_server_holds_are_refused_at_once(slow: _SlowModel) -> None:
    async def main() -> None:
        task, address = await _serving(max_pending_images=4096)
        async with grpc.aio.insecure_channel(address) as channel:
            stub = classifier_pb2_grpc.ClassifierStub(channel)
            call = stub.Classify(ONE_IMAGE, timeout=60)
            assert await asyncio.to_thread(slow.entered.wait, 60)

            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.Classify(pb.ClassifyRequest(packed_pixels=bytes(3072 * 4096)), timeout=60)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "1 images are waiting and this call has 4,096" in str(refused.value.details())

            slow.released.set()
            assert len((await call).results) == 1
            response = await stub.Classify(pb.ClassifyRequest(packed_pixels=bytes(3072 * 4096)), timeout=60)
            assert len(response.results) == 4096
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(task, 60)

    asyncio.run(main())


def test_a_model_that_fails_is_internal_without_a_traceback(
    slow: _SlowModel, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_images: np.ndarray) -> np.ndarray:
        raise RuntimeError("secret detail")

    slow.run = fail  # type: ignore[assignment, method-assign]

    async def main() -> None:
        task, address = await _serving()
        async with grpc.aio.insecure_channel(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await classifier_pb2_grpc.ClassifierStub(channel).Classify(ONE_IMAGE, timeout=60)
        assert failed.value.code() is grpc.StatusCode.INTERNAL
        assert failed.value.details() == "the server failed to answer; its log says why"
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(task, 60)

    asyncio.run(main())
    logged = capsys.readouterr()
    assert "secret detail" in logged.out + logged.err


def test_sigterm_under_load_loses_no_admitted_call(repository: Path, tmp_path: Path) -> None:
    server = ServerProcess("--models", str(repository), log=tmp_path / "log")
    server.start()
    request = pb.ClassifyRequest(packed_pixels=bytes(3072 * 32))
    answered = threading.Semaphore(0)

    def ask_until_refused(channel: grpc.Channel) -> grpc.StatusCode:
        stub = classifier_pb2_grpc.ClassifierStub(channel)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                assert len(stub.Classify(request, timeout=60).results) == 32
            except grpc.RpcError as error:
                return error.code()
            answered.release()
        raise AssertionError("the server never stopped")

    with (
        ThreadPoolExecutor(8) as pool,
        grpc.insecure_channel(server.address, [("grpc.enable_retries", 0)]) as channel,
    ):
        callers = [pool.submit(ask_until_refused, channel) for _ in range(8)]
        for _ in range(100):
            assert answered.acquire(timeout=60)
        server.terminate()
        codes = [caller.result() for caller in callers]
        assert server.wait() == 0

    # UNAVAILABLE is what a call gets that was not admitted any more: gRPC clients repeat it elsewhere.
    assert set(codes) == {grpc.StatusCode.UNAVAILABLE}


def _start(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service.cli", "serve", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"junk", "cannot be loaded by"),
        (colour_model(labels="a"), "names 1 labels"),
        (colour_model(softmax=False), "warm-up"),
    ],
)
def test_a_broken_model_ends_the_start(
    tmp_path: Path, add_model: Callable[..., Path], content: bytes, message: str
) -> None:
    add_model(tmp_path, content=content)

    done = _start("--models", tmp_path, "--port", 0, "--log-level", "warning")

    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


HUNG = """
import sys, time
import numpy as np
from service import cli
from service.server import assembly
from service.runtime.model import ModelInfo
from service.repository import Loaded

class Hung:
    info = ModelInfo("hung", 1, ("a", "b"), "CPUExecutionProvider", {{}})
    def run(self, images):
        print("hangs", flush=True)
        time.sleep(600)

def load(config):
    print("loads", flush=True)
    time.sleep({loading_s})
    return Loaded([(Hung(),)])

assembly.load_models = load
sys.argv = ["cifar10net", "serve", "--port", "0", "--grace-s", "0.1"]
cli.main()
"""


@pytest.mark.parametrize(("loading_s", "code"), [(0, 1), (600, 0)])
def test_neither_a_hung_model_nor_a_hung_start_outlives_the_grace_period(loading_s: int, code: int) -> None:
    command = [sys.executable, "-c", HUNG.format(loading_s=loading_s)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process,
        ThreadPoolExecutor(1) as pool,
    ):
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        assert process.stdout is not None
        assert process.stdout.readline() == "loads\n"
        if not loading_s:
            address = process.stdout.readline().removeprefix("serving on ").strip()
            pool.submit(_ask_and_be_cut_off, address)
            assert process.stdout.readline() == "hangs\n"
        process.terminate()
        assert process.wait() == code
        watchdog.cancel()


def _ask_and_be_cut_off(address: str) -> None:
    with grpc.insecure_channel(address) as channel, contextlib.suppress(grpc.RpcError):
        classifier_pb2_grpc.ClassifierStub(channel).Classify(ONE_IMAGE, timeout=50)


def test_a_port_in_use_ends_the_start(server: str, repository: Path) -> None:
    done = _start("--models", repository, "--port", server.rpartition(":")[2])

    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: cannot listen on {server}: Address already in use" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--models", "/nonexistent"), 1, "no model repository at /nonexistent"),
        (("--host", "256.0.0.1"), 1, "cannot listen on 256.0.0.1"),
        (("--host", "a..b"), 1, "cannot listen on a..b:0: it is not a host name"),
        (("--host", "192.0.2.1"), 1, "cannot listen on 192.0.2.1:0"),
        (("--models", "x" * 300), 1, "cannot read the model repository"),
        (("--threads", 0), 2, "threads is 0, wanted 1 to 1024"),
        (("--provider", "tpu"), 2, "'tpu' is not one of"),
        (("--port", "http"), 2, "'http' is not a valid integer"),
    ],
)
def test_bad_settings_end_the_start(
    repository: Path, arguments: tuple[object, ...], code: int, message: str
) -> None:
    done = _start("--models", repository, "--port", 0, *arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value"), [("port", 65_536), ("max_batch", 0), ("max_pending_images", 4095), ("grace_s", -1)]
)
def test_settings_are_checked_when_they_are_made(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"{name} is {value}, wanted"):
        ServerConfig(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="max_image_bytes is 10, wanted"):
        ImageLimits(max_bytes=10)


def test_an_option_can_come_from_the_environment(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIFAR10NET_SERVE_MODELS", str(repository))
    monkeypatch.setenv("CIFAR10NET_SERVE_THREADS", "0")

    done = _start("--port", 0)

    assert "threads is 0" in done.stderr


BLOCK = "import sys; sys.modules.update(dict.fromkeys({names!r}));"


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["torch", "onnx", "onnxscript"], "import service.cli, service.server.lifecycle"),
        (["torch", "onnx", "onnxscript", "onnxruntime"], "from cifar10net import Client, AsyncClient"),
    ],
)
def test_serving_needs_no_training_packages_and_asking_no_runtime(names: list[str], code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCK.format(names=names) + code], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
