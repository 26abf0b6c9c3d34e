"""What excites channels, and what of it comes back to the pixels, as sheets of strips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.data.cifar10 import IMAGE_SHAPE
from training.visualize.drawing.tiles import Strip, about_grey, crop, sheet, spread

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from training.visualize.fields import Box, Field
    from training.visualize.top_activations import Peaks

MOST_CHANNELS = 32
_RANGE = "below its number: highest and lowest of the activations of a channel"


def patches(path: Path, title: str, peaks: Peaks, field: Field, images: npt.NDArray[np.uint8]) -> None:
    """Draw what each channel saw where it was strongest: images (n, 32, 32, 3) cut by its field."""
    strips = []
    for channel in spread(len(peaks.values), MOST_CHANNELS):
        places = _places(peaks, field, int(channel))
        strips.append(
            Strip(_label(peaks, int(channel)), [crop(images[index] / 255, box) for index, box in places])
        )
    height, width = field.size
    note = f"{_RANGE}; each tile is what the value can see, at most {width}x{height} pixels"
    sheet(path, title, note, strips, most_tiles=peaks.values.shape[1], tile_px=max(field.size))


def whole_images(path: Path, title: str, peaks: Peaks, field: Field, images: npt.NDArray[np.uint8]) -> None:
    """Draw the images that excited each channel most, with a frame about what the value could see."""
    strips = []
    for channel in spread(len(peaks.values), MOST_CHANNELS):
        places = _places(peaks, field, int(channel))
        strips.append(
            Strip(
                _label(peaks, int(channel)),
                [images[index] / 255 for index, _ in places],
                [box for _, box in places],
            )
        )
    note = f"{_RANGE}; the frame is what the value can see"
    sheet(path, title, note, strips, most_tiles=peaks.values.shape[1], tile_px=IMAGE_SHAPE[0])


def projections(  # noqa: PLR0913, PLR0917 - numbers of two families meet here
    path: Path,
    title: str,
    peaks: Peaks,
    field: Field,
    images: npt.NDArray[np.uint8],
    projected: npt.NDArray[np.float32],
) -> None:
    """Draw pairs of a patch and what of its pixels the activation goes back to.

    Args:
        path: the PNG file.
        title: first line.
        peaks: of k images a channel.
        field: of the layer.
        images: those that the peaks name.
        projected: (channels, k, 32, 32, 3), about zero.
    """
    strips = []
    for channel in spread(len(peaks.values), MOST_CHANNELS):
        tiles = []
        for rank, (index, box) in enumerate(_places(peaks, field, int(channel))):
            tiles.append(crop(images[index] / 255, box))
            tiles.append(crop(about_grey(projected[channel, rank]), box))
        strips.append(Strip(_label(peaks, int(channel)), tiles))
    note = (
        f"{_RANGE}; pairs: the patch, then its activation projected back to the pixels "
        "(grey is zero, each on a scale of its own)"
    )
    sheet(
        path, title, note, strips, most_tiles=2 * peaks.values.shape[1], tile_px=max(field.size), tile_in=0.66
    )


def _places(peaks: Peaks, field: Field, channel: int) -> list[tuple[int, Box]]:
    """Return image and box of the activations that are above zero."""
    values = zip(
        peaks.values[channel], peaks.images[channel], peaks.rows[channel], peaks.columns[channel], strict=True
    )
    return [
        (int(index), field.box(int(row), int(column))) for value, index, row, column in values if value > 0
    ]


def _label(peaks: Peaks, channel: int) -> str:
    active = peaks.values[channel][peaks.values[channel] > 0]
    if not len(active):
        return f"channel {channel}\nnever active"
    return f"channel {channel}\n{active[0]:.3g} to {active[-1]:.3g}"
