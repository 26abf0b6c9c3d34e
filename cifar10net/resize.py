"""A decoded picture becomes 32x32 RGB: the same in the server, the client and nobody else.

In: a Pillow image. Out: another one. Needs no NumPy, but for pictures of 16 bits a value.
"""

from __future__ import annotations

from PIL import Image

from cifar10net.protocol import IMAGE_SIDE

_ORIENTATION_TAG = 0x0112
_TRANSPOSE = {  # EXIF orientation (CIPA DC-008, table 6) to what turns the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def fitted(image: Image.Image) -> Image.Image:
    """Turn upright, lay on white, convert to RGB, crop the central square, reduce to 32x32.

    A picture that is 32x32 already is not resampled. Large JPEGs are decoded at a reduced size, never
    below twice the target.

    Args:
        image: any Pillow image, not necessarily loaded.

    Returns:
        32x32, RGB.

    Raises:
        Exception: whatever Pillow raises for pixels that cannot be decoded.
    """
    image.draft(None, (2 * IMAGE_SIDE, 2 * IMAGE_SIDE))  # JPEG only; no effect on the others
    image.load()
    turn = _TRANSPOSE.get(_orientation(image))
    image = _resampleable(image)
    if image.size != (IMAGE_SIDE, IMAGE_SIDE):
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        image = image.resize(
            (IMAGE_SIDE, IMAGE_SIDE),
            Image.Resampling.BICUBIC,  # with antialiasing, as all of Pillow's filters but NEAREST
            box=(left, top, left + side, top + side),
            reducing_gap=3.0,
        )
    image = _on_white(image)
    if turn is not None:  # a square crop about the centre may be turned after it is small
        image = image.transpose(turn)
    return image


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; a picture with damaged EXIF is taken to be upright, as viewers do."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - the pixels are fine, and EXIF is parsed with any error
        return 1


def _resampleable(image: Image.Image) -> Image.Image:
    """Convert to L, RGB, LA or RGBA, the modes that can be resampled."""
    if image.mode.startswith("I;16"):
        import numpy as np  # noqa: PLC0415 - clients need it for this alone, and may lack it

        # 16 bits a value; Pillow's own conversion clips instead of keeping the upper half.
        values = np.array(image)
        values[values == image.info.get("transparency", -1)] = 0xFFFF  # white, as _on_white makes it
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode in {"L", "RGB", "LA", "RGBA"} and "transparency" not in image.info:
        return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode not in {"LA", "RGBA"}:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
