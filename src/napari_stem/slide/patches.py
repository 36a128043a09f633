"""Patches: squares of tissue of an exact size in um round each spot, at any pixel size.

Apart from the way pixels are displayed: tiles are decoded as they are stored (``tile_source``), in
threads, each once for all patches that show a part of it (``patch_plan``).
"""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.slide.patch_plan import Uses, batches, cuts_of, level_for, tiles_of, view_of
from napari_stem.slide.relay import Gate, Job, relay
from napari_stem.slide.tile_source import KEEP_BYTES, TileSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray

    from napari_stem.encoders.base import PatchSpec
    from napari_stem.geometry import Spots
    from napari_stem.slide.base import Slide
    from napari_stem.slide.patch_plan import Cuts

MAX_WORKERS = 8
SHARE = 16  # patches that a thread makes before it asks for more


class PatchReader:
    """Reads the patches round spots.

    A patch is the square of ``fov_um`` centred at the spot, to a fraction of a pixel, resampled to
    ``side_px`` with a triangle filter as wide as two of the patch's pixels, from the coarsest level
    that is still at least as fine as the patch, never from a coarser one. What lies off the slide is
    white. A patch depends on its spot alone, not on the spots read with it.

    Parameters
    ----------
    slide
        Open, with a known pixel size.
    spots
        Centres in level-0 px.
    spec
        Fields of view in um and side in px.
    max_workers
        Threads that decode and resample; by default one per processor, up to 8.
    keep_bytes
        How many bytes of decoded tiles are kept for the patches to come.

    Raises
    ------
    MissingMppError
        The slide's pixel size is unknown.
    """

    def __init__(
        self,
        slide: Slide,
        spots: Spots,
        spec: PatchSpec,
        *,
        max_workers: int | None = None,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        slide.require_mpp()
        self.slide = slide
        self.spots = spots
        self.spec = spec
        self.max_workers = max_workers or min(MAX_WORKERS, os.cpu_count() or 1)
        levels = [level_for(slide, fov_um, spec.side_px) for fov_um in spec.fields_of_view_um]
        self._tiles = {
            level: TileSource(slide, level, keep_bytes // len(set(levels))) for level in set(levels)
        }
        self._views = [
            view_of(slide, level, self._tiles[level].tile, fov_um, spec.side_px)
            for level, fov_um in zip(levels, spec.fields_of_view_um, strict=True)
        ]
        y_px, x_px = np.asarray(spots.y_px, np.float64), np.asarray(spots.x_px, np.float64)
        self._uses = {
            level: Uses([view for view in self._views if view.level == level], x_px, y_px)
            for level in self._tiles
        }
        self._lock = threading.Lock()

    def read(
        self, index: ArrayLike | slice, out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Read the patches of the chosen spots.

        Parameters
        ----------
        index
            Which spots: integers, a mask or a slice; the order is kept. Many at once, or neighbours
            one after the other, are quickest.
        out
            Contiguous array of the shape and type of the result, filled instead of a new one: fresh
            memory for many patches can take longer than making them.

        Returns
        -------
        (n, fields of view, side_px, side_px, 3) uint8 RGB.

        Raises
        ------
        SlideError
            The slide is damaged there.
        ValueError
            ``out`` does not fit.
        """
        if not isinstance(index, slice):
            index = np.asarray(index)
            index = index if index.size else index.astype(np.int64)  # [] becomes an array of float
        y_px = np.asarray(self.spots.y_px, np.float64)[index]
        x_px = np.asarray(self.spots.x_px, np.float64)[index]
        side_px = self.spec.side_px
        shape = (len(x_px), len(self._views), side_px, side_px, 3)
        if out is None:
            out = np.empty(shape, dtype=np.uint8)
        elif out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
            msg = f"patches of shape {shape} cannot be put into {out.dtype} of {out.shape}"
            raise ValueError(msg)
        patches = out.reshape(*shape[:3], 3 * side_px)
        cuts = [cuts_of(view, x_px, y_px) for view in self._views]
        with self._lock:
            try:
                relay(self._jobs(cuts, patches), self.max_workers)
            except BaseException:
                for tiles in self._tiles.values():
                    tiles.forget()
                raise
        return out

    def _jobs(self, cuts: list[Cuts], patches: NDArray[np.uint8]) -> Iterator[Job]:
        """Plan what is to be done: the tiles of one part are decoded before the last is cut."""
        room = {level: tiles.room for level, tiles in self._tiles.items()}
        at_once = {level: tiles.at_once for level, tiles in self._tiles.items()}
        waiting: list[Job] = []
        for part in batches(cuts, self._views, room, at_once):
            for level in self._tiles:
                decode, cut = self._part(level, part, cuts, patches)
                first, then = decode, waiting
                if waiting and decode and waiting[0].gate in decode[0].after:
                    first, then = waiting, decode  # there is too little room to be ahead
                yield from first
                yield from then
                waiting = cut
        yield from waiting

    def _part(
        self, level: int, part: NDArray[np.intp], cuts: list[Cuts], patches: NDArray[np.uint8]
    ) -> tuple[list[Job], list[Job]]:
        """Plan to put together what some patches show of one level: decoding, and then cutting."""
        own = [i for i, view in enumerate(self._views) if view.level == level]
        numbers = tiles_of(part, cuts, self._views, level)
        used = np.concatenate([cuts[i].tiles[part].ravel() for i in own])
        cut = Gate()
        step = self._tiles[level].step(numbers, cut, self._uses[level].take(used))
        jobs: list[Job] = []
        for i in own:
            slots = step.slots[np.searchsorted(numbers, cuts[i].tiles[part])]
            works = self._cutting(i, cuts[i], part, step.pixels, slots, patches)
            jobs += [cut.job(work, step.decoded) for work in works]
        return step.jobs, jobs

    def _cutting(
        self,
        number: int,
        cut: Cuts,
        part: NDArray[np.intp],
        tiles: NDArray[np.uint8],
        slots: NDArray[np.intp],
        patches: NDArray[np.uint8],
    ) -> Iterator[Callable[[], None]]:
        """Copy or resample the patches of one view, some at a time."""
        from napari_stem.slide.resampling import copy, resample

        view = self._views[number]
        first_px = cut.first_tile[part] * np.array([view.tile.height_px, view.tile.width_px])
        # a pixel near the patch, to count from in 32 bits; never further, so that a patch is the same
        # wherever it lies on the slide
        near = np.floor(cut.corners_px_l[part]).astype(np.intp) - view.near_px_l
        corners_px, offsets_px = cut.corners_px_l[part] - near, near - first_px
        extent_px = (view.height_px_l, view.width_px_l)

        def fill(own: NDArray[np.intp]) -> None:
            places, corners, offsets = part[own], corners_px[own], offsets_px[own]
            if cut.copied[places[0]]:
                whole = offsets + corners.astype(np.intp)
                copy(tiles, slots[own], whole, patches, places, number)
            else:
                resample(tiles, slots[own], corners, offsets, extent_px, patches, places, number)

        for copied in (True, False):
            alike = np.flatnonzero(cut.copied[part] == copied)
            for begin in range(0, len(alike), SHARE):
                yield partial(fill, alike[begin : begin + SHARE])
