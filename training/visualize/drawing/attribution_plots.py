"""Attribution maps, one row per image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.plotting import DIVERGING, SEQUENTIAL, picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from training.visualize.attribution import Gradients

_SHARE_IN_SCALE = 99  # percentile; with the maximum, single pixels would make all others pale
_NO_LOSS = 0.01  # of probability: keeps rounding errors pale where no part of the image matters


def attribution_sheet(  # noqa: PLR0913, PLR0917 - the maps of two methods
    path: Path,
    title: str,
    captions: Sequence[str],
    images: npt.NDArray[np.uint8],
    lost: npt.NDArray[np.float32],
    gradients: Gradients | None,
) -> None:
    """Draw one row per image: the image, its occlusion map, and its gradients if there are any.

    Args:
        path: the PNG file.
        title: first line.
        captions: text above each image.
        images: uint8 (n, 32, 32, 3).
        lost: (n, 32, 32), from ``occlusion``.
        gradients: from ``gradients``.
    """
    maps = [(lost, "occlusion: probability lost", True, _NO_LOSS)]
    if gradients is not None:
        maps.append((gradients.saliency, "saliency: gradient of the logit", False, 0.0))
        maps.append((gradients.integrated, "integrated gradients: share of the logit", True, 0.0))
    columns = 1 + len(maps)
    with picture(path, 2.8 * columns, 2.55 * len(images) + 0.6) as drawn:
        drawn.suptitle(title, x=0.01, ha="left", fontsize=13)
        grid = drawn.subplots(len(images), columns, squeeze=False)
        for index, (first, *others) in enumerate(grid):
            first.imshow(images[index])
            first.set_title(captions[index], fontsize=9)
            for axes, (values, name, has_signs, smallest) in zip(others, maps, strict=True):
                limit = scale_limit(values[index], smallest)
                colours, low = (DIVERGING, -limit) if has_signs else (SEQUENTIAL, 0.0)
                shown = axes.imshow(values[index], cmap=colours, vmin=low, vmax=limit)
                axes.set_title(name, fontsize=9)
                bar = drawn.colorbar(shown, ax=axes, shrink=0.85, extend="both" if has_signs else "max")
                bar.ax.tick_params(labelsize=7)
        for axes in grid.flat:
            axes.axis("off")


def scale_limit(values: npt.NDArray[np.float32], smallest: float) -> float:
    """Return the 99th percentile of the magnitudes, at least ``smallest``; 1 if that is zero."""
    return max(float(np.percentile(np.abs(values), _SHARE_IN_SCALE)), smallest) or 1.0
