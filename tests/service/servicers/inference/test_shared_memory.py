"""A region that is registered with one worker is registered with all of them, or with none."""

from __future__ import annotations

import asyncio
import os
import signal
from multiprocessing.shared_memory import SharedMemory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import grpc
import numpy as np
import pytest
from structlog.testing import capture_logs

from cifar10net.pb import inference_pb2 as pb
from service.errors import InvalidRequestError, NotServingError, RegionExistsError
from service.servicers.inference.regions import RegionRegistry
from service.servicers.inference.shared_memory import SharedMemoryHandlers
from service.workers.control_client import ControlClient
from service.workers.control_hub import ControlHub
from tests.inference_stub import InferenceStub
from tests.reliability.callers import until
from tests.reliability.servers import Server
from tests.service.colours import expected_probabilities
from tests.service.servicers.inference.requests import infer_request, output, parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from service.rpc.context import UnaryContext

    Stub = InferenceStub

Register, Unregister = pb.SystemSharedMemoryRegisterRequest, pb.SystemSharedMemoryUnregisterRequest
Status = pb.SystemSharedMemoryStatusRequest
CONTEXT: UnaryContext = None  # type: ignore[assignment] # the handlers do not use it


class _Workers:
    """Workers in one process, each with its own folder of memory objects."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.hub = ControlHub()
        self.control_clients: list[ControlClient] = []
        self.servicers: list[SharedMemoryHandlers] = []

    async def start(self, *objects: str) -> SharedMemoryHandlers:
        number = len(self.servicers)
        folder = self.root / str(number)
        folder.mkdir()
        for name in objects:
            (folder / name).write_bytes(bytes(100))
        with self.hub.add(number) as line:
            control = ControlClient(os.dup(line.fileno()))
        servicer = SharedMemoryHandlers(RegionRegistry(folder), control)
        await control.join()
        await servicer.sync()
        self.control_clients.append(control)
        self.servicers.append(servicer)
        return servicer

    async def known(self) -> list[list[str]]:
        """Return the names of each worker's regions."""
        answers = [await each.status(Status().SerializeToString(), CONTEXT) for each in self.servicers]
        return [sorted(pb.SystemSharedMemoryStatusResponse.FromString(each).regions) for each in answers]

    async def close(self) -> None:
        for servicer, control in zip(self.servicers, self.control_clients, strict=True):
            servicer._regions.remove("")
            await control.close()
        self.hub.close()


def _register(name: str, key: str = "object") -> bytes:
    return Register(name=name, key=key, byte_size=50).SerializeToString()


def test_a_region_is_registered_and_unregistered_in_all_workers(tmp_path: Path) -> None:
    async def scenario() -> list[Any]:
        workers = _Workers(tmp_path)
        first, second, _ = [await workers.start("object") for _ in range(3)]
        await first.register(_register("a"), CONTEXT)
        await second.register(_register("b"), CONTEXT)
        seen = [await workers.known()]
        await second.unregister(Unregister(name="a").SerializeToString(), CONTEXT)
        seen.append(await workers.known())
        await first.unregister(Unregister().SerializeToString(), CONTEXT)
        seen.append(await workers.known())
        await workers.close()
        return seen

    assert asyncio.run(scenario()) == [[["a", "b"]] * 3, [["b"]] * 3, [[]] * 3]


def test_a_name_that_is_too_long_is_not_sent_to_other_workers(tmp_path: Path) -> None:
    async def scenario() -> None:
        workers = _Workers(tmp_path)
        first, _ = [await workers.start() for _ in range(2)]
        with pytest.raises(InvalidRequestError, match="has 20000000 characters, expected 1 to 200"):
            await first.unregister(Unregister(name="a" * 20_000_000).SerializeToString(), CONTEXT)
        await workers.close()

    asyncio.run(scenario())


def test_a_region_that_one_worker_cannot_open_is_registered_in_none(tmp_path: Path) -> None:
    async def scenario() -> list[Any]:
        workers = _Workers(tmp_path)
        first = await workers.start("object")
        await workers.start()
        await workers.start("object")
        with pytest.raises(NotServingError, match=r"worker 1: .* cannot be opened"):
            await first.register(_register("a"), CONTEXT)
        known = await workers.known()
        await workers.close()
        return known

    assert asyncio.run(scenario()) == [[], [], []]


def test_a_refusal_by_the_worker_that_was_called_keeps_its_status(tmp_path: Path) -> None:
    async def scenario() -> list[Any]:
        workers = _Workers(tmp_path)
        first, second = await workers.start("object"), await workers.start("object")
        await first.register(_register("a"), CONTEXT)
        with pytest.raises(RegionExistsError):
            await second.register(_register("a"), CONTEXT)
        with pytest.raises(InvalidRequestError):
            await second.register(_register("b", "none"), CONTEXT)
        known = await workers.known()
        await workers.close()
        return known

    assert asyncio.run(scenario()) == [["a"], ["a"]]


def test_a_worker_that_starts_later_copies_the_regions_of_the_others(tmp_path: Path) -> None:
    async def scenario() -> list[Any]:
        workers = _Workers(tmp_path)
        first = await workers.start("object", "unlinked")
        await workers.start("object", "unlinked")
        await first.register(_register("a"), CONTEXT)
        await first.register(_register("b", "unlinked"), CONTEXT)
        with capture_logs() as logs:
            await workers.start("object")
        known = await workers.known()
        await workers.close()
        return [known, [entry["region"] for entry in logs]]

    known, missing = asyncio.run(scenario())
    assert known == [["a", "b"], ["a", "b"], ["a"]]
    assert set(missing) == {"b"}


def test_a_region_that_is_unregistered_meanwhile_is_not_copied(tmp_path: Path) -> None:
    async def scenario() -> list[Any]:
        workers = _Workers(tmp_path)
        first = await workers.start("object")
        for name in ("a", "b"):
            await first.register(_register(name), CONTEXT)
        listed = asyncio.Event()
        go_on = asyncio.Event()
        list_regions = first._list

        async def list_late(body: Any) -> Any:
            answer = await list_regions(body)
            listed.set()
            await go_on.wait()
            return answer

        workers.control_clients[0].handle("shared_memory.list", list_late)
        starting = asyncio.create_task(workers.start("object"))
        await listed.wait()
        await first.unregister(Unregister(name="a").SerializeToString(), CONTEXT)
        await first.register(_register("c"), CONTEXT)
        go_on.set()
        await starting
        known = await workers.known()
        await workers.close()
        return known

    assert asyncio.run(scenario()) == [["b", "c"], ["b", "c"]]


# -- real processes


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    """Make a real memory object of 100 images."""
    memory = SharedMemory(f"cifar10net_{uuid4().hex}", create=True, size=100 * 3072)
    yield memory
    memory.close()
    memory.unlink()


@pytest.fixture
def stubs(address: str) -> Iterator[list[Stub]]:
    """Connect four times, so that each worker has two connections."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.insecure_channel(address, options) for _ in range(4)]
    stubs = [InferenceStub(channel) for channel in channels]
    yield stubs
    stubs[0].SystemSharedMemoryUnregister(Unregister(), timeout=60)
    for channel in channels:
        channel.close()


def _view(memory: SharedMemory) -> memoryview:
    assert memory.buf is not None
    return memory.buf


def _loaded(server: Server) -> set[int]:
    """Return the live workers that have loaded their models, the last step of their start."""
    return {event["pid"] for event in server.events("model ready")} & set(server.workers())


def _kill(server: Server, worker: int) -> None:
    """Kill a worker and wait for its replacement."""
    others = _loaded(server) - {worker}
    os.kill(worker, signal.SIGKILL)
    asyncio.run(until(lambda: _loaded(server) - {worker} > others, "another worker"))


def _in_memory(n: int, region: str, **more: Any) -> pb.ModelInferRequest:
    place = {"shared_memory_region": region, "shared_memory_byte_size": n * 3072}
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="images", datatype="UINT8", shape=(n, 32, 32, 3), parameters=parameters(place)
    )
    fields: dict[str, Any] = {"inputs": [tensor], "raw_input_contents": [], **more}
    return infer_request(np.zeros((n, 32, 32, 3), np.uint8), **fields)


def test_images_and_answers_pass_through_memory_on_every_connection(
    stubs: list[Stub], memory: SharedMemory, coloured: np.ndarray
) -> None:
    _view(memory)[: coloured.nbytes] = coloured.tobytes()
    stubs[0].SystemSharedMemoryRegister(
        Register(name="in", key=memory.name, byte_size=coloured.nbytes), timeout=60
    )
    stubs[1].SystemSharedMemoryRegister(
        Register(name="out", key=f"/{memory.name}", offset=coloured.nbytes, byte_size=2000), timeout=60
    )
    place = output(shared_memory_region="out", shared_memory_byte_size=1080, shared_memory_offset=16)
    expected = expected_probabilities(coloured)

    for stub in stubs:
        start = coloured.nbytes + 16
        _view(memory)[start : start + 1080] = bytes(1080)
        response = stub.ModelInfer(_in_memory(90, "in", outputs=[place]), timeout=60)
        answer = np.frombuffer(bytes(_view(memory)[start : start + 1080]), "<f4").reshape(90, 3)
        assert np.allclose(answer, expected, atol=1e-5)
        assert response.raw_output_contents == [b""]
        regions = stub.SystemSharedMemoryStatus(Status(), timeout=60).regions
        assert {name: (each.key, each.offset, each.byte_size) for name, each in regions.items()} == {
            "in": (memory.name, 0, coloured.nbytes),
            "out": (f"/{memory.name}", coloured.nbytes, 2000),
        }


def test_a_worker_that_replaces_a_killed_one_has_the_regions(
    repository: Path, memory: SharedMemory, tmp_path: Path
) -> None:
    flags = ("--models", repository, "--workers", 2, "--instances", 1, "--shared-memory")
    server = Server(tmp_path / "log", *flags)
    try:
        server.start()
        with grpc.insecure_channel(server.address) as channel:
            InferenceStub(channel).SystemSharedMemoryRegister(
                Register(name="in", key=memory.name, byte_size=3072), timeout=60
            )
        for worker in server.workers():  # so that none is left that was called
            _kill(server, worker)

        with grpc.insecure_channel(server.address) as channel:
            stub = InferenceStub(channel)
            assert list(stub.SystemSharedMemoryStatus(Status(), timeout=60).regions) == ["in"]
            assert len(stub.ModelInfer(_in_memory(1, "in"), timeout=60).outputs) == 1
    finally:
        server.clean_up()


def test_memory_that_its_owner_shrinks_is_refused_and_the_server_lives(
    stubs: list[Stub], memory: SharedMemory
) -> None:
    stubs[0].SystemSharedMemoryRegister(Register(name="in", key=memory.name, byte_size=9 * 3072), timeout=60)
    os.truncate(f"/dev/shm/{memory.name}", 5000)  # noqa: S108 - the real ones

    for stub in stubs:
        with pytest.raises(grpc.RpcError, match="has become smaller"):
            stub.ModelInfer(_in_memory(9, "in"), timeout=60)
        assert len(stub.ModelInfer(_in_memory(1, "in"), timeout=60).raw_output_contents) == 1


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (_in_memory(9, "none"), "NOT_FOUND", "no region of shared memory is called 'none'"),
        (_in_memory(10, "in"), "INVALID_ARGUMENT", "30,720 bytes from 0 on in the region 'in'"),
        (
            _in_memory(8, "in", raw_input_contents=[bytes(8 * 3072)]),
            "INVALID_ARGUMENT",
            "the request has raw_input_contents and shared memory",
        ),
    ],
    ids=["unknown", "beyond", "both"],
)
def test_images_that_are_not_in_memory_are_refused(
    stubs: list[Stub], memory: SharedMemory, request_: pb.ModelInferRequest, code: str, message: str
) -> None:
    stubs[0].SystemSharedMemoryRegister(Register(name="in", key=memory.name, byte_size=9 * 3072), timeout=60)

    with pytest.raises(grpc.RpcError) as caught:
        stubs[0].ModelInfer(request_, timeout=60)

    assert caught.value.code().name == code
    assert message in str(caught.value.details())


def test_a_size_that_is_not_the_shapes_is_refused(stubs: list[Stub], memory: SharedMemory) -> None:
    stubs[0].SystemSharedMemoryRegister(Register(name="in", key=memory.name, byte_size=9 * 3072), timeout=60)
    request = _in_memory(8, "in")
    request.inputs[0].shape[0] = 9

    with pytest.raises(grpc.RpcError, match="has 24,576 bytes, expected 27,648 for shape"):
        stubs[0].ModelInfer(request, timeout=60)


def test_a_region_twice_and_an_unknown_one_have_their_status_codes(
    stubs: list[Stub], memory: SharedMemory
) -> None:
    request = Register(name="in", key=memory.name, byte_size=1)
    stubs[0].SystemSharedMemoryRegister(request, timeout=60)

    codes = []
    asks: tuple[Callable[[], Any], ...] = (
        lambda: stubs[1].SystemSharedMemoryRegister(request, timeout=60),
        lambda: stubs[1].SystemSharedMemoryStatus(Status(name="none"), timeout=60),
    )
    for ask in asks:
        with pytest.raises(grpc.RpcError) as caught:
            ask()
        codes.append(caught.value.code().name)
    assert codes == ["ALREADY_EXISTS", "NOT_FOUND"]
    stubs[1].SystemSharedMemoryUnregister(Unregister(name="none"), timeout=60)
    assert list(stubs[1].SystemSharedMemoryStatus(Status(name="in"), timeout=60).regions) == ["in"]


def test_there_are_no_cuda_regions_and_unregistering_them_works(stubs: list[Stub]) -> None:
    stubs[0].CudaSharedMemoryStatus(pb.CudaSharedMemoryStatusRequest(), timeout=60)
    stubs[0].CudaSharedMemoryUnregister(pb.CudaSharedMemoryUnregisterRequest(), timeout=60)


@pytest.mark.parametrize(
    "method",
    [
        "SystemSharedMemoryStatus",
        "SystemSharedMemoryRegister",
        "SystemSharedMemoryUnregister",
        "CudaSharedMemoryStatus",
        "CudaSharedMemoryUnregister",
    ],
)
def test_it_is_off_without_the_flag(server: str, method: str) -> None:
    with grpc.insecure_channel(server) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            f"/inference.GRPCInferenceService/{method}"
        )
        with pytest.raises(grpc.RpcError, match="--shared-memory") as caught:
            call(b"", timeout=60)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
