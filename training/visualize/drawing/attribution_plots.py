"""Attribution maps, one row per image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.plotting import DIVERGING, SEQUENTIAL, picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

_SHARE_IN_SCALE = 99  # percentile; with the maximum, single pixels would make all others pale
_NO_LOSS = 0.01  # of probability: keeps rounding errors pale where no part of the image matters


@dataclass(frozen=True)
class AttributionRow:
    """An image and its attribution maps."""

    caption: str
    image: npt.NDArray[np.uint8]
    occlusion: npt.NDArray[np.float32]
    saliency: npt.NDArray[np.float32] | None
    """None, like ``integrated``, if there are no gradients."""
    integrated: npt.NDArray[np.float32] | None


def attribution_sheet(path: Path, title: str, rows: Sequence[AttributionRow]) -> None:
    """Draw each image, its occlusion map, and its gradients if there are any."""
    has_gradients = rows[0].integrated is not None
    columns = 4 if has_gradients else 2
    with picture(path, 2.8 * columns, 2.55 * len(rows) + 0.6) as drawn:
        drawn.suptitle(title, x=0.01, ha="left", fontsize=13)
        grid = drawn.subplots(len(rows), columns, squeeze=False)
        for line, row in zip(grid, rows, strict=True):
            line[0].imshow(row.image)
            line[0].set_title(row.caption, fontsize=9)
            maps = [
                (row.occlusion, "occlusion: probability lost", True, _NO_LOSS),
                (row.saliency, "saliency: gradient of the logit", False, 0.0),
                (row.integrated, "integrated gradients: share of the logit", True, 0.0),
            ]
            for axes, (values, name, has_signs, smallest) in zip(line[1:], maps, strict=False):
                if values is None:
                    continue
                limit = scale_limit(values, smallest)
                shown = axes.imshow(
                    values,
                    cmap=DIVERGING if has_signs else SEQUENTIAL,
                    vmin=-limit if has_signs else 0,
                    vmax=limit,
                )
                axes.set_title(name, fontsize=9)
                bar = drawn.colorbar(shown, ax=axes, shrink=0.85, extend="both" if has_signs else "max")
                bar.ax.tick_params(labelsize=7)
        for axes in grid.flat:
            axes.axis("off")


def scale_limit(values: npt.NDArray[np.float32], smallest: float) -> float:
    """Return the 99th percentile of the magnitudes, at least ``smallest``; 1 if that is zero."""
    return max(float(np.percentile(np.abs(values), _SHARE_IN_SCALE)), smallest) or 1.0
