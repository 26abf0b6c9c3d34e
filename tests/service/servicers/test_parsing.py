"""Elements are counted correctly before a message is parsed; anything else is the sender's fault."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifar10net.pb import classifier_pb2 as pb
from service.errors import InvalidRequestError
from service.servicers.parsing import FieldLimits, check_fields, count_elements, parse

_images = st.lists(st.builds(pb.Image, pixels=st.binary(max_size=5)), max_size=30)
_requests = st.builds(
    pb.ClassifyRequest, model=st.text(max_size=300), top_k=st.integers(0, 2**32 - 1), images=_images
)
_filler = pb.ClassifyRequest(packed_pixels=bytes(100)).SerializeToString()  # makes a message long enough


@given(request=_requests)
def test_images_are_counted_as_they_would_be_parsed(request: pb.ClassifyRequest) -> None:
    data = _filler + request.SerializeToString()

    assert count_elements(data, (4,), 40) == len(request.images)
    assert count_elements(data, (4,), 10) == min(len(request.images), 11)


@given(requests=st.lists(_requests, max_size=3), name=st.text(max_size=20))
def test_images_of_messages_inside_are_counted(requests: list[pb.ClassifyRequest], name: str) -> None:
    pieces = [pb.ClassifyStreamRequest(id=name, request=request).SerializeToString() for request in requests]
    data = b"".join(pieces) + pb.ClassifyStreamRequest(id="x" * 300).SerializeToString()

    assert count_elements(data, (2, 4), 100) == sum(len(request.images) for request in requests)
    assert count_elements(data, (2, 4), 100) == len(pb.ClassifyStreamRequest.FromString(data).request.images)


@given(data=st.binary(min_size=20, max_size=200))
def test_any_bytes_are_counted_or_refused(data: bytes) -> None:
    try:
        n = count_elements(data, (4,), 5)
        request = parse(pb.ClassifyRequest, data)
    except InvalidRequestError:
        return
    assert n == min(6, len(request.images))


def test_a_message_that_is_too_short_to_have_too_many_is_not_counted() -> None:
    assert count_elements(b"\xff" * 10, (4,), 5) == 0
    with pytest.raises(InvalidRequestError):
        count_elements(b"\xff" * 11, (4,), 5)


@pytest.mark.parametrize(
    ("path", "filler"), [((4,), b"\x18\x01"), ((4,), b"\x7a\x00"), ((2, 4), b"\x12\x00")]
)
def test_other_fields_are_limited_too(path: tuple[int, ...], filler: bytes) -> None:
    assert count_elements(filler * 1_000, path, 5) == 0
    with pytest.raises(InvalidRequestError, match="more than 1,000 fields"):
        count_elements(filler * 1_001, path, 5)


LIMITS = FieldLimits(
    pb.ClassifyStreamRequest.DESCRIPTOR,
    max_bytes={1: 5},
    nested={2: FieldLimits(pb.ClassifyRequest.DESCRIPTOR, max_bytes={5: 10})},
)


@given(requests=st.lists(_requests, max_size=5))
def test_fields_of_nested_messages_are_counted(requests: list[pb.ClassifyRequest]) -> None:
    pieces = [pb.ClassifyStreamRequest(request=request).SerializeToString() for request in requests]
    fields = len(pieces) + sum(
        bool(request.model) + request.HasField("top_k") + len(request.images) for request in requests
    )

    check_fields(b"".join(pieces), LIMITS, fields)
    if fields:
        with pytest.raises(InvalidRequestError, match=f"more than {fields - 1:,} fields"):
            check_fields(b"".join(pieces), LIMITS, fields - 1)


@pytest.mark.parametrize(
    ("fits", "is_over", "complaint"),
    [
        (
            pb.ClassifyStreamRequest(id="12345"),
            pb.ClassifyStreamRequest(id="123456"),
            r"ClassifyStreamRequest\.id has 6 bytes, expected at most 5",
        ),
        (
            pb.ClassifyStreamRequest(request=pb.ClassifyRequest(packed_pixels=bytes(10))),
            pb.ClassifyStreamRequest(request=pb.ClassifyRequest(packed_pixels=bytes(11))),
            r"ClassifyRequest\.packed_pixels has 11 bytes, expected at most 10",
        ),
    ],
)
def test_a_field_over_its_limit_is_named(
    fits: pb.ClassifyStreamRequest, is_over: pb.ClassifyStreamRequest, complaint: str
) -> None:
    check_fields(fits.SerializeToString(), LIMITS, 9)
    with pytest.raises(InvalidRequestError, match=complaint):
        check_fields(is_over.SerializeToString(), LIMITS, 9)


@given(data=st.binary(max_size=200))
def test_checking_any_bytes_only_ever_refuses_them(data: bytes) -> None:
    with contextlib.suppress(InvalidRequestError):
        check_fields(data, LIMITS, 20)
