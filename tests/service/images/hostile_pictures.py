"""Decompression bombs: small files that need as much memory as a pixel limit allows."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE = 2_000
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_CHANNELS = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGBA: 4}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Of Adam7: first column and row, and the steps to the next ones."""


def _png(
    depth: int, kind: int, *chunks: bytes, size: tuple[int, int] = (SIDE, SIDE), folds: bool = False
) -> bytes:
    width, height = size
    passes = [(width, height)]
    if folds:
        passes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in _PASSES]
    packer, pixels = zlib.compressobj(9), b""
    for columns, rows in passes:
        row = bytes(1 + -(-columns * depth * _CHANNELS[kind] // 8))
        for start in range(0, rows, 64):
            pixels += packer.compress(row * min(64, rows - start))
    header = struct.pack(">LLBBBBB", width, height, depth, kind, 0, 0, folds)
    body = (b"IHDR" + header, *chunks, b"IDAT" + pixels + packer.flush(), b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, body))


def _chunk(content: bytes) -> bytes:
    return struct.pack(">L", len(content) - 4) + content + struct.pack(">L", zlib.crc32(content))


def _saved(mode: str, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (SIDE, SIDE)).save(file, kind, **options)
    return file.getvalue()


def _frames(kind: str) -> bytes:
    frames = [Image.new("RGB", (SIDE, SIDE), (n, n, n)) for n in range(9)]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], lossless=True)
    return file.getvalue()


def _run_length_bmp() -> bytes:
    """Make a BMP of 8 bits a pixel whose rows are runs of up to 255."""
    runs, rest = divmod(SIDE, 255)
    data = (b"\xff\1" * runs + bytes([rest, 1]) + b"\0\0") * SIDE + b"\0\1"
    start = 14 + 40 + 1024
    head = struct.pack("<LllHHLLllLL", 40, SIDE, SIDE, 1, 8, 1, len(data), 0, 0, 256, 0)
    return b"BM" + struct.pack("<LHHL", start + len(data), 0, 0, start) + head + bytes(1024) + data


LARGE: dict[str, Callable[[], bytes]] = {
    "PNG, 16 bits, alpha": lambda: _png(16, _RGBA),
    "PNG, 16 bits, alpha, interlaced": lambda: _png(16, _RGBA, folds=True),
    "PNG, 16 bits, grey": lambda: _png(16, _GREY),
    "PNG, one transparent colour": lambda: _png(8, _RGB, b"tRNS" + bytes(6)),
    "PNG, palette with alpha": lambda: _png(8, _PALETTE, b"PLTE" + bytes(768), b"tRNS" + bytes(256)),
    "PNG, 1 bit": lambda: _png(1, _PALETTE, b"PLTE" + bytes(6)),
    "PNG, grey with alpha": lambda: _png(8, _GREY_ALPHA),
    "PNG, wide": lambda: _png(8, _RGBA, size=(65_535, 61)),
    "PNG, high": lambda: _png(8, _RGBA, size=(61, 65_535)),
    "BMP, runs": _run_length_bmp,
    "GIF": lambda: _saved("P", "GIF"),
    "GIF, transparent": lambda: _saved("P", "GIF", transparency=0),
    "GIF, frames": lambda: _frames("GIF"),
    "WebP": lambda: _saved("RGB", "WEBP", lossless=True),
    "WebP, alpha": lambda: _saved("RGBA", "WEBP", lossless=True),
    "WebP, frames": lambda: _frames("WEBP"),
    "JPEG, progressive": lambda: _saved("RGB", "JPEG", progressive=True),
    "JPEG, progressive, four colours": lambda: _saved("CMYK", "JPEG", progressive=True),
}
"""By name, files of 4 million pixels."""


def _unfolding(head: bytes, size: int) -> bytes:
    return head + zlib.compress(bytes(size), 9)


SMALL: dict[str, Callable[[], bytes]] = {
    "PNG, one large text": lambda: _png(8, _RGB, _unfolding(b"zTXta\0\0", 200 << 20), size=(32, 32)),
    "PNG, one large international text": lambda: _png(
        8, _RGB, _unfolding(b"iTXta\0\1\0\0\0", 200 << 20), size=(32, 32)
    ),
    "PNG, many texts": lambda: _png(8, _RGB, *[_unfolding(b"zTXta\0\0", 1 << 20)] * 200, size=(32, 32)),
    "PNG, colour profile": lambda: _png(8, _RGB, _unfolding(b"iCCPa\0\0", 200 << 20), size=(32, 32)),
    "PNG, EXIF": lambda: _png(8, _RGB, b"eXIfMM\0*\0\0\0\x08\xff\xff" + bytes(15 << 20), size=(32, 32)),
}
"""By name, files of 32x32 pixels with much beside them."""
