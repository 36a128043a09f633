"""Tiles of a slide as they are stored: decoded once for all patches that need them, kept for a while."""

from __future__ import annotations

from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from napari_stem.geometry import SizePx
from napari_stem.slide.array_slide import ArraySlide
from napari_stem.slide.patch_plan import NO_TILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from napari_stem.slide.base import Slide

KEEP_BYTES = 128 * 2**20  # two rows of tiles across 85,000 px at 256 px a tile
PART_BYTES = 32 * 2**20  # decoded, then cut: while they are in the processor's cache
TILE = SizePx(512, 512)  # of a slide that does not tell its own
GLASS = 0  # the slot of what lies off the level
WHITE = 255

Item = TypeVar("Item")


def share(work: Callable[[Item], None], items: Iterable[Item], max_workers: int) -> None:
    """Let some threads do the work; what one of them raises stops all and is raised here."""
    waiting = deque(items)

    def toil() -> None:
        try:
            while True:
                try:
                    item = waiting.popleft()
                except IndexError:
                    return
                work(item)
        except BaseException:
            waiting.clear()
            raise

    n_helpers = min(max_workers, len(waiting)) - 1
    if n_helpers < 1:
        toil()
        return
    with ThreadPoolExecutor(
        n_helpers, thread_name_prefix="patches"
    ) as pool:  # waits for its threads
        helpers = [pool.submit(toil) for _ in range(n_helpers)]
        toil()
        for each in helpers:
            each.result()


def tile_of(slide: Slide, level: int) -> SizePx:
    """Extent of the tiles of a level, as they are stored."""
    size = slide.levels[level].size
    native = slide.sources[level].native if isinstance(slide, ArraySlide) else TILE
    return SizePx(min(native.height_px, size.height_px), min(native.width_px, size.width_px))


class TileSource:
    """Decodes tiles of one level and keeps the last used ones, side by side in one array.

    Memory is used again rather than taken afresh, which costs as much as decoding a JPEG into it: first
    that of the tiles that were let go last, as it is in the processor's cache.
    Not to be used by several threads at once.

    Parameters
    ----------
    slide
        Open.
    level
        Which of its levels.
    max_workers
        Threads that decode.
    keep_bytes
        How many bytes of pixels are held at most, unless what is asked for at once is more.

    Attributes
    ----------
    pixels
        (slots, tile height, 3 * tile width) uint8; white where a tile is cut by the level's end.
    at_once
        How many tiles are best asked for at once.
    """

    def __init__(
        self, slide: Slide, level: int, max_workers: int, keep_bytes: int = KEEP_BYTES
    ) -> None:
        self._slide = slide
        self._level = level
        self._max_workers = max_workers
        self.tile = tile_of(slide, level)
        tile_bytes = 3 * self.tile.height_px * self.tile.width_px
        self._begin(max(1, keep_bytes // tile_bytes))
        self.at_once = min(self.room // 2, PART_BYTES // tile_bytes)

    def _begin(self, room: int) -> None:
        """Hold nothing, with room for some tiles."""
        self.room = room
        self._kept: OrderedDict[int, int] = OrderedDict()  # number -> slot, last used last
        self._let_go: dict[int, int] = {}  # the same of those that are not needed any more
        self._free = list(range(room, GLASS, -1))
        self._has_glass = False
        self.pixels = np.empty((1 + room, self.tile.height_px, 3 * self.tile.width_px), np.uint8)

    def fetch(self, numbers: NDArray[np.int64]) -> NDArray[np.intp]:
        """Have tiles decoded.

        Parameters
        ----------
        numbers
            Row times tiles per row plus column, each once; ``NO_TILE`` is all white.

        Returns
        -------
        Slots of ``pixels``, in the same order; they hold until the next call.

        Raises
        ------
        SlideError
            A tile is damaged.
        """
        wanted = [int(number) for number in numbers if number != NO_TILE]
        if len(wanted) > self.room:
            self._begin(len(wanted))
        missing = []
        for number in wanted:
            if number in self._let_go:
                self._kept[number] = self._let_go.pop(number)
            elif number in self._kept:
                self._kept.move_to_end(number)
            else:
                missing.append(number)
        self._decode_all(missing)
        if len(wanted) < len(numbers) and not self._has_glass:
            self.pixels[GLASS] = WHITE
            self._has_glass = True
        slots = [GLASS if number == NO_TILE else self._kept[int(number)] for number in numbers]
        return np.array(slots, dtype=np.intp)

    def let_go(self, numbers: NDArray[np.int64]) -> None:
        """Use the memory of some tiles first; until then they are still known."""
        for number in numbers.tolist():
            if number in self._kept:
                self._let_go[number] = self._kept.pop(number)

    def _slot(self) -> int:
        if self._let_go:
            return self._let_go.popitem()[1]
        return self._free.pop() if self._free else self._kept.popitem(last=False)[1]

    def _decode_all(self, missing: list[int]) -> None:
        slots = {number: self._slot() for number in missing}
        done: list[int] = []

        def decode(number: int) -> None:
            self._decode(number, self.pixels[slots[number]])
            done.append(number)

        try:
            share(decode, missing, self._max_workers)
        finally:
            for number in done:
                self._kept[number] = slots.pop(number)
            self._free.extend(slots.values())

    def _decode(self, number: int, slot: NDArray[np.uint8]) -> None:
        size, tile = self._slide.levels[self._level].size, self.tile
        row, column = divmod(number, -(-size.width_px // tile.width_px))
        top, left = row * tile.height_px, column * tile.width_px
        bottom = min(top + tile.height_px, size.height_px)
        right = min(left + tile.width_px, size.width_px)
        target = slot.reshape(tile.height_px, tile.width_px, 3)
        inside = target[: bottom - top, : right - left]
        if isinstance(self._slide, ArraySlide):
            source = self._slide.sources[self._level]
            source.window_into(slice(top, bottom), slice(left, right), inside)
        else:
            extent = SizePx(bottom - top, right - left)
            inside[:] = self._slide.read_region(left, top, self._level, extent)
        target[bottom - top :] = WHITE
        target[: bottom - top, right - left :] = WHITE
