"""Clients load and unload models in every worker, if the flag allows it."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from cifar10net.pb import inference_pb2 as pb
from service.errors import ModelError
from service.repository import IndexEntry, VersionState
from service.server.spawn import ServerProcess
from service.servicers.inference.model_repository import ModelRepositoryHandlers
from tests.inference_stub import InferenceStub
from tests.service.servicers.inference.requests import infer_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from service.rpc.context import UnaryContext

    Stub = InferenceStub

ONE = np.zeros((1, 32, 32, 3), np.uint8)
Load, Unload, Index = (
    pb.RepositoryModelLoadRequest,
    pb.RepositoryModelUnloadRequest,
    pb.RepositoryIndexRequest,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, add_model: Callable[..., Path]) -> Path:
    """Make a repository in which each test has a model of its own to change."""
    root = tmp_path_factory.mktemp("models")
    for name in ("colours", "shades", "hues"):
        add_model(root, name)
        add_model(root, name, "3")
    return root


@pytest.fixture(scope="module")
def stubs(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Stub]]:
    """Connect four times to a server of two workers."""
    flags = ("--workers", "2", "--instances", "1", "--watch-s", "0", "--model-control")
    process = ServerProcess("--models", str(root), *flags, log=tmp_path_factory.mktemp("log") / "log")
    process.start()
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.insecure_channel(process.address, options) for _ in range(4)]
    yield [InferenceStub(channel) for channel in channels]
    for channel in channels:
        channel.close()
    assert process.stop() == 0


def _states(stub: Stub, **request: Any) -> list[tuple[str, str, str]]:
    models = stub.RepositoryIndex(Index(**request), timeout=60).models
    return [(model.name, model.version, model.state) for model in models]


def test_a_model_is_unloaded_and_loaded_in_every_worker(stubs: list[Stub]) -> None:
    stubs[0].RepositoryModelUnload(
        Unload(
            model_name="shades",
            parameters={"unload_dependents": pb.ModelRepositoryParameter(bool_param=False)},
        ),
        timeout=60,
    )
    for stub in stubs:
        assert not stub.ModelReady(pb.ModelReadyRequest(name="shades"), timeout=60).ready
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(infer_request(ONE, "shades"), timeout=60)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert stub.ServerReady(pb.ServerReadyRequest(), timeout=60).ready
        assert ("shades", "3", "UNAVAILABLE") in _states(stub)

    stubs[1].RepositoryModelLoad(Load(model_name="shades"), timeout=60)
    for stub in stubs:
        assert stub.ModelReady(pb.ModelReadyRequest(name="shades"), timeout=60).ready
        assert stub.ModelInfer(infer_request(ONE, "shades"), timeout=60).model_version == "3"


def test_a_model_that_was_put_there_later_is_listed_and_can_be_loaded(
    stubs: list[Stub], root: Path, add_model: Callable[..., Path]
) -> None:
    add_model(root, "late", "7")
    assert ("late", "7", "UNAVAILABLE") in _states(stubs[0])

    stubs[0].RepositoryModelLoad(Load(model_name="late"), timeout=60)

    for stub in stubs:
        assert ("late", "7", "READY") in _states(stub, ready=True)
        assert stub.ModelMetadata(pb.ModelMetadataRequest(name="late"), timeout=60).versions == ["7"]


def test_a_model_that_is_refused_leaves_what_answers_and_says_why(stubs: list[Stub], root: Path) -> None:
    shutil.copytree(root / "hues" / "3", root / "hues" / "4")
    (root / "hues" / "4" / "model.onnx").write_bytes(b"no model")

    with pytest.raises(grpc.RpcError, match="cannot be loaded") as caught:
        stubs[0].RepositoryModelLoad(Load(model_name="hues"), timeout=60)

    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    for stub in stubs:
        assert stub.ModelInfer(infer_request(ONE, "hues"), timeout=60).model_version == "3"
    reasons = {
        (model.name, model.version): model.reason
        for model in stubs[0].RepositoryIndex(Index(), timeout=60).models
    }
    assert any("cannot be loaded" in reason for reason in reasons.values())


@pytest.mark.parametrize("error", [None, ModelError("the folder is gone")])
def test_concurrent_callers_share_one_scan_of_the_folder(error: Exception | None) -> None:
    scans = []

    class Folder:
        async def scan(self) -> None:
            scans.append(1)
            await asyncio.sleep(0)
            if error is not None:
                raise error

        def index(self) -> list[IndexEntry]:
            return [IndexEntry("model", 1, VersionState.READY, "")]

    async def main() -> list[bytes]:
        handlers = ModelRepositoryHandlers(Folder())  # type: ignore[arg-type]
        context: UnaryContext = None  # type: ignore[assignment] # the handler does not use it
        answers = await asyncio.gather(*(handlers.index(b"", context) for _ in range(50)))
        return [*answers, await handlers.index(b"", context)]

    answers = asyncio.run(main())

    assert len(answers) == 51
    assert len(set(answers)) == 1
    assert b"model" in answers[0]
    assert len(scans) == 2


def test_the_extension_is_listed(stubs: list[Stub]) -> None:
    metadata = stubs[0].ServerMetadata(pb.ServerMetadataRequest(), timeout=60)

    assert "model_repository" in metadata.extensions


# -- without the flag


def test_the_index_lists_every_version_and_those_that_are_ready(stub: Stub) -> None:
    assert _states(stub) == [
        ("colours", "1", "READY"),
        ("shades", "1", "UNAVAILABLE"),
        ("shades", "3", "READY"),
    ]
    assert _states(stub, ready=True) == [("colours", "1", "READY"), ("shades", "3", "READY")]


@pytest.mark.parametrize(
    ("method", "request_", "code", "message"),
    [
        ("RepositoryModelLoad", Load(model_name="colours"), "FAILED_PRECONDITION", "--model-control"),
        ("RepositoryModelUnload", Unload(model_name="colours"), "FAILED_PRECONDITION", "--model-control"),
        ("RepositoryModelLoad", Load(), "INVALID_ARGUMENT", "names no model"),
        ("RepositoryModelUnload", Unload(), "INVALID_ARGUMENT", "names no model"),
        (
            "RepositoryModelLoad",
            Load(model_name="colours", parameters={"config": pb.ModelRepositoryParameter(string_param="{}")}),
            "INVALID_ARGUMENT",
            "there are parameters (config), expected none",
        ),
        ("RepositoryIndex", Index(repository_name="x"), "INVALID_ARGUMENT", "there is one repository"),
        (
            "RepositoryModelLoad",
            Load(repository_name="x", model_name="y"),
            "INVALID_ARGUMENT",
            "there is one repository",
        ),
        (
            "RepositoryModelUnload",
            Unload(repository_name="x", model_name="y"),
            "INVALID_ARGUMENT",
            "there is one repository",
        ),
    ],
)
def test_what_is_not_allowed_is_refused(
    stub: Stub, method: str, request_: Any, code: str, message: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stub, method)(request_, timeout=60)

    assert caught.value.code().name == code
    assert message in str(caught.value.details())
