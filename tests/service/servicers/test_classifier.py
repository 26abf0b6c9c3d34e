"""The wire contract of a real server process: each rule of the proto, and requests that break it."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cifar10net.pb import classifier_pb2 as pb
from cifar10net.pb import classifier_pb2_grpc
from tests.service.colours import COLOURS, expected_probabilities

if TYPE_CHECKING:
    from collections.abc import Iterator

METHOD = "/cifar10net.v1.Classifier/Classify"
REFUSED = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)


@pytest.fixture(scope="module")
def channel(server: str) -> Iterator[grpc.Channel]:
    limit = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(server, options=limit) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> classifier_pb2_grpc.ClassifierStub:
    return classifier_pb2_grpc.ClassifierStub(channel)


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _refusal(stub: classifier_pb2_grpc.ClassifierStub, request: pb.ClassifyRequest) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Classify(request, timeout=60)
    return caught.value


def test_every_form_of_an_image_gives_the_same_answer(
    stub: classifier_pb2_grpc.ClassifierStub, coloured: np.ndarray
) -> None:
    forms = [
        pb.ClassifyRequest(images=[pb.Image(pixels=image.tobytes()) for image in coloured]),
        pb.ClassifyRequest(images=[pb.Image(encoded=_png(image)) for image in coloured]),
        pb.ClassifyRequest(packed_pixels=coloured.tobytes()),
    ]

    answers = [stub.Classify(request, timeout=60) for request in forms]

    assert answers[0] == answers[1] == answers[2]
    assert (answers[0].model, answers[0].version) == ("colours", "1")
    expected = expected_probabilities(coloured)
    for result, probabilities in zip(answers[0].results, expected, strict=True):
        classes = result.prediction.classes
        assert [each.index for each in classes] == np.argsort(-probabilities).tolist()
        assert [each.label for each in classes] == [COLOURS[each.index] for each in classes]
        found = [each.probability for each in classes]
        assert np.allclose(found, np.sort(probabilities)[::-1], atol=1e-5)


@pytest.mark.parametrize(("top_k", "given_back"), [(None, 3), (1, 1), (2, 2), (10, 3)])
def test_top_k_is_three_by_default_and_never_more_than_the_classes(
    stub: classifier_pb2_grpc.ClassifierStub, top_k: int | None, given_back: int
) -> None:
    response = stub.Classify(pb.ClassifyRequest(packed_pixels=bytes(3072), top_k=top_k), timeout=60)

    assert len(response.results[0].prediction.classes) == given_back


def test_equal_probabilities_come_by_index(stub: classifier_pb2_grpc.ClassifierStub) -> None:
    response = stub.Classify(pb.ClassifyRequest(packed_pixels=bytes(3072)), timeout=60)

    assert [each.index for each in response.results[0].prediction.classes] == [0, 1, 2]


def test_one_broken_image_among_64_leaves_63_answers(
    stub: classifier_pb2_grpc.ClassifierStub, coloured: np.ndarray
) -> None:
    images = [pb.Image(encoded=_png(image)) for image in coloured[:64]]
    images[37] = pb.Image(encoded=images[37].encoded[:-40])

    results = stub.Classify(pb.ClassifyRequest(images=images), timeout=60).results

    assert [result.WhichOneof("outcome") for result in results].count("prediction") == 63
    assert results[37].error.code == pb.ImageError.CODE_CORRUPT
    assert results[37].error.message.startswith("images[37] cannot be decoded")
    best = [result.prediction.classes[0].index for index, result in enumerate(results) if index != 37]
    assert best == [index % 3 for index in range(64) if index != 37]


def test_each_kind_of_bad_image_has_its_own_error(stub: classifier_pb2_grpc.ClassifierStub) -> None:
    bad = {
        pb.ImageError.CODE_EMPTY: pb.Image(),
        pb.ImageError.CODE_UNSUPPORTED_FORMAT: pb.Image(encoded=b"<svg/>"),
        pb.ImageError.CODE_CORRUPT: pb.Image(encoded=_png(np.zeros((32, 32, 3), np.uint8))[:-20]),
        pb.ImageError.CODE_TOO_LARGE: pb.Image(encoded=_png(np.zeros((1001, 1000, 3), np.uint8))),
        pb.ImageError.CODE_WRONG_SIZE: pb.Image(pixels=bytes(3071)),
    }

    results = stub.Classify(pb.ClassifyRequest(images=bad.values()), timeout=60).results

    assert [result.error.code for result in results] == list(bad)
    assert results[4].error.message == "images[4] has 3,071 bytes, expected 3,072 (32x32 RGB, row by row)"


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (pb.ClassifyRequest(), "INVALID_ARGUMENT", "the request has 0 images, expected 1 to 4,096"),
        (
            pb.ClassifyRequest(packed_pixels=bytes(3072), top_k=0),
            "INVALID_ARGUMENT",
            "top_k is 0, expected 1 to 10",
        ),
        (pb.ClassifyRequest(packed_pixels=bytes(3072), top_k=11), "INVALID_ARGUMENT", "top_k is 11"),
        (pb.ClassifyRequest(packed_pixels=bytes(3071)), "INVALID_ARGUMENT", "expected a multiple of 3,072"),
        (
            pb.ClassifyRequest(packed_pixels=bytes(3072), images=[pb.Image()]),
            "INVALID_ARGUMENT",
            "images and packed_pixels, expected one",
        ),
        (pb.ClassifyRequest(packed_pixels=bytes(3072 * 4097)), "INVALID_ARGUMENT", "has 4,097 images"),
        (
            pb.ClassifyRequest(packed_pixels=bytes(3072), model="lenet"),
            "NOT_FOUND",
            "there are: colours, shades",
        ),
        (
            pb.ClassifyRequest(packed_pixels=bytes(3072), version="7"),
            "NOT_FOUND",
            "has no version '7'; it has: 1",
        ),
        (pb.ClassifyRequest(packed_pixels=bytes(40 << 20)), "RESOURCE_EXHAUSTED", ""),
    ],
)
def test_a_request_that_breaks_a_rule_is_refused_with_a_reason(
    stub: classifier_pb2_grpc.ClassifierStub, request_: pb.ClassifyRequest, code: str, message: str
) -> None:
    refusal = _refusal(stub, request_)

    assert refusal.code().name == code
    assert message in str(refusal.details())


def test_another_model_and_version_answer_when_asked(stub: classifier_pb2_grpc.ClassifierStub) -> None:
    response = stub.Classify(
        pb.ClassifyRequest(packed_pixels=bytes(3072), model="shades", version="3"), timeout=20
    )

    assert (response.model, response.version) == ("shades", "3")


def test_list_models_describes_each(stub: classifier_pb2_grpc.ClassifierStub) -> None:
    models = stub.ListModels(pb.ListModelsRequest(), timeout=60).models

    assert [(model.name, model.version, model.is_default) for model in models] == [
        ("colours", "1", True),
        ("shades", "3", False),
    ]
    assert models[0].labels == ["red", "green", "blue"]
    assert models[0].provider == "CPUExecutionProvider"
    assert models[0].metadata == {"accuracy_top1": "1.0"}


@pytest.mark.parametrize("form", ["packed", "separate"])
def test_4096_raw_images_fit_in_one_call(
    stub: classifier_pb2_grpc.ClassifierStub, coloured: np.ndarray, form: str
) -> None:
    images = np.resize(coloured, (4096, 32, 32, 3))
    request = (
        pb.ClassifyRequest(packed_pixels=images.tobytes())
        if form == "packed"
        else pb.ClassifyRequest(images=[pb.Image(pixels=image.tobytes()) for image in images])
    )

    results = stub.Classify(request, timeout=60).results

    assert [result.prediction.classes[0].index for result in results] == [i % 90 % 3 for i in range(4096)]


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests_are_accepted_and_cannot_be_bombs(
    stub: classifier_pb2_grpc.ClassifierStub, compression: grpc.Compression
) -> None:
    small = pb.ClassifyRequest(packed_pixels=bytes(3072 * 100))
    bomb = pb.ClassifyRequest(packed_pixels=bytes(64 << 20))

    assert len(stub.Classify(small, timeout=60, compression=compression).results) == 100
    with pytest.raises(grpc.RpcError) as caught:
        stub.Classify(bomb, timeout=60, compression=compression)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_concurrent_callers_get_their_own_answers(
    stub: classifier_pb2_grpc.ClassifierStub, coloured: np.ndarray
) -> None:
    def ask(start: int) -> list[int]:
        images = coloured[start : start + 1 + start % 7]
        results = stub.Classify(pb.ClassifyRequest(packed_pixels=images.tobytes()), timeout=60).results
        return [result.prediction.classes[0].index for result in results]

    starts = [number % 83 for number in range(300)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, starts))

    assert answers == [[(start + i) % 3 for i in range(1 + start % 7)] for start in starts]


_bytes_of_an_image = st.binary(max_size=300) | st.just(bytes(3072)) | st.binary(min_size=3070, max_size=3073)
_images = st.lists(
    st.builds(pb.Image, encoded=_bytes_of_an_image)
    | st.builds(pb.Image, pixels=_bytes_of_an_image)
    | st.builds(pb.Image),
    max_size=5,
)
_slow = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_slow
@given(
    request_=st.builds(
        pb.ClassifyRequest,
        model=st.sampled_from(["", "colours", "shades", "x", "../etc"]),
        version=st.sampled_from(["", "1", "01", "-1", "x" * 1000]),
        top_k=st.none() | st.integers(0, 12) | st.just(2**32 - 1),
        images=_images,
        packed_pixels=st.just(b"") | st.just(bytes(6144)) | st.binary(max_size=50),
    )
)
def test_any_request_is_answered_or_refused_as_the_callers_fault(
    stub: classifier_pb2_grpc.ClassifierStub, request_: pb.ClassifyRequest
) -> None:
    outcome = stub.Classify.future(request_, timeout=60)

    if outcome.exception() is None:
        results = outcome.result().results
        assert len(results) == len(request_.images) + len(request_.packed_pixels) // 3072
        assert all(result.WhichOneof("outcome") for result in results)
    else:
        assert outcome.code() in REFUSED, outcome.details()


@_slow
@given(data=st.binary(max_size=200))
def test_any_bytes_are_answered_or_refused_as_the_callers_fault(channel: grpc.Channel, data: bytes) -> None:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)

    outcome = call.future(data, timeout=60)

    assert outcome.exception() is None or outcome.code() in REFUSED, outcome.details()


def test_a_method_that_does_not_exist_is_unimplemented(channel: grpc.Channel) -> None:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        "/cifar10net.v1.Classifier/Clasify"
    )

    with pytest.raises(grpc.RpcError) as caught:
        call(b"", timeout=60)

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
