"""Levels as readers hand them over, read by windows, and turned to sRGB; coarser ones, halved by area.

Where a file brings an ICC profile (ICC.1:2022, https://www.color.org/icc_specs2.xalter), Little CMS turns its
colours, through Pillow.
"""

from __future__ import annotations

import io
import logging
import math
import struct
import uuid
import zlib
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.io import DAMAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import dask.array as da
    from numpy.typing import NDArray

    Convert = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]  # (h, w, 3) -> (h, w, 3)
    ReadWindow = Callable[[slice, slice], NDArray[np.uint8]]  # rows, columns -> (h, w, 3)
    ReadTile = Callable[[int, int], NDArray[np.uint8]]  # row, column -> (h, w, 3)

DISPLAY_CHUNK_PX = 1024
# No scanner makes more: a glass slide of 26 x 76 mm at 0.1 um/px is 260,000 x 760,000 px.
LONGEST_PX = 2**20
LARGEST_PX = 2**38
# What codecs, parsers and file layers raise on damaged bytes: imagecodecs RuntimeError, zarr
# ValueError, XML SyntaxError; the rest comes of numbers that make no sense.
READ_ERRORS = (
    *DAMAGE,
    zlib.error,
    struct.error,
    SyntaxError,
    ArithmeticError,
    AssertionError,
)
COARSEST_PX = 1024
_BAND_PX = 256
AS_STORED = "as stored"
WHITE = 255
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Colour:
    """What is done to the pixels."""

    label: str = AS_STORED  # in words, for ``info`` and provenance
    # function of (h, w, 3) uint8 to the same in sRGB; None where pixels stay as stored
    convert: Convert | None = None


def colour_of(profile: bytes | None) -> Colour:
    """Plan the way to sRGB from an embedded profile (relative colorimetric, black point kept).

    A profile that is sRGB already, is not for RGB, or is damaged leaves pixels as stored, and the
    words say so.
    """
    if not profile:
        return Colour()
    from PIL import Image, ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(source).strip() or "unnamed"
        if source.profile.xcolor_space.strip() != "RGB":
            return Colour(f"{AS_STORED} (its ICC profile '{name}' is not for RGB)")
        if "srgb" in name.lower():
            return Colour(f"{AS_STORED} (its ICC profile is sRGB)")
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            "RGB",
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        logger.warning("An ICC profile is not used: %s", error)
        return Colour(f"{AS_STORED} (its ICC profile is damaged)")

    def convert(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        image = Image.fromarray(np.ascontiguousarray(pixels))
        return np.asarray(transform.apply(image), dtype=np.uint8)

    return Colour(f"ICC profile '{name}' applied, to sRGB", convert)


def over_white(
    rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], *, is_premultiplied: bool = False
) -> NDArray[np.uint8]:
    """Lay (height, width, 3) colours on white, which glass is, by alpha (height, width, 1).

    ``is_premultiplied``: colours were multiplied by alpha already.
    """
    if (alpha == WHITE).all():
        return np.ascontiguousarray(rgb)
    weight = alpha.astype(np.uint16)
    own = rgb.astype(np.uint16) * (WHITE if is_premultiplied else weight)
    mixed = (own + WHITE * (WHITE - weight) + WHITE // 2) // WHITE
    return np.asarray(np.minimum(mixed, WHITE), dtype=np.uint8)


@dataclass(eq=False)
class Level:
    """One level, (height, width, 3) uint8; decoded when asked.

    SlideError: its size is such that only a damaged header can state it, and nothing was allocated for it.
    """

    # function of a row and a column slice (within bounds, step 1) to RGB pixels; thread-safe
    read: ReadWindow
    size: SizePx  # extent of the level
    # windows in multiples of this extent are the cheapest to read: the stored tiles, where there are such
    chunk: SizePx
    label: str  # what an error message calls the place where the pixels lie
    colour: Colour = field(default_factory=Colour)  # what is done to the pixels after reading
    # called before pixels are read: raises a SlideError where the file is not as it was when it was opened
    require_unchanged: Callable[[], None] | None = None
    is_in_memory: bool = False  # decoded already: any window is had at once
    # level-0 pixels per pixel of this level, at least 1 (the mean of both axes)
    downsample: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a level that is empty, or wider or larger than any slide."""
        sides_px = (self.size.width_px, self.size.height_px)
        told = f"{sides_px[0]} x {sides_px[1]} px"
        if min(sides_px) < 1:
            raise SlideError(
                f"{self.label} has a level of {told}: it is damaged; copy or export it again."
            )
        if max(sides_px) > LONGEST_PX or math.prod(sides_px) > LARGEST_PX:
            raise SlideError(
                f"{self.label} says that it is {told}, more than any slide: its header is damaged; "
                f"copy or export it again."
            )

    @cached_property
    def pixels(self) -> da.Array:
        """(height, width, 3) uint8 dask array, chunks near 1024 px; importing dask takes most of a second."""
        return self.as_dask()

    def window(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Read a window that lies inside the level: (height, width, 3) uint8.

        SlideError: the bytes are damaged there, or the file is closed, gone or another.
        """
        if self.require_unchanged is not None:
            self.require_unchanged()
        try:
            pixels = self.read(rows, columns)
            return pixels if self.colour.convert is None else self.colour.convert(pixels)
        except READ_ERRORS as error:
            raise SlideError(
                f"{self.label} cannot be read at rows {rows.start}-{rows.stop}, columns "
                f"{columns.start}-{columns.stop} ({error}): it is damaged, gone or already closed; "
                f"open it again, or fetch a sound copy."
            ) from error

    def padded(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Read a window that may reach off the level, where it is white; raises as `window`."""
        top, bottom = (min(max(end, 0), self.size.height_px) for end in (rows.start, rows.stop))
        left, right = (
            min(max(end, 0), self.size.width_px) for end in (columns.start, columns.stop)
        )
        inside = slice(top, bottom), slice(left, right)
        if inside == (rows, columns):
            return self.window(rows, columns)
        padded = np.full((rows.stop - rows.start, columns.stop - columns.start, 3), WHITE, np.uint8)
        if top < bottom and left < right:
            place = padded[top - rows.start : bottom - rows.start]
            place[:, left - columns.start : right - columns.start] = self.window(*inside)
        return padded

    def cached(self, near_px: int, n_bytes: int) -> Level:
        """Offer the same pixels, and keep as many bytes of the tiles that were decoded last.

        Tiles are of whole chunks, each about ``near_px`` high and wide.
        """
        extent = self.whole_tiles(near_px)

        @lru_cache(n_bytes // (3 * extent.height_px * extent.width_px))
        def tile(row: int, column: int) -> NDArray[np.uint8]:
            return self.window(*self.tile(row, column, extent))

        read = partial(from_tiles, tile=extent, read=tile)
        return Level(read, self.size, extent, self.label)

    def whole(self) -> NDArray[np.uint8]:
        """Read all of it: (height, width, 3) uint8; raises as `window`."""
        return self.window(slice(0, self.size.height_px), slice(0, self.size.width_px))

    def halved(self, rows: slice, columns: slice, times: int = 1) -> NDArray[np.uint8]:
        """Read a window of a coarser level, made from this one by halving so many times; raises as `window`."""
        # cut from memory a band at a time: little more is needed, and other threads get their turn
        band_px = max(1, _BAND_PX >> times) if self.is_in_memory else rows.stop - rows.start
        across = slice(columns.start << times, min(columns.stop << times, self.size.width_px))
        bands = []
        for top in range(rows.start, rows.stop, band_px):
            bottom = min(top + band_px, rows.stop)
            down = slice(top << times, min(bottom << times, self.size.height_px))
            band = self.window(down, across)
            for _ in range(times):
                band = halve(band)
            bands.append(band)
        return np.concatenate(bands)

    def whole_tiles(self, near_px: int) -> SizePx:
        """Extent of as many chunks as come near to a side of so many pixels."""
        height_px, width_px = (
            min(extent, chunk * max(1, round(near_px / chunk)))
            for extent, chunk in (
                (self.size.height_px, self.chunk.height_px),
                (self.size.width_px, self.chunk.width_px),
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
        self, near_px: int = DISPLAY_CHUNK_PX, read_tile: ReadTile | None = None
    ) -> da.Array:
        """Return a lazy array in tiles of whole chunks, each about ``near_px`` high and wide.

        ``read_tile`` gives the tile of a row and a column; by default it is read from here.
        """
        import dask.array as da

        extent = self.whole_tiles(near_px)
        read = read_tile or (lambda row, column: self.window(*self.tile(row, column, extent)))
        return da.map_blocks(
            lambda block_id: read(*block_id[:2]),
            chunks=da.core.normalize_chunks(
                (extent.height_px, extent.width_px, 3), (self.size.height_px, self.size.width_px, 3)
            ),
            name=f"slide-level-{uuid.uuid4().hex}",  # dask takes equal names for equal arrays
            meta=np.empty((0, 0, 0), np.uint8),
        )


def tiles_under(rows: slice, columns: slice, tile: SizePx) -> list[tuple[int, int]]:
    """Row and column of every tile that has a part of a window."""
    return [
        (row, column)
        for row in range(rows.start // tile.height_px, -(-rows.stop // tile.height_px))
        for column in range(columns.start // tile.width_px, -(-columns.stop // tile.width_px))
    ]


def from_tiles(
    rows: slice,
    columns: slice,
    tile: SizePx,
    read: Callable[[int, int], NDArray[np.uint8] | None],
    blank: Sequence[int] = (WHITE, WHITE, WHITE),
) -> NDArray[np.uint8]:
    """Put a window of a level together, (h, w, samples) uint8, from its tiles.

    ``read`` gives the tile of a row and a column, (height, width, samples) uint8, whose extent is ``tile`` but
    at the level's edge; where it gives None, or a tile is too small, the window has the samples of ``blank``.
    """
    shape = (rows.stop - rows.start, columns.stop - columns.start, len(blank))
    # by one number 200 times as fast as by three
    window = np.full(shape, blank[0] if len(set(blank)) == 1 else blank, np.uint8)
    for row, column in tiles_under(rows, columns, tile):
        pixels = read(row, column)
        if pixels is None:
            continue
        top, left = row * tile.height_px, column * tile.width_px
        y0, y1 = max(top, rows.start), min(top + pixels.shape[0], rows.stop)
        x0, x1 = max(left, columns.start), min(left + pixels.shape[1], columns.stop)
        place = window[y0 - rows.start : y1 - rows.start, x0 - columns.start : x1 - columns.start]
        place[:] = pixels[y0 - top : y1 - top, x0 - left : x1 - left]
    return window


def scaled(rows: slice, columns: slice, whole: SizePx, other: SizePx) -> list[tuple[float, float]]:
    """Where a window of a picture begins and ends in another one, down and across."""
    return [
        (span.start * own / extent, span.stop * own / extent)
        for span, own, extent in (
            (rows, other.height_px, whole.height_px),
            (columns, other.width_px, whole.width_px),
        )
    ]


def level_of_array(array: NDArray[np.uint8], label: str) -> Level:
    """Wrap an array in memory, (height, width, 3) uint8."""
    size = SizePx(*array.shape[:2])
    chunk = SizePx(DISPLAY_CHUNK_PX, DISPLAY_CHUNK_PX)
    return Level(lambda *window: array[window], size, chunk, label, is_in_memory=True)


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


def downsample(level_0: SizePx, size: SizePx) -> float:
    """Return level-0 pixels per pixel of a level of the given size.

    Scanners shrink by whole factors and cut (or fill) the last row and column, which makes the
    plain ratio of the sizes slightly wrong and shifts far corners by pixels: a whole factor that
    explains the size is preferred, and of those that explain a small size a power of two, as most
    levels are halved.
    """
    pairs = ((level_0.height_px, size.height_px), (level_0.width_px, size.width_px))
    ratio = sum(fine / coarse for fine, coarse in pairs) / 2
    for whole in (2 ** max(0, round(math.log2(ratio))), round(ratio)):
        if all(abs(coarse * whole - fine) < whole for fine, coarse in pairs):
            return float(whole)
    return ratio
