"""The requests of the corpus: a few of every method, good and bad ones.

To be added to, never changed: what was recorded is what clients out there send.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from PIL import Image

from cifar10net.pb import classifier_pb2 as pb
from cifar10net.pb import inference_pb2
from tests.service.servicers.inference.requests import infer_request, output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

CLASSIFIER = "/cifar10net.v1.Classifier/"
INFERENCE = "/inference.GRPCInferenceService/"
HEALTH = "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/"


def _pictures(n: int, width: int = 32, height: int = 32) -> np.ndarray:
    """Smooth pictures, so that the files of them are small: uint8 (n, height, width, 3)."""
    rows, columns = np.mgrid[:height, :width]
    pictures = [
        np.stack([rows * 4 + 40 * each, columns * 3 + 20, (rows + columns) + 60], axis=-1) % 256
        for each in range(n)
    ]
    return np.stack(pictures).astype(np.uint8)


def _file(kind: str, picture: np.ndarray) -> pb.Image:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind)
    return pb.Image(encoded=buffer.getvalue())


def _classify(*images: pb.Image, **fields: object) -> pb.ClassifyRequest:
    return pb.ClassifyRequest(images=images, **fields)  # type: ignore[arg-type]


def _messages() -> dict[str, tuple[str, Sequence[Message]]]:
    two, large = _pictures(2), _pictures(1, 48, 40)[0]
    one = pb.Image(pixels=two[0].tobytes())
    grey = np.full((16, 20, 3), 120, np.uint8)
    packed = pb.ClassifyRequest(packed_pixels=two.tobytes())
    envelopes = [
        pb.ClassifyStreamRequest(id="a", request=packed),
        pb.ClassifyStreamRequest(id="b", request=_classify(one, model="none")),
        pb.ClassifyStreamRequest(id="c"),
        pb.ClassifyStreamRequest(request=_classify(one, top_k=1, priority=pb.PRIORITY_BULK)),
    ]
    name = {"name": "colours"}
    return {
        "classify-packed": (CLASSIFIER + "Classify", [packed]),
        "classify-pixels": (CLASSIFIER + "Classify", [_classify(one, model="colours", version="1", top_k=2)]),
        "classify-png": (CLASSIFIER + "Classify", [_classify(_file("PNG", large))]),
        "classify-files": (
            CLASSIFIER + "Classify",
            [_classify(*(_file(kind, grey) for kind in ("JPEG", "BMP", "GIF", "WEBP")), top_k=1)],
        ),
        "classify-bad-images": (
            CLASSIFIER + "Classify",
            [
                _classify(
                    one,
                    pb.Image(encoded=b"junk"),
                    pb.Image(),
                    pb.Image(pixels=b"short"),
                    pb.Image(encoded=_file("PNG", two[1]).encoded[:60]),
                    pb.Image(encoded=b"\x89PNG\r\n\x1a\n" + bytes(20)),
                )
            ],
        ),
        "classify-bulk": (CLASSIFIER + "Classify", [_classify(one, priority=pb.PRIORITY_BULK)]),
        "classify-unknown-model": (CLASSIFIER + "Classify", [_classify(one, model="none")]),
        "classify-unknown-version": (CLASSIFIER + "Classify", [_classify(one, version="9")]),
        "classify-no-classes": (CLASSIFIER + "Classify", [_classify(one, top_k=0)]),
        "classify-no-images": (CLASSIFIER + "Classify", [pb.ClassifyRequest()]),
        "classify-part-of-an-image": (CLASSIFIER + "Classify", [pb.ClassifyRequest(packed_pixels=bytes(99))]),
        "stream": (CLASSIFIER + "ClassifyStream", envelopes),
        "models": (CLASSIFIER + "ListModels", [pb.ListModelsRequest()]),
        "statistics": (CLASSIFIER + "GetStatistics", [pb.GetStatisticsRequest()]),
        "health": (HEALTH + "Check", [health_pb2.HealthCheckRequest()]),
        "health-of-a-model": (HEALTH + "Check", [health_pb2.HealthCheckRequest(service="colours")]),
        "health-unknown": (HEALTH + "Check", [health_pb2.HealthCheckRequest(service="none")]),
        "reflection": (
            REFLECTION + "ServerReflectionInfo",
            [reflection_pb2.ServerReflectionRequest(list_services="")],
        ),
        "live": (INFERENCE + "ServerLive", [inference_pb2.ServerLiveRequest()]),
        "ready": (INFERENCE + "ServerReady", [inference_pb2.ServerReadyRequest()]),
        "model-ready": (INFERENCE + "ModelReady", [inference_pb2.ModelReadyRequest(**name)]),
        "server-metadata": (INFERENCE + "ServerMetadata", [inference_pb2.ServerMetadataRequest()]),
        "model-metadata": (INFERENCE + "ModelMetadata", [inference_pb2.ModelMetadataRequest(**name)]),
        "model-config": (INFERENCE + "ModelConfig", [inference_pb2.ModelConfigRequest(**name)]),
        "model-statistics": (INFERENCE + "ModelStatistics", [inference_pb2.ModelStatisticsRequest(**name)]),
        "index": (INFERENCE + "RepositoryIndex", [inference_pb2.RepositoryIndexRequest()]),
        "load": (
            INFERENCE + "RepositoryModelLoad",
            [inference_pb2.RepositoryModelLoadRequest(model_name="colours")],
        ),
        "infer": (INFERENCE + "ModelInfer", [infer_request(two, id="7")]),
        "infer-classes": (
            INFERENCE + "ModelInfer",
            [infer_request(two, outputs=[output(classification=2)])],
        ),
        "infer-unknown-model": (INFERENCE + "ModelInfer", [infer_request(two, "none")]),
        "infer-stream": (
            INFERENCE + "ModelStreamInfer",
            [
                infer_request(two[:1], id="1"),
                infer_request(two[:1], "none", id="2"),
                infer_request(two, id="3"),
            ],
        ),
        "shared-memory": (
            INFERENCE + "SystemSharedMemoryStatus",
            [inference_pb2.SystemSharedMemoryStatusRequest()],
        ),
    }


def wanted() -> dict[str, tuple[str, tuple[bytes, ...]]]:
    """Return each exchange's method and messages by its name."""
    made = {
        name: (method, tuple(message.SerializeToString() for message in messages))
        for name, (method, messages) in _messages().items()
    }
    # A client of a later version may send what this one does not know.
    _, (known,) = made["classify-pixels"]
    made["classify-unknown-field"] = (CLASSIFIER + "Classify", (known + b"\xfa\x7f\x03new",))
    made["classify-junk"] = (CLASSIFIER + "Classify", (b"\xff\xff\xff",))
    return made
