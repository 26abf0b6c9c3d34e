"""A servicer skips work for calls that are too late, and finishes what it has accepted when it stops."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hyperframe.frame import DataFrame, SettingsFrame, WindowUpdateFrame

from cifar10net.pb import classifier_pb2 as pb
from service.batching.admission import Admission
from service.config import ImageLimits, ServerConfig
from service.errors import Code, DeadlineError
from service.observability.observers import Observer, Request
from service.repository import Loaded, Repository
from service.servicers import decoding
from service.servicers.classifier import ClassifierServicer
from tests.service.in_process import Line, server_of, until
from tests.service.raw_client import PREFACE, framed
from tests.service.servicers.gated_model import GatedModel

if TYPE_CHECKING:
    from service.rpc.context import UnaryContext

STREAM = "/cifar10net.v1.Classifier/ClassifyStream"


def _servicer(model: Any, max_images: int = 10_000, observer: Observer | None = None) -> ClassifierServicer:
    repository = Repository()
    repository.open(Loaded([(model,)]), ServerConfig())
    return ClassifierServicer(repository, Admission(max_images), decoding.Decoder(1, ImageLimits()), observer)


def test_pictures_of_a_call_that_is_too_late_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    monkeypatch.setattr(decoding, "from_encoded", lambda data, *_: decoded.append(data))
    message = pb.ClassifyRequest(images=[pb.Image(encoded=b"picture")] * 9).SerializeToString()

    async def main() -> None:
        servicer = _servicer(GatedModel())

        class Late:
            deadline_s = asyncio.get_running_loop().time() - 1
            images = 0

        late: UnaryContext = Late()  # type: ignore[assignment]
        with pytest.raises(DeadlineError):
            await servicer.classify(message, late)

    asyncio.run(main())
    assert decoded == []


def test_a_request_beyond_capacity_is_observed_with_its_model() -> None:
    requests: list[Request] = []

    class Listener(Observer):
        def on_request(self, request: Request) -> None:
            requests.append(request)

    async def main() -> None:
        line = Line(server_of(*_servicer(GatedModel(), max_images=2, observer=Listener()).methods()))
        line.open(1, "/cifar10net.v1.Classifier/Classify")
        message = pb.ClassifyRequest(packed_pixels=bytes(3 * 3072)).SerializeToString()
        line.send(DataFrame(1, framed(message), flags=["END_STREAM"]))
        await until(lambda: requests)
        line.transport.close()

    asyncio.run(main())
    [request] = requests
    assert request.model is GatedModel.info
    assert (request.code, request.images) == (Code.RESOURCE_EXHAUSTED, 3)


@pytest.mark.parametrize(("has_ended", "status"), [(True, b"0"), (False, b"14")])
def test_a_stop_is_no_failure_of_a_stream_that_is_wholly_answered(has_ended: bool, status: bytes) -> None:  # noqa: FBT001
    request = pb.ClassifyStreamRequest(id="x", request=pb.ClassifyRequest(packed_pixels=bytes(3072)))

    async def main() -> bytes:
        model = GatedModel()
        server = server_of(*_servicer(model).methods())
        line = Line(server, greet=False)
        line.send(PREFACE, SettingsFrame(0), WindowUpdateFrame(0, 1 << 20))
        line.open(1, STREAM)
        flags = ["END_STREAM"] if has_ended else []
        line.send(DataFrame(1, framed(request.SerializeToString()), flags=flags))
        assert await asyncio.to_thread(model.entered.wait, 60)
        draining = asyncio.ensure_future(server.drain(60))
        await asyncio.sleep(0)
        model.opened.set()
        await until(lambda: not line.connection.streams)
        written = line.transport.written
        line.transport.close()
        await draining
        await server.close()
        return written

    written = asyncio.run(main())
    assert b"gated" in written  # the answer
    assert b"grpc-status" + bytes([len(status)]) + status in written
