"""A JPEG cannot make the server work by repeating its scans."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cifar10net.errors import ImageError, ImageErrorCode
from service.config import ImageLimits
from service.images.decode import MAX_SCANS, MAX_SCANS_AT_MOST_PIXELS, from_encoded
from service.images.jpeg_scans import count_scans

if TYPE_CHECKING:
    from pathlib import Path

_SIDE = 400
_LIMITS = ImageLimits(max_pixels=_SIDE * _SIDE)


def _jpeg(mode: str = "L", side: int = _SIDE, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.radial_gradient("L").resize((side, side)).convert(mode).save(file, "JPEG", quality=50, **options)
    return file.getvalue()


def _repeated(data: bytes, times: int) -> bytes:
    """Repeat the last scan."""
    scan = data[data.rfind(b"\xff\xda") : -2]
    return data[:-2] + scan * times + data[-2:]


@pytest.mark.parametrize(
    ("mode", "options", "scans"),
    [
        ("L", {}, 1),
        ("RGB", {}, 1),
        ("L", {"progressive": True}, 6),
        ("RGB", {"progressive": True}, 10),
        ("CMYK", {"progressive": True}, 18),
    ],
    ids=str,
)
def test_scans_are_counted(mode: str, options: dict[str, Any], scans: int) -> None:
    data = _jpeg(mode, **options)

    assert count_scans(data, MAX_SCANS) == scans
    assert from_encoded(data, _LIMITS).shape == (32, 32, 3)
    assert count_scans(_repeated(data, 7), MAX_SCANS) == scans + 7


def test_restart_markers_and_thumbnails_are_no_scans() -> None:
    thumbnail = b"Exif\0\0" + _jpeg(side=64)

    assert count_scans(_jpeg(restart_marker_rows=1, exif=thumbnail), MAX_SCANS) == 1


@pytest.mark.parametrize(("side", "most"), [(_SIDE, MAX_SCANS_AT_MOST_PIXELS), (_SIDE // 10, MAX_SCANS)])
def test_a_picture_has_at_most_so_many_scans(side: int, most: int) -> None:
    data = _jpeg(side=side, progressive=True)
    scans = count_scans(data, MAX_SCANS)

    assert from_encoded(_repeated(data, most - scans), _LIMITS).shape == (32, 32, 3)
    with pytest.raises(ImageError, match=f"more than {most} scans of {side**2:,} pixels") as caught:
        from_encoded(_repeated(data, most - scans + 1), _LIMITS)
    assert caught.value.code is ImageErrorCode.TOO_LARGE


def test_counting_ends_at_the_limit() -> None:
    assert count_scans(_repeated(_jpeg(progressive=True), 1_000), 20) == 21


@given(data=st.binary(max_size=300), cut=st.integers(0, 2_000))
def test_any_bytes_can_be_counted(data: bytes, cut: int) -> None:
    assert 0 <= count_scans(_jpeg(side=40, progressive=True)[:cut] + data, 50) <= 51


def test_the_sample_photographs_have_few(root: Path) -> None:
    for path in (root / "examples" / "images").glob("*.jpg"):
        assert 1 <= count_scans(path.read_bytes(), MAX_SCANS) <= 12
