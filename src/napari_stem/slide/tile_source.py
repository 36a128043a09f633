"""Tiles of a slide as they are stored: decoded once for all patches that need them, kept for a while."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from napari_stem.geometry import SizePx
from napari_stem.slide.array_slide import ArraySlide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from napari_stem.slide.base import Slide

KEEP_BYTES = 128 * 2**20  # two rows of tiles across 85,000 px at 256 px a tile
TILE = SizePx(512, 512)  # of a slide that does not tell its own

Item = TypeVar("Item")


class TileKey(NamedTuple):
    """Which tile of which level."""

    level: int
    row: int
    column: int


def share(work: Callable[[Item], None], items: Iterable[Item], max_workers: int) -> None:
    """Let some threads do the work; what one of them raises stops all and is raised here."""
    waiting = deque(items)
    n_workers = min(max_workers, len(waiting))
    if n_workers <= 1:
        for item in waiting:
            work(item)
        return

    def toil() -> None:
        while True:
            try:
                item = waiting.popleft()
            except IndexError:
                return
            work(item)

    with ThreadPoolExecutor(n_workers, thread_name_prefix="patches") as pool:
        try:
            for each in [pool.submit(toil) for _ in range(n_workers)]:
                each.result()
        finally:  # also where Ctrl-C comes: the pool waits for its threads
            waiting.clear()


class TileSource:
    """Decodes tiles of a slide and keeps the last used ones.

    Parameters
    ----------
    slide
        Open.
    max_workers
        Threads that decode.
    keep_bytes
        How many bytes of pixels are held at most, unless what is asked for at once is more.
    """

    def __init__(self, slide: Slide, max_workers: int, keep_bytes: int = KEEP_BYTES) -> None:
        self.slide = slide
        self.max_workers = max_workers
        self.keep_bytes = keep_bytes
        self._kept: OrderedDict[TileKey, NDArray[np.uint8]] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    def tile(self, level: int) -> SizePx:
        """Extent of the tiles of a level, as they are stored."""
        size = self.slide.levels[level].size
        native = self.slide.sources[level].native if isinstance(self.slide, ArraySlide) else TILE
        return SizePx(
            min(native.height_px, size.height_px),
            min(native.width_px, size.width_px),
        )

    def fetch(self, keys: Iterable[TileKey]) -> Mapping[TileKey, NDArray[np.uint8]]:
        """Get tiles, each (height, width, 3) uint8, cut where the level ends; not to be written to.

        Raises
        ------
        SlideError
            A tile is damaged.
        """
        found: dict[TileKey, NDArray[np.uint8]] = {}
        missing = []
        with self._lock:
            for key in keys:
                if (pixels := self._kept.get(key)) is None:
                    missing.append(key)
                else:
                    self._kept.move_to_end(key)
                    found[key] = pixels
            self._make_room(sum(self._n_bytes(key) for key in missing), len(found))

        def decode(key: TileKey) -> None:
            found[key] = self._decode(key)

        share(decode, missing, self.max_workers)
        with self._lock:
            for key in missing:
                if key not in self._kept:  # another thread may have asked for it as well
                    self._kept[key] = found[key]
                    self._kept_bytes += self._n_bytes(key)
        return found

    def _make_room(self, n_bytes: int, n_needed: int) -> None:
        """Forget the tiles used longest ago, but none of the last ones, which are needed now."""
        while self._kept_bytes + n_bytes > self.keep_bytes and len(self._kept) > n_needed:
            key, _ = self._kept.popitem(last=False)
            self._kept_bytes -= self._n_bytes(key)

    def _n_bytes(self, key: TileKey) -> int:
        tile = self.tile(key.level)
        return 3 * tile.height_px * tile.width_px

    def _decode(self, key: TileKey) -> NDArray[np.uint8]:
        size, tile = self.slide.levels[key.level].size, self.tile(key.level)
        top, left = key.row * tile.height_px, key.column * tile.width_px
        bottom = min(top + tile.height_px, size.height_px)
        right = min(left + tile.width_px, size.width_px)
        if isinstance(self.slide, ArraySlide):
            source = self.slide.sources[key.level]
            return source.window(slice(top, bottom), slice(left, right))
        return self.slide.read_region(left, top, key.level, SizePx(bottom - top, right - left))
