"""What a viewer reads of a slide: blocks decoded in threads, the last used kept, nothing waited for long.

A viewer asks again and again for all that is to be seen. Blocks stay decoded, up to ``KEEP_BYTES`` for
all slides together. On the main thread of a viewer that redraws when told to (``patience_s`` is set),
what does not come in time is shown from a coarser level, and ``arrived`` tells when it has come; all
others, and all reading by other threads, wait for the true pixels.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import SlideError
from napari_stem.slide.array_slide import WHITE, LevelPixels
from napari_stem.slide.sketch import cut_enlarged, enlarged
from napari_stem.slide.view_blocks import Block, kept_blocks
from napari_stem.slide.view_levels import ViewLevel, block_of, shown_levels

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_stem.slide.base import Slide

LOADERS = 4
_numbers = itertools.count()


@cache
def _loaders() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(LOADERS, os.cpu_count() or 1), thread_name_prefix="slide-view")


class SlideView:
    """A slide as a viewer shows it.

    Parameters
    ----------
    slide
        Open; its missing levels may still have to be made.

    Attributes
    ----------
    slide
        The slide.
    levels
        Array-likes (height, width, 3) uint8, finest first, for a multiscale image.
    patience_s
        How long reading on the main thread waits for pixels; None: until they are there.
    arrived
        Called, in any thread, when pixels have come that were not waited for.
    failed
        Called, in any thread, with a sentence when pixels turn out damaged that were not waited for.
    has_sketched
        Whether a level that was not made yet has been shown from the slide's sketch.
    """

    def __init__(self, slide: Slide) -> None:
        self.slide = slide
        self.patience_s: float | None = None
        self.arrived: Callable[[], None] | None = None
        self.failed: Callable[[str], None] | None = None
        self.has_sketched = False
        self._number = next(_numbers)  # tells its blocks from those of other views
        shown = shown_levels(slide)
        self._origins = [each.origin for each in shown]
        self._sources = [each.pixels for each in shown]
        self.levels = [
            ViewLevel(LevelPixels(partial(self._window, number), p.size, block_of(p), p.told_as))
            for number, p in enumerate(self._sources)
        ]
        self._coarsest: NDArray[np.uint8] | None = None
        self._coming: dict[Block, Future[NDArray[np.uint8]]] = {}
        self._late: set[Block] = set()
        self._damaged: set[Block] = set()
        self._lock = threading.Lock()

    def _window(self, level: int, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Read a window of a level."""
        patience_s = self.patience_s
        if threading.current_thread() is not threading.main_thread():
            patience_s = None
        # twice: drawing a sketch and all of it again would take longer than this
        if patience_s is not None and not self.slide.is_ready(self._origins[level], 2 * patience_s):
            self.has_sketched = True
            return self._rough(level, rows, columns)
        if level < len(self.levels) - 1:
            return self._from_blocks(level, rows, columns, patience_s)
        try:
            return self._whole_coarsest()[rows, columns]
        except SlideError as error:
            if patience_s is None:
                raise
            if self.failed is not None:
                self.failed(str(error))
            return self._rough(level, rows, columns)

    @property
    def coarsest(self) -> NDArray[np.uint8] | None:
        """The coarsest level, (h, w, 3), if it has been read already."""
        return self._coarsest

    def _whole_coarsest(self) -> NDArray[np.uint8]:
        """Read the coarsest level, once: it is small, and the last resort for all others."""
        if self._coarsest is None:
            size = self.levels[-1].pixels.size
            self._coarsest = self._sources[-1].window(
                slice(0, size.height_px), slice(0, size.width_px)
            )
        return self._coarsest

    def _from_blocks(
        self, level: int, rows: slice, columns: slice, patience_s: float | None
    ) -> NDArray[np.uint8]:
        blocks = self._blocks(level, rows, columns)
        kept = {block: kept_blocks().get(block) for block in blocks}
        missing = [block for block, pixels in kept.items() if pixels is None]
        if patience_s is not None:
            self._forget_all_but(missing)
        coming = {block: self._ordered(block) for block in missing if block not in self._damaged}
        end = None if patience_s is None else time.monotonic() + patience_s
        window = np.empty((rows.stop - rows.start, columns.stop - columns.start, 3), np.uint8)
        for block in blocks:
            pixels = kept[block]
            if pixels is None and block in coming:
                pixels = self._awaited(block, coming[block], end)
            elif pixels is None and end is None:
                pixels = self._load(block)  # raises what is wrong with it
            self._paste(window, rows, columns, block, pixels)
        return window

    def _blocks(self, level: int, rows: slice, columns: slice) -> list[Block]:
        pixels = self.levels[level].pixels
        height_px, width_px = pixels.native.height_px, pixels.native.width_px
        size = pixels.size
        return [
            Block(
                self._number,
                level,
                (top, min(top + height_px, size.height_px)),
                (left, min(left + width_px, size.width_px)),
            )
            for top in range(rows.start // height_px * height_px, rows.stop, height_px)
            for left in range(columns.start // width_px * width_px, columns.stop, width_px)
        ]

    def _load(self, block: Block) -> NDArray[np.uint8]:
        pixels = self._sources[block.level].window(slice(*block.rows), slice(*block.columns))
        kept_blocks().put(block, pixels)
        return pixels

    def _ordered(self, block: Block) -> Future[NDArray[np.uint8]]:
        """Let a block be decoded in a thread, unless it already is."""
        with self._lock:
            if block in self._coming:
                return self._coming[block]
            self._coming[block] = future = _loaders().submit(self._load, block)
        # without the lock: of what has already come, this thread itself is told now
        future.add_done_callback(partial(self._came, block))
        return future

    def _came(self, block: Block, future: Future[NDArray[np.uint8]]) -> None:
        with self._lock:
            self._coming.pop(block, None)
            was_late = block in self._late
            self._late.discard(block)
        if future.cancelled():
            return
        error = future.exception()
        if error is not None:
            self._damaged.add(block)
            if was_late and self.failed is not None:
                self.failed(str(error))
        elif was_late and self.arrived is not None:
            self.arrived()

    def _forget_all_but(self, wanted: list[Block]) -> None:
        """Decode nothing any more that has moved out of sight."""
        with self._lock:
            stale = [f for block, f in self._coming.items() if block not in set(wanted)]
        for future in stale:
            future.cancel()

    def _awaited(
        self, block: Block, future: Future[NDArray[np.uint8]], end: float | None
    ) -> NDArray[np.uint8] | None:
        """Wait for a block; None where it does not come in time, or is damaged and nobody insists."""
        try:
            return future.result(None if end is None else max(0.0, end - time.monotonic()))
        except CancelledError:
            return self._load(block) if end is None else None
        except TimeoutError:
            with self._lock:
                if block in self._coming:
                    self._late.add(block)
                    return None
            return kept_blocks().get(block)  # it came in between
        except SlideError as error:
            if end is None:
                raise
            if self.failed is not None:
                self.failed(str(error))
            return None

    def _paste(
        self,
        window: NDArray[np.uint8],
        rows: slice,
        columns: slice,
        block: Block,
        pixels: NDArray[np.uint8] | None,
    ) -> None:
        """Put what a block has of a window into it."""
        top, bottom = max(block.rows[0], rows.start), min(block.rows[1], rows.stop)
        left, right = max(block.columns[0], columns.start), min(block.columns[1], columns.stop)
        if pixels is None:
            part = self._rough(block.level, slice(top, bottom), slice(left, right))
        else:
            part = pixels[
                top - block.rows[0] : bottom - block.rows[0],
                left - block.columns[0] : right - block.columns[0],
            ]
        window[
            top - rows.start : bottom - rows.start, left - columns.start : right - columns.start
        ] = part

    def _rough(self, level: int, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Show a window from the next coarser level that is decoded there."""
        whole = self.levels[level].shape[:2]
        for coarser in range(level + 1, len(self.levels) - 1):
            part = self._kept_around(coarser, rows, columns, whole)
            if part is not None:
                return part
        picture = self.slide.sketch if self._coarsest is None else self._coarsest
        if picture is None:
            return np.full(
                (rows.stop - rows.start, columns.stop - columns.start, 3), WHITE, np.uint8
            )
        return enlarged(picture, rows, columns, whole)

    def _kept_around(
        self, level: int, rows: slice, columns: slice, whole: tuple[int, int]
    ) -> NDArray[np.uint8] | None:
        """Show a window of a finer picture from one level, if all of it is decoded there."""
        extents = self.levels[level].shape[:2]
        down, right = (
            slice(span.start * own // fine, min(own, math.ceil(span.stop * own / fine)))
            for span, own, fine in zip((rows, columns), extents, whole, strict=True)
        )
        found = [(block, kept_blocks().get(block)) for block in self._blocks(level, down, right)]
        if any(pixels is None for _, pixels in found):
            return None
        part = np.empty((down.stop - down.start, right.stop - right.start, 3), np.uint8)
        for block, pixels in found:
            self._paste(part, down, right, block, pixels)
        vertical, horizontal = (
            (span.start * own / fine - mine.start, span.stop * own / fine - mine.start)
            for span, own, fine, mine in zip(
                (rows, columns), extents, whole, (down, right), strict=True
            )
        )
        size = (rows.stop - rows.start, columns.stop - columns.start)
        return cut_enlarged(part, vertical, horizontal, size)
