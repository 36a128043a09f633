"""The levels of a slide as a viewer takes them, each half as large as the one before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.geometry import SizePx
from napari_stem.slide.array_slide import ArraySlide, LevelPixels
from napari_stem.slide.halving import halve, halved

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_stem.slide.base import Slide

BLOCK_PX = 512
WIDEST_STEP = 2.5  # scanners leave out every second level or more, which viewers then overdraw
LARGEST_READ_PX = 2048  # side of what is decoded at once for a block of a level in between


@dataclass(frozen=True, eq=False)
class ShownLevel:
    """A level of a slide, or one in between that is made from it while it is looked at.

    Attributes
    ----------
    pixels
        Reads windows of it.
    origin
        Place of the level that it is read from among the slide's.
    """

    pixels: LevelPixels
    origin: int


class ViewLevel:
    """One level as a viewer takes it: an array-like that tells in which blocks it is best read.

    Parameters
    ----------
    pixels
        Reads windows of it; ``native`` is the extent of a block.
    """

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, pixels: LevelPixels) -> None:
        self.pixels = pixels
        self.shape = pixels.shape
        self.size = math.prod(pixels.shape)
        self.chunks = (pixels.native.height_px, pixels.native.width_px, 3)  # as zarr tells it

    def __getitem__(self, key: tuple[slice | int, ...]) -> NDArray[np.uint8]:
        """Return pixels for a tuple of slices and integers."""
        return self.pixels[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read the whole level."""
        return np.asarray(self.pixels[:, :, :], dtype=dtype)


def shown_levels(slide: Slide) -> list[ShownLevel]:
    """List a slide's levels, finest first, with those in between that it leaves out."""
    own = _sources(slide)
    shown = []
    for number, pixels in enumerate(own):
        shown.append(ShownLevel(pixels, number))
        if number + 1 == len(own):
            break
        coarser = own[number + 1].size.width_px
        shrink = 2
        while shown[-1].pixels.size.width_px > WIDEST_STEP * coarser:
            shown.append(ShownLevel(_in_between(pixels, shown[-1].pixels, shrink), number))
            shrink *= 2
    return shown


def block_of(pixels: LevelPixels) -> SizePx:
    """Extent of a block of a level: its native tiles put together."""
    height_px, width_px = (
        native * max(1, round(BLOCK_PX / native))
        for native in (pixels.native.height_px, pixels.native.width_px)
    )
    return SizePx(height_px, width_px)


def _in_between(stored: LevelPixels, finer: LevelPixels, shrink: int) -> LevelPixels:
    """Offer a level that is not stored: the next finer one halved, by area."""
    side_px = min(BLOCK_PX, LARGEST_READ_PX // shrink)
    native_px = [
        max(side_px, native // shrink)
        for native in (stored.native.height_px, stored.native.width_px)
    ]

    def read(rows: slice, columns: slice) -> NDArray[np.uint8]:
        size = finer.size
        return halve(
            finer.window(
                slice(rows.start * 2, min(rows.stop * 2, size.height_px)),
                slice(columns.start * 2, min(columns.stop * 2, size.width_px)),
            )
        )

    return LevelPixels(read, halved(finer.size), SizePx(*native_px), stored.told_as)


def _sources(slide: Slide) -> tuple[LevelPixels, ...]:
    """Levels of a slide that can be read by windows, in any thread."""
    if isinstance(slide, ArraySlide):
        return slide.sources

    def reading(level: int, rows: slice, columns: slice) -> NDArray[np.uint8]:
        size = SizePx(rows.stop - rows.start, columns.stop - columns.start)
        return slide.read_region(columns.start, rows.start, level, size)

    block = SizePx(BLOCK_PX, BLOCK_PX)
    return tuple(
        LevelPixels(partial(reading, number), level.size, block, slide.path.name)
        for number, level in enumerate(slide.levels)
    )
