"""A status as header fields: whatever its message says, it fits and comes back."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Code, InvalidRequestError, MessageTooLargeError
from service.rpc.response_headers import percent_encoded, trailers, trailers_only
from service.rpc.status import Status, status_of


def _fields(block: bytes) -> dict[bytes, bytes]:
    return dict(Decoder().decode(block, raw=True))


@given(st.text(max_size=300))
def test_any_message_comes_back(message: str) -> None:
    fields = _fields(trailers(Status(Code.NOT_FOUND, message)))

    assert fields[b"grpc-status"] == b"5"
    assert unquote_to_bytes(fields[b"grpc-message"]).decode() == message
    assert fields[b"grpc-message"].isascii()


def test_what_no_encoding_has_is_replaced() -> None:
    assert percent_encoded("a\ud800b") == b"a?b"


def test_a_message_of_any_length_fits_into_a_frame_and_into_a_line_of_the_log() -> None:
    status = status_of(InvalidRequestError("犬" * 100_000)).with_metadata("more", "metadata")

    assert len(status.message) == 1_000
    assert len(trailers_only(status)) < 16_384
    assert _fields(trailers(status))[b"more"] == b"metadata"


def test_an_error_of_ours_says_what_it_says_and_any_other_nothing() -> None:
    assert status_of(InvalidRequestError("why")) == Status(Code.INVALID_ARGUMENT, "why")
    assert status_of(MessageTooLargeError("much")).metadata == {"grpc-retry-pushback-ms": "-1"}
    error = ValueError("secret")

    failed = status_of(error)

    assert (failed.code, failed.failure) == (Code.INTERNAL, error)
    assert not any(b"secret" in value for value in _fields(trailers_only(failed)).values())
