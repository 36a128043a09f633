"""Tiles of a slide as they are stored: decoded once for all patches that need them, kept for a while."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.geometry import SizePx
from napari_stem.slide.array_slide import ArraySlide
from napari_stem.slide.patch_plan import NO_TILE
from napari_stem.slide.relay import Gate, Job

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_stem.slide.base import Slide

KEEP_BYTES = 128 * 2**20  # two rows of tiles across 85,000 px at 256 px a tile
PART_BYTES = 24 * 2**20  # decoded, then cut: while they are in the processor's cache
JOB_BYTES = 2**20  # decoded by a thread before it asks for more work
FEW_JOBS = 8  # in which a step is split at least, so that threads share it
STEPS_AHEAD = 2  # that may not be cut yet when the next is decoded
TILE = SizePx(512, 512)  # of a slide that does not tell its own
GLASS = 0  # the slot of what lies off the level
WHITE = 255


def tile_of(slide: Slide, level: int) -> SizePx:
    """Extent of the tiles of a level, as they are stored."""
    size = slide.levels[level].size
    native = slide.sources[level].native if isinstance(slide, ArraySlide) else TILE
    return SizePx(min(native.height_px, size.height_px), min(native.width_px, size.width_px))


@dataclass(frozen=True)
class Step:
    """Tiles that some patches need at once.

    Attributes
    ----------
    pixels
        Of ``TileSource`` at that time.
    slots
        Where in it the tiles lie, in the order in which they were asked for.
    jobs
        Decode those that are not there yet.
    decoded
        When they are open all are there, those of steps before as well.
    """

    pixels: NDArray[np.uint8]
    slots: NDArray[np.intp]
    jobs: list[Job]
    decoded: tuple[Gate, ...]


@dataclass(frozen=True)
class _Flight:
    """A step whose patches may not be cut yet."""

    cut: Gate
    tiles: list[int]
    last: NDArray[np.int64]


class TileSource:
    """Plans which tiles of one level are decoded when, and keeps the last used ones in one array.

    Steps are planned ahead of being carried out. Memory is used again rather than taken afresh, which costs
    as much as decoding a JPEG into it, but only when the patches of the step before are cut.
    Not to be used by several threads at once, unlike the jobs.

    Parameters
    ----------
    slide
        Open.
    level
        Which of its levels.
    keep_bytes
        How many bytes of pixels are held at most, unless what is asked for at once is more.

    Attributes
    ----------
    pixels
        (slots, tile height, 3 * tile width) uint8; white where a tile is cut by the level's end.
    at_once
        How many tiles are best asked for at once.
    """

    def __init__(self, slide: Slide, level: int, keep_bytes: int = KEEP_BYTES) -> None:
        self._slide = slide
        self._level = level
        self.tile = tile_of(slide, level)
        self._tile_bytes = 3 * self.tile.height_px * self.tile.width_px
        self._begin(max(1, keep_bytes // self._tile_bytes))

    def _begin(self, room: int) -> None:
        """Hold nothing, with room for some tiles."""
        self.room = room
        self.at_once = min(room // 2, PART_BYTES // self._tile_bytes)
        self._kept: OrderedDict[int, int] = OrderedDict()  # number -> slot, last used last
        self._let_go: dict[int, int] = {}  # the same of those that are not needed any more
        self._free = list(range(room, GLASS, -1))
        self._has_glass = False
        self._flights: deque[_Flight] = deque()
        self._decoding: list[Gate] = []
        self._landing: list[Gate] = []  # of steps whose tiles may be given away when they are cut
        self.pixels = np.empty((1 + room, self.tile.height_px, 3 * self.tile.width_px), np.uint8)

    def forget(self) -> None:
        """Take no tile for decoded: after a failure."""
        self._begin(self.room)

    def step(self, numbers: NDArray[np.int64], cut: Gate, last: NDArray[np.int64]) -> Step:
        """Plan to have tiles decoded.

        Parameters
        ----------
        numbers
            Row times tiles per row plus column, each once; ``NO_TILE`` is all white.
        cut
            Open when the patches are cut for which the tiles are asked: until then they are there.
        last
            Those that no other patch needs: their memory is used first.

        Returns
        -------
        What to do; a damaged tile is a SlideError then.
        """
        wanted = [int(number) for number in numbers if number != NO_TILE]
        if len(wanted) > self.room:
            self._begin(len(wanted))
        self._land(len(wanted))
        self._flights.append(_Flight(cut, wanted, last))
        missing = []
        for number in wanted:
            if number in self._let_go:
                self._kept[number] = self._let_go.pop(number)
            elif number in self._kept:
                self._kept.move_to_end(number)
            else:
                missing.append(number)
        for number in missing:
            self._kept[number] = self._slot()
        if len(wanted) < len(numbers) and not self._has_glass:
            self.pixels[GLASS] = WHITE
            self._has_glass = True
        slots = [GLASS if number == NO_TILE else self._kept[int(number)] for number in numbers]
        return self._step(np.array(slots, dtype=np.intp), missing)

    def _step(self, slots: NDArray[np.intp], missing: list[int]) -> Step:
        self._landing = [gate for gate in self._landing if gate.left]
        own, after = Gate(), tuple(self._landing)
        at_once = max(1, min(JOB_BYTES // self._tile_bytes, len(missing) // FEW_JOBS))
        places = [(number, self.pixels[self._kept[number]]) for number in missing]
        jobs = [
            own.job(partial(self._decode_all, places[begin : begin + at_once]), after)
            for begin in range(0, len(places), at_once)
        ]
        self._decoding = [gate for gate in [*self._decoding, own] if gate.left]
        return Step(self.pixels, slots, jobs, tuple(self._decoding))

    def _land(self, n_wanted: int) -> None:
        """Make an end of the oldest steps, so that there are few and room for tiles beside theirs."""
        flights = self._flights
        while flights and (
            len(flights) > STEPS_AHEAD
            or sum(len(flight.tiles) for flight in flights) + n_wanted > self.room
        ):
            flight = flights.popleft()
            self._landing.append(flight.cut)
            needed = {number for other in flights for number in other.tiles}
            for number in flight.last.tolist():
                if number in self._kept and number not in needed:
                    self._let_go[number] = self._kept.pop(number)

    def _slot(self) -> int:
        if self._let_go:
            return self._let_go.popitem()[1]
        return self._free.pop() if self._free else self._kept.popitem(last=False)[1]

    def _decode_all(self, places: list[tuple[int, NDArray[np.uint8]]]) -> None:
        if isinstance(self._slide, ArraySlide):
            self._slide.sources[self._level].check()
        for number, slot in places:
            self._decode(number, slot)

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
        if inside.shape != target.shape:
            target[bottom - top :] = WHITE
            target[: bottom - top, right - left :] = WHITE
