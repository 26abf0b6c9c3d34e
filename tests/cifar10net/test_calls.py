"""Calls of the clients: kinds of images, results and errors, chunking, retries and deadlines."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from concurrent import futures
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from PIL import Image

from cifar10net import AsyncClient, Client
from cifar10net.config import ClientConfig
from cifar10net.errors import ClientError, ConfigError, ImageError, ImageErrorCode, ServerUnavailableError
from cifar10net.pb import classifier_pb2 as pb
from cifar10net.pb import classifier_pb2_grpc
from service.server.health_check import check_health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cifar10net.messages import ImageResult


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _classify_async(
    server: str, images: Any, config: ClientConfig | None = None, **options: Any
) -> list[ImageResult]:
    async def main() -> list[ImageResult]:
        async with AsyncClient(server, config) as client:
            return await client.classify(images, **options)

    return asyncio.run(main())


def _classify_sync(
    server: str, images: Any, config: ClientConfig | None = None, **options: Any
) -> list[ImageResult]:
    with Client(server, config) as client:
        return client.classify(images, **options)


either = pytest.mark.parametrize("classify", [_classify_sync, _classify_async])


@either
def test_every_kind_of_image_gives_the_same_answer(
    server: str, tmp_path: Path, classify: Callable[..., list[ImageResult]]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    path = tmp_path / "image.png"
    path.write_bytes(_png(image))

    with Image.open(path) as opened:
        results = classify(
            server, [path, str(path), path.read_bytes(), opened, Image.fromarray(image), image]
        )

    assert len(results) == 6
    assert len({result.classes for result in results}) == 1
    assert (results[0].model, results[0].version, results[0].error) == ("colours", "1", None)
    assert results[0].best is results[0].classes[0]
    assert sum(each.probability for each in results[0].classes) == pytest.approx(1, abs=1e-6)


@either
@pytest.mark.parametrize(
    "config",
    [
        ClientConfig(),
        ClientConfig(call_images=7),
        ClientConfig(call_bytes=10_000),
        ClientConfig(call_images=1),
    ],
)
def test_long_lists_are_cut_and_put_together_in_order(
    server: str, coloured: np.ndarray, classify: Callable[..., list[ImageResult]], config: ClientConfig
) -> None:
    mixed = [_png(image) if index % 2 else image for index, image in enumerate(coloured)]

    separate = classify(server, mixed, config, top_k=1)
    packed = classify(server, coloured, config, top_k=1)

    assert [result.best.index for result in separate] == [index % 3 for index in range(90)]
    assert packed == separate
    assert classify(server, [], config) == []


@either
def test_a_bad_image_keeps_its_place_and_its_own_error(
    server: str, coloured: np.ndarray, tmp_path: Path, classify: Callable[..., list[ImageResult]]
) -> None:
    with Image.open(io.BytesIO(_png(coloured[0])[:-30])) as truncated:
        images = [coloured[0], tmp_path / "none.png", coloured[1], b"junk", truncated, tmp_path, coloured[2]]
        results = classify(server, images, ClientConfig(call_images=2))

    assert [result.error and result.error.code for result in results] == [
        None,
        ImageErrorCode.UNREADABLE_FILE,
        None,
        ImageErrorCode.UNSUPPORTED_FORMAT,
        ImageErrorCode.CORRUPT,
        ImageErrorCode.UNREADABLE_FILE,
        None,
    ]
    assert [results[index].best.index for index in (0, 2, 6)] == [0, 1, 2]
    assert str(results[3].error).startswith("begins with 6a 75 6e 6b")  # not images[1] of some call
    with pytest.raises(ImageError, match="No such file"):
        _ = results[1].best


@either
def test_only_bad_images_need_no_server(tmp_path: Path, classify: Callable[..., list[ImageResult]]) -> None:
    results = classify("127.0.0.1:1", [tmp_path / "none.png"])

    assert results[0].error is not None


@pytest.mark.parametrize(
    ("images", "kind", "message"),
    [
        ("cat.jpg", TypeError, "images is one str, wanted a list"),
        (np.zeros((32, 32, 3), np.uint8), TypeError, "images is one ndarray"),
        ([3], TypeError, r"images\[0\] is a int, wanted a path"),
        ([np.zeros((32, 32, 3))], ValueError, r"images\[0\] is an array float64 \(32, 32, 3\), wanted uint8"),
        ([np.zeros((32, 32), np.uint8)], ValueError, "wanted uint8"),
        (np.zeros((2, 16, 16, 3), np.uint8), ValueError, r"wanted uint8 \(n, 32, 32, 3\)"),
    ],
)
def test_what_is_no_image_is_a_programming_error(
    server: str, images: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        _classify_sync(server, images)


@either
def test_a_refused_call_says_why(
    server: str, coloured: np.ndarray, classify: Callable[..., list[ImageResult]]
) -> None:
    with pytest.raises(ClientError, match=r"answered NOT_FOUND: no model is called 'lenet'") as caught:
        classify(server, coloured, model="lenet")

    assert caught.value.code is grpc.StatusCode.NOT_FOUND


@either
def test_nobody_there_says_what_to_do(
    coloured: np.ndarray, classify: Callable[..., list[ImageResult]]
) -> None:
    with pytest.raises(ServerUnavailableError, match="is cifar10net serve running there"):
        classify("127.0.0.1:1", coloured, ClientConfig(max_attempts=1))


def test_models_are_listed_alike(server: str) -> None:
    async def ask() -> object:
        async with AsyncClient(server) as client:
            return await client.models()

    with Client(server) as client:
        models = client.models()

    assert asyncio.run(ask()) == models
    assert [(model.name, model.is_default) for model in models] == [("colours", True), ("shades", False)]


class _Flaky(classifier_pb2_grpc.ClassifierServicer):
    """Fails a few times before it answers, and counts the attempts."""

    def __init__(self) -> None:
        self.failures: list[grpc.StatusCode] = []
        self.attempts = 0
        self.forgets = 0
        self.answering = threading.Event()
        self.answering.set()

    def Classify(self, request: pb.ClassifyRequest, context: Any) -> pb.ClassifyResponse:  # noqa: N802
        self.attempts += 1
        if self.failures:
            context.abort(self.failures.pop(), "not now")
        assert self.answering.wait(60)
        n = len(request.images) or len(request.packed_pixels) // 3072
        result = pb.ImageResult(prediction=pb.Prediction(classes=[pb.ClassScore(label="cat", probability=1)]))
        return pb.ClassifyResponse(results=[result] * (n - self.forgets))

    def ClassifyStream(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:  # noqa: ARG002, N802
        return pb.ListModelsResponse()

    def GetStatistics(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError


@pytest.fixture
def flaky() -> Iterator[tuple[_Flaky, str]]:
    servicer = _Flaky()
    server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
    classifier_pb2_grpc.add_ClassifierServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(None).wait()


@either
@pytest.mark.parametrize("n", [1, 1000])  # 1000 exceed gRPC's default retry buffer
def test_unavailable_is_retried(
    flaky: tuple[_Flaky, str], classify: Callable[..., list[ImageResult]], n: int
) -> None:
    servicer, address = flaky
    servicer.failures = [grpc.StatusCode.UNAVAILABLE] * 2

    results = classify(address, np.zeros((n, 32, 32, 3), np.uint8))

    assert [result.best.label for result in results] == ["cat"] * n
    assert servicer.attempts == 3


@either
@pytest.mark.parametrize(
    "code", [grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT]
)
def test_nothing_else_is_retried(
    flaky: tuple[_Flaky, str], classify: Callable[..., list[ImageResult]], code: grpc.StatusCode
) -> None:
    servicer, address = flaky
    servicer.failures = [code]

    with pytest.raises(ClientError, match=f"answered {code.name}: not now"):
        classify(address, np.zeros((1, 32, 32, 3), np.uint8))

    assert servicer.attempts == 1


def test_retries_can_be_switched_off_and_the_last_failure_is_raised(flaky: tuple[_Flaky, str]) -> None:
    servicer, address = flaky
    servicer.failures = [grpc.StatusCode.UNAVAILABLE] * 9

    with pytest.raises(ServerUnavailableError, match="not now"):
        _classify_sync(address, np.zeros((1, 32, 32, 3), np.uint8), ClientConfig(max_attempts=1))

    assert servicer.attempts == 1


@either
def test_the_deadline_is_kept(flaky: tuple[_Flaky, str], classify: Callable[..., list[ImageResult]]) -> None:
    servicer, address = flaky
    servicer.answering.clear()  # no answer until the end of the test

    with pytest.raises(ClientError) as caught:
        classify(address, np.zeros((1, 32, 32, 3), np.uint8), ClientConfig(deadline_s=0.2))

    servicer.answering.set()
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


@either
def test_a_server_that_answers_too_few_is_an_error(
    flaky: tuple[_Flaky, str], classify: Callable[..., list[ImageResult]]
) -> None:
    servicer, address = flaky
    servicer.forgets = 1

    with pytest.raises(ClientError, match="answered 2 of 3 images"):
        classify(address, np.zeros((3, 32, 32, 3), np.uint8))


@either
def test_what_no_message_can_carry_fails_alone(
    server: str, coloured: np.ndarray, tmp_path: Path, classify: Callable[..., list[ImageResult]]
) -> None:
    path = tmp_path / "huge.bmp"
    with path.open("wb") as file:
        file.truncate(40 << 20)
    os.mkfifo(tmp_path / "fifo.png")

    results = classify(server, [coloured[0], path, bytes(32 << 20), tmp_path / "fifo.png", coloured[1]])

    assert [result.error and result.error.code.name for result in results] == [
        None, "TOO_LARGE", "TOO_LARGE", "UNREADABLE_FILE", None,
    ]  # fmt: skip


@pytest.mark.parametrize("server", ["", "127.0.0.1", "127.0.0.1:99999", "::1:50051", "a b:1", "http://x:1"])
def test_an_address_is_checked(server: str) -> None:
    with pytest.raises(ConfigError, match=r"wanted HOST:PORT such as 127\.0\.0\.1:50051"):
        Client(server)


def test_loopback_is_never_asked_through_a_proxy(
    server: str, coloured: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")

    assert _classify_sync(server, coloured[:1])[0].best.index == 0
    assert check_health(server, 5) == "SERVING"


@pytest.mark.parametrize(("name", "value"), [("deadline_s", 0), ("call_images", 4097), ("max_attempts", 6)])
def test_settings_are_checked(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"{name} is {value}, wanted"):
        ClientConfig(**{name: value})  # type: ignore[arg-type]
