"""Resizing of a decoded image to 32x32 RGB; client and server share this code, so their results are equal.

Uses NumPy only for images with 16 bits per channel.
"""

from __future__ import annotations

from PIL import Image

from cifar10net.protocol import IMAGE_SIDE

_ORIENTATION_TAG = 0x0112
_TRANSPOSE = {  # EXIF orientation (CIPA DC-008, table 6) to the transform that turns the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def fitted(image: Image.Image) -> Image.Image:
    """Crop the central square, resize to 32x32, composite on white, convert to RGB, turn upright.

    An image that is 32x32 already is not resampled. Large JPEGs are decoded at a reduced size, never below
    twice the target.

    Args:
        image: any Pillow image, loaded or not; ``draft`` may change it.

    Returns:
        32x32, RGB.

    Raises:
        Exception: what Pillow raises for pixels that cannot be decoded.
    """
    image.draft(None, (2 * IMAGE_SIDE, 2 * IMAGE_SIDE))  # JPEG only
    image.load()
    turn = _TRANSPOSE.get(_orientation(image))
    image = _resampleable(image)
    if image.size != (IMAGE_SIDE, IMAGE_SIDE):
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        image = image.resize(
            (IMAGE_SIDE, IMAGE_SIDE),
            Image.Resampling.BICUBIC,  # antialiased, as all of Pillow's filters but NEAREST
            box=(left, top, left + side, top + side),
            reducing_gap=3.0,
        )
    image = _on_white(image)
    if turn is not None:  # cheaper after resizing, and equal for a central square
        image = image.transpose(turn)
    return image


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; damaged EXIF counts as upright, as in image viewers."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - parsing EXIF can raise anything, and the pixels are fine
        return 1


def _resampleable(image: Image.Image) -> Image.Image:
    """Convert to L, RGB, LA or RGBA, which can be resampled."""
    if image.mode.startswith("I;16"):
        import numpy as np  # noqa: PLC0415 - clients may lack it

        # Pillow's own conversion clips instead of keeping the upper 8 bits.
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
