"""Frames mean the same to hyperframe, an independent implementation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperframe.frame import GoAwayFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame
from hypothesis import given
from hypothesis import strategies as st

from service.http2 import frames
from service.http2.frames import ErrorCode, Setting
from tests.service.raw_client import parsed, raw_frame

if TYPE_CHECKING:
    from hyperframe.frame import Frame

STREAMS = st.integers(1, frames.LARGEST_STREAM_ID)


def _only(data: bytes) -> Frame:
    (frame,), rest = parsed(data)
    assert not rest
    return frame


@given(
    st.integers(0, 9),
    st.integers(0, 255),
    st.integers(0, frames.LARGEST_STREAM_ID),
    st.integers(0, 70_000).map(bytes),
)
def test_a_frame_is_its_head_and_its_payload(kind: int, flags: int, stream_id: int, payload: bytes) -> None:
    assert frames.frame(kind, flags, stream_id, payload) == raw_frame(kind, flags, stream_id, payload)


@given(st.dictionaries(st.sampled_from(Setting), st.integers(0, 2**32 - 1)))
def test_settings_are_read_as_they_were_written(values: dict[Setting, int]) -> None:
    frame = _only(frames.settings(values))

    assert isinstance(frame, SettingsFrame)
    assert (frame.stream_id, frame.settings) == (0, values)
    assert dict(frames.read_settings(frame.serialize_body())) == values


@given(STREAMS, st.sampled_from(ErrorCode))
def test_a_reset_says_which_stream_and_why(stream_id: int, code: ErrorCode) -> None:
    frame = _only(frames.reset(stream_id, code))

    assert isinstance(frame, RstStreamFrame)
    assert (frame.stream_id, frame.error_code) == (stream_id, code)


@given(st.integers(0, frames.LARGEST_STREAM_ID), st.integers(1, frames.LARGEST_WINDOW))
def test_a_window_update_says_which_and_by_how_much(stream_id: int, increment: int) -> None:
    frame = _only(frames.window_update(stream_id, increment))

    assert isinstance(frame, WindowUpdateFrame)
    assert (frame.stream_id, frame.window_increment) == (stream_id, increment)


@given(STREAMS, st.sampled_from(ErrorCode), st.binary(max_size=300))
def test_a_goaway_has_the_last_stream_and_the_reason(last: int, code: ErrorCode, reason: bytes) -> None:
    frame = _only(frames.go_away(last, code, reason))

    assert isinstance(frame, GoAwayFrame)
    assert (frame.last_stream_id, frame.error_code, frame.additional_data) == (last, code, reason)


@given(st.integers(0, 2**32 - 1))
def test_the_reserved_bit_is_not_read(value: int) -> None:
    assert frames.read_uint31(value.to_bytes(4, "big")) == value % 2**31
