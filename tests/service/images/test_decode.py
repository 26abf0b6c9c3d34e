"""Any picture becomes the right 32x32 pixels, and anything else an error that says why."""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from cifar10net.errors import ImageError, ImageErrorCode
from service.config import ImageLimits
from service.images.decode import FORMATS, fit, from_encoded, from_pixels

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = ImageLimits(max_bytes=300_000, max_pixels=1_000_000)
NOISE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _gradient(width: int, height: int) -> Image.Image:
    """Make a smooth picture without symmetry: red grows to the right, green downwards, blue both."""
    right, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 200, height))
    return Image.fromarray(np.stack([right, down, (right + down) / 2], axis=-1).astype(np.uint8))


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 90})]
)
def test_a_32x32_picture_passes_untouched(kind: str, options: dict[str, Any]) -> None:
    data = _encode(Image.fromarray(NOISE), kind, **options)

    pixels = from_encoded(data, LIMITS)

    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    if kind != "JPEG":
        assert np.array_equal(pixels, NOISE)
    assert np.array_equal(from_pixels(pixels.tobytes()), pixels)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(32, 32), (50, 40)])
def test_every_mode_of_png_becomes_rgb(mode: str, size: tuple[int, int]) -> None:
    grey = Image.new("L", size, 255 if mode == "1" else 96)
    image = (
        Image.fromarray(np.full(size[::-1], 96 * 257, np.uint16)) if mode == "I;16" else grey.convert(mode)
    )

    pixels = from_encoded(_encode(image, "PNG"), LIMITS)

    assert pixels.shape == (32, 32, 3)
    assert np.unique(pixels).tolist() == [255 if mode == "1" else 96]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "BMP"])
def test_other_formats_and_modes_become_rgb(kind: str) -> None:
    for mode in {"JPEG": ("L", "RGB", "CMYK"), "BMP": ("1", "L", "P", "RGB")}.get(kind, ("RGB",)):
        data = _encode(Image.new("RGB", (64, 48), (255, 255, 255)).convert(mode), kind)

        assert from_encoded(data, LIMITS).min() >= 250


@pytest.mark.parametrize("size", [(32, 32), (70, 50)])
def test_transparency_is_laid_on_white(size: tuple[int, int]) -> None:
    half = Image.new("RGBA", size, (0, 0, 0, 128))
    clear = Image.new("RGBA", size, (255, 0, 0, 0))
    palette = Image.new("P", size, 1)
    palette.putpalette([0, 0, 0, 200, 10, 10])

    assert np.unique(from_encoded(_encode(half, "PNG"), LIMITS)).tolist() == [127]
    assert np.unique(from_encoded(_encode(clear, "WEBP"), LIMITS)).tolist() == [255]
    assert np.unique(from_encoded(_encode(palette, "PNG", transparency=1), LIMITS)).tolist() == [255]
    assert np.unique(from_encoded(_encode(palette, "GIF", transparency=1), LIMITS)).tolist() == [255]
    for depth, value in ((8, b"\x07"), (16, b"\x07\x00")):
        rows = (b"\0" + value * 32) * 32
        header = b"IHDR" + bytes([0, 0, 0, 32]) * 2 + bytes([depth, 0, 0, 0, 0])
        grey = _png(header, b"tRNS" + value.rjust(2, b"\0"), b"IDAT" + zlib.compress(rows), b"IEND")
        assert np.unique(from_encoded(grey, LIMITS)).tolist() == [255]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "size"), [("JPEG", (300, 200)), ("PNG", (40, 60)), ("WEBP", (32, 32))])
def test_exif_orientation_is_applied(orientation: int, kind: str, size: tuple[int, int]) -> None:
    upright = _gradient(*size)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}

    pixels = from_encoded(_encode(stored, kind, exif=exif, **options), LIMITS)

    difference = np.abs(pixels.astype(int) - fit(upright).astype(int))
    assert difference.max() <= 12 if kind == "JPEG" else difference.max() <= 2


@pytest.mark.parametrize("value", [0, 9, 255])
def test_a_senseless_orientation_is_ignored(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value

    assert np.array_equal(from_encoded(_encode(Image.fromarray(NOISE), "PNG", exif=exif), LIMITS), NOISE)


def test_damaged_exif_leaves_the_picture() -> None:
    data = _encode(Image.fromarray(NOISE), "PNG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff garbage")

    assert np.array_equal(from_encoded(data, LIMITS), NOISE)


@pytest.mark.parametrize("size", [(96, 32), (32, 96)])
def test_the_central_square_is_kept(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, "black")
    image.paste(Image.fromarray(NOISE), ((size[0] - 32) // 2, (size[1] - 32) // 2))

    assert np.array_equal(from_encoded(_encode(image, "PNG"), LIMITS), NOISE)


def test_reduction_averages_rather_than_picks() -> None:
    board = (np.indices((320, 320)).sum(axis=0) % 2 * 255).astype(np.uint8)

    pixels = from_encoded(_encode(Image.fromarray(board), "PNG"), LIMITS)

    assert 118 <= pixels.min() <= pixels.max() <= 137  # nearest-neighbour would give 0 and 255


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (1, 400), (31, 33)])
def test_small_and_thin_pictures_are_enlarged(size: tuple[int, int]) -> None:
    data = _encode(Image.new("RGB", size, (10, 20, 30)), "PNG")

    assert from_encoded(data, LIMITS).reshape(-1, 3).tolist() == [[10, 20, 30]] * 1024


def test_a_large_jpeg_is_decoded_small_and_looks_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    image = _gradient(1200, 800)
    data = _encode(image, "JPEG", quality=95)
    sizes = []
    load = Image.Image.resize

    def spy(self: Image.Image, *arguments: Any, **options: Any) -> Image.Image:
        sizes.append(self.size)
        return load(self, *arguments, **options)

    monkeypatch.setattr(Image.Image, "resize", spy)
    pixels = from_encoded(data, LIMITS)

    assert sizes[0] == (150, 100)
    assert np.abs(pixels.astype(int) - fit(image).astype(int)).max() <= 3


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        data = _encode(frames[0], kind, save_all=True, append_images=frames[1:])

        assert np.allclose(from_encoded(data, LIMITS).mean(axis=(0, 1)), [255, 0, 0], atol=2)


HEADER = b"IHDR" + bytes([0, 0, 0, 50]) * 2 + b"\x08\x02\x00\x00\x00"  # 50x50 RGB


def _png_claiming(width: int, height: int) -> bytes:
    """Make a PNG of 68 bytes whose header claims any size: a decompression bomb's beginning."""
    header = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + b"\x08\x02\x00\x00\x00"
    return _png(header, b"IDAT" + zlib.compress(b""), b"IEND")


def _png(*chunks: bytes) -> bytes:
    body = b"".join((len(chunk) - 4).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (b"", ImageErrorCode.EMPTY, "has no bytes"),
        (b"GIF89 no", ImageErrorCode.UNSUPPORTED_FORMAT, "begins with 47 49 46 38 39 20 6e 6f, which is no"),
        (b"%PDF-1.7", ImageErrorCode.UNSUPPORTED_FORMAT, "no JPEG, PNG, WebP, BMP or GIF"),
        (_encode(Image.fromarray(NOISE), "TIFF"), ImageErrorCode.UNSUPPORTED_FORMAT, "no JPEG"),
        (_encode(Image.fromarray(NOISE), "PNG")[:-900], ImageErrorCode.CORRUPT, "cannot be decoded (.*)"),
        (_encode(Image.fromarray(NOISE), "JPEG")[:-300], ImageErrorCode.CORRUPT, "damaged or incomplete"),
        (_png(b"IHDR" + bytes(4)), ImageErrorCode.CORRUPT, "Truncated IHDR chunk"),  # Pillow: ValueError
        (
            _png(HEADER, b"IDATx\x9c", b"\xc5\x8d\xb6W"),
            ImageErrorCode.CORRUPT,
            "broken PNG file",
        ),  # SyntaxError
        (_png_claiming(50, 50)[:30], ImageErrorCode.CORRUPT, "has a damaged header"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8X", ImageErrorCode.CORRUPT, "damaged or incomplete"),
        (bytes(300_001), ImageErrorCode.TOO_LARGE, "has 300,001 bytes, wanted at most 300,000"),
        (
            _png_claiming(1000, 1001),
            ImageErrorCode.TOO_LARGE,
            "is 1000x1001 = 1,001,000 pixels, wanted at most",
        ),
        (_png_claiming(60_000, 60_000), ImageErrorCode.TOO_LARGE, "pixels"),
    ],
)
def test_what_is_no_picture_says_why(data: bytes, code: ImageErrorCode, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        from_encoded(data, LIMITS)

    assert caught.value.code is code
    assert message.partition("(.*)")[0] in caught.value.message


@pytest.mark.parametrize(
    ("length", "code"),
    [(0, ImageErrorCode.EMPTY), (3071, ImageErrorCode.WRONG_SIZE), (3073, ImageErrorCode.WRONG_SIZE)],
)
def test_raw_pixels_of_another_size_are_refused(length: int, code: ImageErrorCode) -> None:
    with pytest.raises(ImageError, match=rf"has {length:,} bytes, expected 3,072 \(32x32 RGB") as caught:
        from_pixels(bytes(length))

    assert caught.value.code is code


VALID = {kind: _encode(Image.fromarray(NOISE).resize((48, 40)), kind) for kind in FORMATS} | {
    "palette": _encode(Image.fromarray(NOISE).convert("P"), "PNG", transparency=3)
}


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200))
@example(data=_png_claiming(2**31 - 1, 2**31 - 1))
@example(data=b"BM" + bytes(60))
def test_any_bytes_give_pixels_or_an_image_error(data: bytes) -> None:
    _decode_or_refuse(data)


@settings(max_examples=500, deadline=None)
@given(kind=st.sampled_from(sorted(VALID)), changes=st.data())
def test_any_damage_to_a_picture_gives_pixels_or_an_image_error(kind: str, changes: st.DataObject) -> None:
    content = bytearray(VALID[kind])
    for _ in range(changes.draw(st.integers(1, 6))):
        content[changes.draw(st.integers(0, len(content) - 1))] = changes.draw(st.integers(0, 255))
    _decode_or_refuse(bytes(content[: changes.draw(st.integers(0, len(content)))]))


def _decode_or_refuse(data: bytes) -> None:
    try:
        pixels = from_encoded(data, LIMITS)
    except ImageError:
        return
    assert (pixels.dtype.name, pixels.shape) == ("uint8", (32, 32, 3))


@settings(max_examples=100, deadline=None)
@given(
    width=st.integers(1, 150),
    height=st.integers(1, 150),
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "PA"]),
)
def test_any_pillow_image_fits(width: int, height: int, mode: str) -> None:
    image = Image.new(mode, (width, height))

    pixels = fit(image)

    assert (pixels.dtype.name, pixels.shape) == ("uint8", (32, 32, 3))


def test_the_sample_photographs_are_read(root: Path) -> None:
    photographs = [path for path in (root / "examples" / "images").iterdir() if path.suffix != ".md"]

    assert len(photographs) >= 2
    for path in photographs:
        assert from_encoded(path.read_bytes(), ImageLimits()).std() > 10
