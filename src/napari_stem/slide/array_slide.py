"""A slide made of levels that are read by windows: what all readers hand out."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.slide.base import Level, Slide

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import dask.array as da
    from numpy.typing import NDArray

    from napari_stem.slide.base import Progress
    from napari_stem.slide.colour import Colour
    from napari_stem.slide.making import Making
    from napari_stem.slide.native import Facts
    from napari_stem.slide.pixel_size import MppSource

    ReadWindow = Callable[[slice, slice], NDArray[np.uint8]]  # rows, columns -> (h, w, 3)

DISPLAY_CHUNK_PX = 1024
WHITE = 255
# What codecs, parsers and file layers raise on damaged bytes: imagecodecs RuntimeError, zarr
# ValueError, XML SyntaxError; the rest comes of numbers that make no sense.
READ_ERRORS = (
    RuntimeError,
    ValueError,
    OSError,
    LookupError,
    EOFError,
    zlib.error,
    struct.error,
    SyntaxError,
    ArithmeticError,
    TypeError,
    AttributeError,
    AssertionError,
    MemoryError,
)


class LevelPixels:
    """One level, indexed like an array of (height, width, 3) uint8; decoded when asked.

    Parameters
    ----------
    read
        Function of a row and a column slice (within bounds, step 1) to RGB pixels; thread-safe.
    size
        Extent of the level.
    native
        Extent of the tiles in which it is stored; reading in multiples of them is cheapest.
    told_as
        What an error message calls the place where the pixels lie.
    colour
        What is done to the pixels after reading; nothing by default.
    check
        Refuses, before pixels are read, what is not as it was when it was opened.
    """

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(
        self,
        read: ReadWindow,
        size: SizePx,
        native: SizePx,
        told_as: str,
        colour: Colour | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._read = read
        self.check = check
        self._convert = None if colour is None else colour.convert
        self.size = size
        self.native = native
        self.told_as = told_as
        self.shape = (size.height_px, size.width_px, 3)

    def window(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Read a window that lies inside the level: (height, width, 3) uint8.

        Raises
        ------
        SlideError
            The bytes are damaged there, or the file is closed, gone or another.
        """
        self.check()
        try:
            pixels = self._read(rows, columns)
            return pixels if self._convert is None else self._convert(pixels)
        except READ_ERRORS as error:
            msg = (
                f"{self.told_as} cannot be read at rows {rows.start}-{rows.stop}, columns "
                f"{columns.start}-{columns.stop} ({error}): it is damaged, gone or already closed; "
                f"open it again, or fetch a sound copy."
            )
            raise SlideError(msg) from error

    def __getitem__(self, key: tuple[slice | int, ...]) -> NDArray[np.uint8]:
        """Return pixels for a tuple of slices and integers, as dask asks for them."""
        whole: list[slice | int] = [*key, *[slice(None)] * (self.ndim - len(key))]
        spans: list[slice] = []
        rest: list[slice | int] = []
        for wanted, extent in zip(whole, self.shape, strict=True):
            if isinstance(wanted, slice):
                places = range(extent)[wanted]
                low, high = (min(places), max(places) + 1) if places else (0, 0)
                spans.append(slice(low, high))
                rest.append(slice(None, None, places.step))
            else:
                spans.append(slice(wanted % extent, wanted % extent + 1))
                rest.append(0)
        rows, columns, channels = spans
        if rows.start == rows.stop or columns.start == columns.stop:
            pixels = np.empty((rows.stop - rows.start, columns.stop - columns.start, 3), np.uint8)
        else:
            pixels = self.window(rows, columns)
        return pixels[:, :, channels][tuple(rest)]

    def as_dask(self, name: str) -> da.Array:
        """Return a lazy array with chunks near 1024 px, in multiples of the native tiles."""
        import dask.array as da

        chunks = tuple(
            min(extent, native * max(1, round(DISPLAY_CHUNK_PX / native)))
            for extent, native in zip(
                self.shape, (self.native.height_px, self.native.width_px), strict=False
            )
        )
        return da.from_array(
            self,
            chunks=(*chunks, 3),
            name=name,
            lock=False,
            asarray=False,
            meta=np.empty((0, 0, 0), np.uint8),
        )


def pixels_of_array(array: NDArray[np.uint8], told_as: str) -> LevelPixels:
    """Wrap an array in memory, (height, width, 3) uint8."""
    size = SizePx(*array.shape[:2])
    native = SizePx(DISPLAY_CHUNK_PX, DISPLAY_CHUNK_PX)
    return LevelPixels(lambda rows, columns: array[rows, columns], size, native, told_as)


def downsample(level_0: SizePx, size: SizePx) -> float:
    """Return level-0 pixels per pixel of a level of the given size.

    Scanners shrink by whole factors and cut (or fill) the last row and column, which makes the
    plain ratio of the sizes slightly wrong and shifts far corners by pixels: a whole factor that
    explains the size is preferred.
    """
    pairs = ((level_0.height_px, size.height_px), (level_0.width_px, size.width_px))
    ratio = sum(fine / coarse for fine, coarse in pairs) / 2
    whole = round(ratio)
    if all(abs(coarse * whole - fine) < whole for fine, coarse in pairs):
        return float(whole)
    return ratio


@dataclass(eq=False)
class ArraySlide(Slide):
    """A slide over ``LevelPixels``.

    Attributes
    ----------
    sources
        What ``levels`` show through dask, for reading without dask's cost.
    making
        Makes the last of them, where the file lacks them and they were not waited for.
    """

    sources: tuple[LevelPixels, ...] = ()
    making: Making | None = None
    on_close: Callable[[], None] = lambda: None

    @classmethod
    def build(
        cls,
        path: Path,
        facts: Facts,
        sources: Sequence[LevelPixels],
        *,
        reader: str,
        mpp_sources: tuple[MppSource, ...] = (),
        associated: Mapping[str, LevelPixels] | None = None,
        making: Making | None = None,
        on_close: Callable[[], None] = lambda: None,
    ) -> ArraySlide:
        """Make a slide from its sources, finest first; the first pixel size is the one used."""
        key = f"slide-{facts.fingerprint}-{reader}"
        levels = tuple(
            Level(
                size=source.size,
                downsample=downsample(facts.size, source.size),
                make_pixels=partial(source.as_dask, f"{key}-{index}"),
            )
            for index, source in enumerate(sources)
        )
        return cls(
            path=path,
            size=facts.size,
            mpp=mpp_sources[0].mpp if mpp_sources else None,
            levels=levels,
            reader=reader,
            vendor=facts.vendor,
            fingerprint=facts.fingerprint,
            properties=facts.properties,
            mpp_sources=mpp_sources,
            associated=dict(associated or {}),
            sources=tuple(sources),
            making=making,
            on_close=on_close,
        )

    @property
    def is_complete(self) -> bool:
        """Whether all levels are there; see ``Slide.is_complete``."""
        return self.making is None or self.making.is_done

    def is_ready(self, level: int, within_s: float = 0.0) -> bool:
        """Whether a level can be read at once; see ``Slide.is_ready``."""
        if self.making is None or level < self.making.first_level:
            return True
        return self.making.await_look(within_s)

    def complete(self, progress: Progress | None = None) -> None:
        """Make what is missing; see ``Slide.complete``."""
        if self.making is not None:
            self.making.progress = progress
            self.making.levels()

    @property
    def sketch(self) -> NDArray[np.uint8] | None:
        """Rough picture of the whole; see ``Slide.sketch``."""
        return None if self.is_complete or self.making is None else self.making.sketch.pixels

    @property
    def n_strokes(self) -> int:
        """Grows with the sketch; see ``Slide.n_strokes``."""
        return 0 if self.making is None else self.making.sketch.n_strokes

    def read_region(self, x_px: int, y_px: int, level: int, size: SizePx) -> NDArray[np.uint8]:
        """Read a window of one level; see ``Slide.read_region``."""
        if not 0 <= level < len(self.sources):
            msg = f"{self.path.name} has levels 0 to {len(self.sources) - 1}, not {level}."
            raise SlideError(msg)
        source = self.sources[level]
        top, bottom = (_clip(y, source.size.height_px) for y in (y_px, y_px + size.height_px))
        left, right = (_clip(x, source.size.width_px) for x in (x_px, x_px + size.width_px))
        window = np.full((size.height_px, size.width_px, 3), WHITE, dtype=np.uint8)
        if top < bottom and left < right:
            window[top - y_px : bottom - y_px, left - x_px : right - x_px] = source.window(
                slice(top, bottom), slice(left, right)
            )
        return window

    def close(self) -> None:
        """Let go of the file; what dask arrays of this slide have not read yet is lost."""
        if self.making is not None:
            self.making.stop()
        self.on_close()


def _clip(position_px: int, extent_px: int) -> int:
    return min(max(position_px, 0), extent_px)
