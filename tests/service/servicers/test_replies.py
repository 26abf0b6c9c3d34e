"""Responses put together from prepared bytes mean what the protobuf library would have written."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cifar10net.errors import ImageError, ImageErrorCode
from cifar10net.pb import classifier_pb2 as pb
from service.runtime.model import ModelInfo
from service.servicers.replies import ClassifyResponseWriter, encode_field
from tests.service.servicers.message_fields import unset_fields

_labels = st.lists(st.text(min_size=1, max_size=300), min_size=1, max_size=12, unique=True)


def _expected(
    info: ModelInfo, answers: np.ndarray, errors: dict[int, ImageError], n: int, top_k: int
) -> pb.ClassifyResponse:
    response = pb.ClassifyResponse(model=info.name, version=str(info.version))
    rows = iter(answers)
    for index in range(n):
        result = response.results.add()
        if index in errors:
            result.error.code = pb.ImageError.Code.Value(f"CODE_{errors[index].code.name}")
            result.error.message = f"images[{index}] {errors[index].message}"
            continue
        row = next(rows)
        order = sorted(range(len(row)), key=lambda label, row=row: (-row[label], label))[:top_k]  # type: ignore[misc]
        for label in order:
            result.prediction.classes.add(index=label, label=info.labels[label], probability=row[label])
    return response


@given(data=st.data(), labels=_labels, n=st.integers(1, 20), top_k=st.integers(1, 10))
def test_a_reply_means_what_the_library_would_have_written(
    data: st.DataObject, labels: list[str], n: int, top_k: int
) -> None:
    broken = data.draw(st.sets(st.integers(0, n - 1)))
    code = data.draw(st.sampled_from([code for code in ImageErrorCode if code.value >= 0]))
    errors = {index: ImageError(code, "is broken") for index in broken}
    shape = (n - len(broken), len(labels))
    probabilities = st.floats(0, 1, width=32) | st.sampled_from([0.0, 0.25, 0.5])
    answers = data.draw(arrays.arrays(np.float32, shape, elements=probabilities))
    info = ModelInfo("colours", 3, tuple(labels), "CPUExecutionProvider", {})

    reply = ClassifyResponseWriter(info).write(answers, errors, n, top_k)

    assert pb.ClassifyResponse.FromString(reply) == _expected(info, answers, errors, n, top_k)


def test_no_field_of_the_proto_is_forgotten() -> None:
    info = ModelInfo("colours", 3, ("red", "green"), "CPUExecutionProvider", {})
    errors = {1: ImageError(ImageErrorCode.CORRUPT, "is broken")}

    reply = ClassifyResponseWriter(info).write(np.array([[0.25, 0.75]], np.float32), errors, 2, 2)

    assert unset_fields(pb.ClassifyResponse.FromString(reply)) == set()


@given(content=st.binary(max_size=40_000), number=st.integers(1, 3_000))
def test_a_field_is_read_back(content: bytes, number: int) -> None:
    message = pb.ClassifyStreamResponse()

    message.ParseFromString(encode_field(2, pb.ClassifyResponse(model=str(number)).SerializeToString()))
    unknown = pb.ClassifyRequest.FromString(encode_field(5, content))

    assert message.response.model == str(number)
    assert unknown.packed_pixels == content
