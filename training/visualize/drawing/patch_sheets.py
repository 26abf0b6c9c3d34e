"""Sheets of the top activations of each channel: patches, whole images, and projections to the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.data.cifar10 import IMAGE_SHAPE
from training.visualize.drawing.tiles import Strip, centred_on_grey, crop, evenly_spaced, sheet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from training.visualize.receptive_fields import PixelBox, ReceptiveFields
    from training.visualize.top_activations import TopActivations

MOST_CHANNELS = 32
_RANGE = "below a channel's number: its highest and lowest activation shown"


def draw_patches(
    path: Path, title: str, found: TopActivations, fields: ReceptiveFields, images: npt.NDArray[np.uint8]
) -> None:
    """Draw the receptive field of each activation, cut from ``images`` (n, 32, 32, 3)."""
    strips = [
        Strip(label, [crop(images[index] / 255, box) for index, box in positions])
        for _, label, positions in _channels(found, fields)
    ]
    height, width = fields.size
    note = f"{_RANGE}; each tile is a receptive field of at most {width}x{height} pixels"
    sheet(path, title, note, strips, most_tiles=found.values.shape[1], tile_px=max(fields.size))


def draw_images(
    path: Path, title: str, found: TopActivations, fields: ReceptiveFields, images: npt.NDArray[np.uint8]
) -> None:
    """Draw the whole images, with a frame around the receptive field of each activation."""
    strips = [
        Strip(label, [images[index] / 255 for index, _ in positions], [box for _, box in positions])
        for _, label, positions in _channels(found, fields)
    ]
    note = f"{_RANGE}; the frame is the receptive field"
    sheet(path, title, note, strips, most_tiles=found.values.shape[1], tile_px=IMAGE_SHAPE[0])


def draw_projections(  # noqa: PLR0913, PLR0917 - numbers of two modules meet here
    path: Path,
    title: str,
    found: TopActivations,
    fields: ReceptiveFields,
    images: npt.NDArray[np.uint8],
    projected: npt.NDArray[np.float32],
) -> None:
    """Draw pairs of a patch and the projection of its activation.

    Args:
        path: the PNG file.
        title: first line.
        found: k activations per channel.
        fields: receptive fields of the layer.
        images: (n, 32, 32, 3), which ``found`` indexes.
        projected: (channels, k, 32, 32, 3), signed.
    """
    strips = []
    for channel, label, positions in _channels(found, fields):
        tiles = []
        for rank, (index, box) in enumerate(positions):
            tiles.append(crop(images[index] / 255, box))
            tiles.append(crop(centred_on_grey(projected[channel, rank]), box))
        strips.append(Strip(label, tiles))
    note = (
        f"{_RANGE}; pairs: the patch, then its activation projected back to the pixels "
        "(grey is zero, each with its own scale)"
    )
    tile_px, most_tiles = max(fields.size), 2 * found.values.shape[1]
    sheet(path, title, note, strips, most_tiles=most_tiles, tile_px=tile_px, tile_in=0.66)


def _channels(
    found: TopActivations, fields: ReceptiveFields
) -> Iterator[tuple[int, str, list[tuple[int, PixelBox]]]]:
    """Yield number, label, and image index and box of each activation above zero, of the channels to show."""
    for channel in evenly_spaced(len(found.values), MOST_CHANNELS).tolist():
        columns = (found.values, found.images, found.rows, found.columns)
        active = [each for each in zip(*(part[channel] for part in columns), strict=True) if each[0] > 0]
        span = f"{active[0][0]:.3g} to {active[-1][0]:.3g}" if active else "never active"
        positions = [(int(index), fields.box(int(row), int(column))) for _, index, row, column in active]
        yield channel, f"channel {channel}\n{span}", positions
