"""A slide as viewers take it: dask arrays, each level half as large as the one before.

A chunk is decoded when it is asked for, whatever the file's format; those used last are kept, for all
slides of the process together. Whoever reads an array gets the slide's true pixels. napari alone,
when it draws a slide that is redrawn when told to (``patience_s`` is set), is not kept waiting: what does
not come in time is shown from a coarser level, and ``arrived`` tells when it has come. While levels are
still being made, the preview of them is drawn.
"""

from __future__ import annotations

import itertools
import math
import os
import sys
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import dask.threaded
import numpy as np
from zict import LRU

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.slide.level import WHITE, Level, from_tiles, halved, scaled, tiles_under

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_stem.slide.base import Slide

KEEP_BYTES = 96 * 2**20  # four screens of 3840 x 2160 px
CHUNK_PX = 512
WIDEST_STEP = 2.5  # scanners leave out every second level or more, which viewers then overdraw
LARGEST_READ_PX = 2048  # side of what is decoded at once for a chunk of a level in between
DECODERS = 4
DRAWERS = 8
SLICING = "napari.layers._scalar_field"  # the modules in which napari reads what it draws
_numbers = itertools.count()
_is_drawing: ContextVar[bool] = ContextVar("is_drawing", default=False)
Chunk = tuple[int, int, int, int]  # pyramid, level, row, column

_decoders = ThreadPoolExecutor(min(DECODERS, os.cpu_count() or 1), "slide")
# in which dask computes what napari draws
_drawers = ThreadPoolExecutor(
    DRAWERS, "slide-drawing", initializer=_is_drawing.set, initargs=(True,)
)
# the chunks used last, (h, w, 3)
kept_chunks: LRU[Chunk, NDArray[np.uint8]] = LRU(KEEP_BYTES, {}, weight=lambda _, p: p.nbytes)


class SlideArray(da.Array):  # type: ignore[misc]
    """A level, or a window of one: a dask array that its pyramid computes."""

    pyramid: Pyramid

    @classmethod
    def of(cls, array: da.Array, pyramid: Pyramid) -> SlideArray:
        """Let a pyramid compute an array that is made of its levels."""
        own: SlideArray = cls(array.dask, array.name, array.chunks, meta=array._meta)
        own.pyramid = pyramid
        return own

    def __getitem__(self, index: Any) -> SlideArray:
        """Return a window, as lazy as the whole."""
        return self.of(super().__getitem__(index), self.pyramid)

    @property
    def __dask_scheduler__(self) -> Any:
        """Compute in threads, and do not wait long for what napari draws."""
        return self.pyramid.compute


class Pyramid:
    """The levels of an open slide, (y, x, c) uint8, finest first; missing ones may still have to be made.

    ``arrays`` are dask arrays, for a multiscale image; ``levels`` read the windows of each.
    """

    def __init__(self, slide: Slide) -> None:
        self.slide = slide
        # how long napari's drawing waits for pixels; None: until they are there
        self.patience_s: float | None = None
        # called, in any thread, when pixels have come that were not waited for, and
        # with a sentence when pixels to be drawn turn out damaged
        self.arrived: Callable[[], None] | None = None
        self.failed: Callable[[str], None] | None = None
        self.has_previewed = False  # a level that was not made yet, drawn from the slide's preview
        self._number = next(_numbers)
        self.levels, self._origins = levels_between(slide.levels)
        # as `Slide.overview_level`, in ``levels``
        self.overview_level = self.levels.index(slide.levels[slide.overview_level])
        self._coming: dict[Chunk, Future[NDArray[np.uint8]]] = {}
        self._damaged: set[Chunk] = set()  # told, and not decoded again at every drawing
        self._lock = threading.Lock()
        self._drawn_by_s = 0.0
        self.arrays = [self._array(number) for number in range(len(self.levels))]

    def _array(self, number: int) -> SlideArray:
        def read(row: int, column: int) -> NDArray[np.uint8]:
            return self._chunk((self._number, number, row, column))

        return SlideArray.of(self.levels[number].as_dask(CHUNK_PX, read), self)

    def compute(self, graph: Any, keys: Any, **options: Any) -> Any:
        """Compute windows; dask's scheduler for them."""
        if self.patience_s is None or not _drawn_by_napari():
            return dask.threaded.get(graph, keys, **options)
        self._drawn_by_s = time.monotonic() + self.patience_s
        with self._lock:  # decode nothing any more that has moved out of sight
            stale = list(self._coming.values())
        for future in stale:
            future.cancel()
        return dask.threaded.get(graph, keys, **{**options, "pool": _drawers})

    def _chunk(self, chunk: Chunk) -> NDArray[np.uint8]:
        """Give a chunk: what was decoded last, what is decoded now, or for a drawing a rough picture."""
        kept = kept_chunks.get(chunk)
        if kept is not None:
            return kept
        if _is_drawing.get():
            return self._soon(chunk)
        while True:
            try:
                return self._ordered(chunk).result()
            except CancelledError:  # a drawing did not want it any more
                continue

    def _soon(self, chunk: Chunk) -> NDArray[np.uint8]:
        """Wait for a chunk while there is patience, and make do with a rougher picture then."""
        # twice: drawing a preview and all of it again would take longer than this
        if not self.slide.is_ready(self._origins[chunk[1]], 2 * (self.patience_s or 0.0)):
            self.has_previewed = True
            return self._rough(chunk)
        if chunk in self._damaged:
            return self._rough(chunk)
        future = self._ordered(chunk)
        # the coarsest level is small, the last resort for all others, and napari keeps what it got of it
        is_coarsest = chunk[1] == len(self.levels) - 1
        left_s = None if is_coarsest else max(0.0, self._drawn_by_s - time.monotonic())
        try:
            return future.result(left_s)
        except SlideError as error:
            if self.failed is not None:
                self.failed(str(error))
        except (TimeoutError, CancelledError):
            future.add_done_callback(self._came_late)
        kept = kept_chunks.get(chunk)  # it may have come in between
        return self._rough(chunk) if kept is None else kept

    def _ordered(self, chunk: Chunk) -> Future[NDArray[np.uint8]]:
        """Let a chunk be decoded, unless it already is."""
        with self._lock:
            if chunk in self._coming:
                return self._coming[chunk]
            self._coming[chunk] = future = _decoders.submit(self._decode, chunk)
        future.add_done_callback(partial(self._came, chunk))
        return future

    def _decode(self, chunk: Chunk) -> NDArray[np.uint8]:
        pixels = self.levels[chunk[1]].window(*self._window(chunk))
        kept_chunks[chunk] = pixels
        return pixels

    def _came(self, chunk: Chunk, future: Future[NDArray[np.uint8]]) -> None:
        with self._lock:
            self._coming.pop(chunk, None)
        if not future.cancelled() and future.exception() is not None:
            self._damaged.add(chunk)

    def _came_late(self, future: Future[NDArray[np.uint8]]) -> None:
        """Tell that a chunk has come, or why not, that a drawing did without."""
        if future.cancelled():
            return
        error = future.exception()
        if error is None and self.arrived is not None:
            self.arrived()
        elif error is not None and self.failed is not None:
            self.failed(str(error))

    def _window(self, chunk: Chunk) -> tuple[slice, slice]:
        """Rows and columns of a level that a chunk holds."""
        _, number, row, column = chunk
        level = self.levels[number]
        return level.tile(row, column, level.whole_tiles(CHUNK_PX))

    def _rough(self, chunk: Chunk) -> NDArray[np.uint8]:
        """Show a chunk from the next coarser level that is decoded there, or from the preview."""
        coarser: list[tuple[Callable[..., Any], SizePx]] = [
            (partial(self._kept_window, level), self.levels[level].size)
            for level in range(chunk[1] + 1, len(self.levels))
        ]
        preview = self.slide.preview
        if preview is not None:
            coarser.append((lambda *window: preview[window], SizePx(*preview.shape[:2])))
        rows, columns = self._window(chunk)
        for read, own in coarser:
            picture = enlarged(read, own, rows, columns, self.levels[chunk[1]].size)
            if picture is not None:
                return picture
        return np.full((rows.stop - rows.start, columns.stop - columns.start, 3), WHITE, np.uint8)

    def _kept_window(self, level: int, rows: slice, columns: slice) -> NDArray[np.uint8] | None:
        """Put a window of a level together, (h, w, 3), if all of it is decoded."""
        tile = self.levels[level].whole_tiles(CHUNK_PX)
        kept = {
            place: kept_chunks.get((self._number, level, *place))
            for place in tiles_under(rows, columns, tile)
        }
        if any(pixels is None for pixels in kept.values()):
            return None
        return from_tiles(rows, columns, tile, lambda *place: kept[place])

    @property
    def known(self) -> NDArray[np.uint8] | None:
        """The whole, (h, w, 3), as far as it is known already: the overview level, or else the preview."""
        if not self.slide.is_complete:
            return self.slide.preview
        size = self.levels[self.overview_level].size
        whole = slice(0, size.height_px), slice(0, size.width_px)
        return self._kept_window(self.overview_level, *whole)


def _drawn_by_napari() -> bool:
    """Whether the window's thread slices a layer: all other callers get true pixels, however long they take."""
    if threading.current_thread() is not threading.main_thread():
        return False
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_globals.get("__name__", "").startswith(SLICING):
            return True
    return False


def levels_between(sources: Sequence[Level]) -> tuple[list[Level], list[int]]:
    """Levels finest first with those that the slide leaves out, and the stored level that each is read from."""
    levels: list[Level] = []
    origins: list[int] = []
    for number, pixels in enumerate(sources):
        levels.append(pixels)
        origins.append(number)
        if number + 1 == len(sources):
            break
        coarser_px, shrink = sources[number + 1].size.width_px, 2
        while levels[-1].size.width_px > WIDEST_STEP * coarser_px:
            levels.append(_in_between(pixels, levels[-1], shrink))
            origins.append(number)
            shrink *= 2
    return levels, origins


def _in_between(stored: Level, finer: Level, shrink: int) -> Level:
    """Offer a level that is not stored: the next finer one halved, by area."""
    side_px = min(CHUNK_PX, LARGEST_READ_PX // shrink)
    chunk_px = [
        max(side_px, chunk // shrink) for chunk in (stored.chunk.height_px, stored.chunk.width_px)
    ]

    return Level(finer.halved, halved(finer.size), SizePx(*chunk_px), stored.label)


def enlarged(
    read: Callable[[slice, slice], NDArray[np.uint8] | None],
    own: SizePx,
    rows: slice,
    columns: slice,
    whole: SizePx,
) -> NDArray[np.uint8] | None:
    """Show a window of a finer picture, whose extent is ``whole``, from a coarser one, smoothly.

    ``read`` gives a window of the coarser picture, of extent ``own``, (h, w, 3) uint8, or None where it is not
    known. Returns (rows, columns, 3) uint8, or None where ``read`` gave that.
    """
    from PIL import Image

    (top, bottom), (left, right) = scaled(rows, columns, whole, own)
    down, across = (
        slice(math.floor(start), math.ceil(stop)) for start, stop in ((top, bottom), (left, right))
    )
    part = read(down, across)
    if part is None:
        return None
    box = (left - across.start, top - down.start, right - across.start, bottom - down.start)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    image = Image.fromarray(np.ascontiguousarray(part))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box))
