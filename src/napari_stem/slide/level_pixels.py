"""One level of a slide, read by windows: what all readers hand out; and coarser levels, halved by area."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.io import DAMAGE
from napari_stem.slide.colour import Colour

if TYPE_CHECKING:
    from collections.abc import Callable

    import dask.array as da
    from numpy.typing import NDArray

    ReadWindow = Callable[[slice, slice], NDArray[np.uint8]]  # rows, columns -> (h, w, 3)
    ReadTile = Callable[[int, int], NDArray[np.uint8]]  # row, column -> (h, w, 3)

DISPLAY_CHUNK_PX = 1024
# What codecs, parsers and file layers raise on damaged bytes: imagecodecs RuntimeError, zarr
# ValueError, XML SyntaxError; the rest comes of numbers that make no sense.
READ_ERRORS = (
    *DAMAGE,
    zlib.error,
    struct.error,
    SyntaxError,
    ArithmeticError,
    AssertionError,
    MemoryError,
)


@dataclass(eq=False)
class LevelPixels:
    """One level, (height, width, 3) uint8; decoded when asked.

    Attributes
    ----------
    read
        Function of a row and a column slice (within bounds, step 1) to RGB pixels; thread-safe.
    size
        Extent of the level.
    native
        Extent of the tiles in which it is stored; reading in multiples of them is cheapest.
    label
        What an error message calls the place where the pixels lie.
    colour
        What is done to the pixels after reading.
    check
        Refuses, before pixels are read, what is not as it was when it was opened.
    held
        All pixels, (height, width, 3) uint8, where they are in memory.
    """

    read: ReadWindow
    size: SizePx
    native: SizePx
    label: str
    colour: Colour = field(default_factory=Colour)
    check: Callable[[], None] = lambda: None
    held: NDArray[np.uint8] | None = None

    def window(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Read a window that lies inside the level: (height, width, 3) uint8.

        Raises
        ------
        SlideError
            The bytes are damaged there, or the file is closed, gone or another.
        """
        self.check()
        try:
            pixels = self.read(rows, columns)
            return pixels if self.colour.convert is None else self.colour.convert(pixels)
        except READ_ERRORS as error:
            raise SlideError(
                f"{self.label} cannot be read at rows {rows.start}-{rows.stop}, columns "
                f"{columns.start}-{columns.stop} ({error}): it is damaged, gone or already closed; "
                f"open it again, or fetch a sound copy."
            ) from error

    def whole(self) -> NDArray[np.uint8]:
        """Read all of it: (height, width, 3) uint8; raises as `window`."""
        return self.window(slice(0, self.size.height_px), slice(0, self.size.width_px))

    def halved(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Read a window of the next coarser level, made from this one; raises as `window`."""
        return halve(
            self.window(
                slice(rows.start * 2, min(rows.stop * 2, self.size.height_px)),
                slice(columns.start * 2, min(columns.stop * 2, self.size.width_px)),
            )
        )

    def whole_tiles(self, near_px: int) -> SizePx:
        """Extent of as many native tiles as come near to a side of so many pixels."""
        height_px, width_px = (
            min(extent, native * max(1, round(near_px / native)))
            for extent, native in (
                (self.size.height_px, self.native.height_px),
                (self.size.width_px, self.native.width_px),
            )
        )
        return SizePx(height_px, width_px)

    def tile(self, row: int, column: int, extent: SizePx) -> tuple[slice, slice]:
        """Rows and columns of a tile, in a lattice of such, that lie on the level."""
        top, left = row * extent.height_px, column * extent.width_px
        return (
            slice(top, min(top + extent.height_px, self.size.height_px)),
            slice(left, min(left + extent.width_px, self.size.width_px)),
        )

    def as_dask(
        self, name: str, near_px: int = DISPLAY_CHUNK_PX, read_tile: ReadTile | None = None
    ) -> da.Array:
        """Return a lazy array of whole native tiles.

        Parameters
        ----------
        name
            Of these pixels alone: dask takes arrays of one name for the same.
        near_px
            About how high and wide a chunk is.
        read_tile
            Gives the chunk of a row and a column; by default it is read from here.
        """
        import dask.array as da

        extent = self.whole_tiles(near_px)
        read = read_tile or (lambda row, column: self.window(*self.tile(row, column, extent)))
        return da.map_blocks(
            lambda block_id: read(*block_id[:2]),
            chunks=da.core.normalize_chunks(
                (extent.height_px, extent.width_px, 3), (self.size.height_px, self.size.width_px, 3)
            ),
            name=name,
            meta=np.empty((0, 0, 0), np.uint8),
        )


def tiles_under(rows: slice, columns: slice, tile: SizePx) -> list[tuple[int, int]]:
    """Row and column of every tile that has a part of a window."""
    return [
        (row, column)
        for row in range(rows.start // tile.height_px, -(-rows.stop // tile.height_px))
        for column in range(columns.start // tile.width_px, -(-columns.stop // tile.width_px))
    ]


def paste(
    window: NDArray[np.uint8],
    rows: slice,
    columns: slice,
    pixels: NDArray[np.uint8],
    corner: tuple[int, int],
) -> None:
    """Put into a window what a tile has of it.

    Parameters
    ----------
    window
        (h, w, samples), written to.
    rows, columns
        Where it lies on the level.
    pixels
        (h, w, samples) of the tile.
    corner
        The tile's first row and column on the level.
    """
    top, left = corner
    y0, y1 = max(top, rows.start), min(top + pixels.shape[0], rows.stop)
    x0, x1 = max(left, columns.start), min(left + pixels.shape[1], columns.stop)
    window[y0 - rows.start : y1 - rows.start, x0 - columns.start : x1 - columns.start] = pixels[
        y0 - top : y1 - top, x0 - left : x1 - left
    ]


def pixels_of_array(array: NDArray[np.uint8], label: str) -> LevelPixels:
    """Wrap an array in memory, (height, width, 3) uint8."""
    size = SizePx(*array.shape[:2])
    native = SizePx(DISPLAY_CHUNK_PX, DISPLAY_CHUNK_PX)
    return LevelPixels(lambda *window: array[window], size, native, label, held=array)


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
