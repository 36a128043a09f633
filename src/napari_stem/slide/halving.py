"""Coarser levels from finer ones: half as high, half as wide, by area."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.geometry import SizePx

if TYPE_CHECKING:
    from numpy.typing import NDArray

COARSEST_PX = 1024
_BAND_PX = 256  # a band at a time, so that other threads get their turn


def halved(size: SizePx) -> SizePx:
    """Size of the next coarser level; an odd last row or column counts as a whole pixel."""
    return SizePx((size.height_px + 1) // 2, (size.width_px + 1) // 2)


def coarser_sizes(size: SizePx) -> list[SizePx]:
    """List the levels missing below ``size``: halved until the longer side is at most 1024 px."""
    sizes = []
    while max(size.height_px, size.width_px) > COARSEST_PX:
        size = halved(size)
        sizes.append(size)
    return sizes


def halve(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Area mean of 2 x 2 pixels: (h, w, 3) -> (ceil(h / 2), ceil(w / 2), 3) uint8."""
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).reduce(2))


def halve_often(pixels: NDArray[np.uint8], times: int) -> NDArray[np.uint8]:
    """Halve so many times, to the same pixels as one after the other, with little memory."""
    step_px = max(1, _BAND_PX >> times) << times  # a multiple: only the last band may be odd
    bands = []
    for top in range(0, len(pixels), step_px):
        band = pixels[top : top + step_px]
        for _ in range(times):
            band = halve(band)
        bands.append(band)
    return np.concatenate(bands)
