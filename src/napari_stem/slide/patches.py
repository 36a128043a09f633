"""Patches: squares of tissue of an exact size in um round each spot, at any pixel size."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.geometry import SizePx

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from napari_stem.encoders.base import PatchSpec
    from napari_stem.geometry import Spots
    from napari_stem.slide.base import Slide

CELL_PX = 1024  # spots whose patches begin in the same cell of a level are read together,
WASTE = 2.0  # unless that reads more than so many times the pixels that they need


@dataclass(frozen=True)
class _View:
    """One field of view, seen from the level it is read from (``_l``: in that level's pixels)."""

    level: int
    downsample_y: float
    downsample_x: float
    height_px_l: float
    width_px_l: float
    margin_px_l: int


@dataclass(frozen=True)
class _Window:
    """Whole pixels of a level, half-open."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)


class PatchReader:
    """Reads the patches round spots.

    A patch is the square of ``fov_um`` centred at the spot, to a fraction of a pixel, resampled to
    ``side_px`` with an antialiasing (triangle) filter from the coarsest level that is still at
    least as fine as the patch. What lies off the slide is white. A patch depends on its spot alone,
    not on the spots read with it.

    Parameters
    ----------
    slide
        Open, with a known pixel size.
    spots
        Centres in level-0 px.
    spec
        Fields of view in um and side in px.
    max_workers
        Threads that read and resample.

    Raises
    ------
    MissingMppError
        The slide's pixel size is unknown.
    """

    def __init__(
        self, slide: Slide, spots: Spots, spec: PatchSpec, *, max_workers: int | None = None
    ) -> None:
        slide.require_mpp()
        self.slide = slide
        self.spots = spots
        self.spec = spec
        self.max_workers = max_workers or min(4, os.cpu_count() or 1)
        self._views = [_view(slide, fov_um, spec.side_px) for fov_um in spec.fields_of_view_um]

    def read(self, index: ArrayLike | slice) -> NDArray[np.uint8]:
        """Read the patches of the chosen spots.

        Parameters
        ----------
        index
            Which spots: integers, a mask or a slice; the order is kept.

        Returns
        -------
        (n, fields of view, side_px, side_px, 3) uint8 RGB.

        Raises
        ------
        SlideError
            The slide is damaged there.
        """
        if not isinstance(index, slice):
            index = np.asarray(index)
            index = index if index.size else index.astype(np.int64)  # [] becomes an array of float
        chosen = np.arange(len(self.spots))[index]
        side_px = self.spec.side_px
        patches = np.empty((len(chosen), len(self._views), side_px, side_px, 3), dtype=np.uint8)
        jobs = [
            (number, group)
            for number, view in enumerate(self._views)
            for group in _groups(self._windows(view, chosen))
        ]

        def run(job: tuple[int, dict[int, _Window]]) -> None:
            number, group = job
            self._read_group(self._views[number], group, chosen, patches[:, number])

        with ThreadPoolExecutor(max_workers=self.max_workers) as pool:
            for _ in pool.map(run, jobs):  # taking the results raises what a thread raised
                pass
        return patches

    def _corner(self, view: _View, spot: int) -> tuple[float, float]:
        """Top and left of a patch, in px of its level."""
        return (
            float(self.spots.y_px[spot]) / view.downsample_y - view.height_px_l / 2,
            float(self.spots.x_px[spot]) / view.downsample_x - view.width_px_l / 2,
        )

    def _windows(self, view: _View, chosen: NDArray[np.int64]) -> list[_Window]:
        """Whole pixels that each patch needs, the filter's reach included."""
        windows = []
        for spot in chosen:
            top, left = self._corner(view, spot)
            windows.append(
                _Window(
                    top=math.floor(top) - view.margin_px_l,
                    left=math.floor(left) - view.margin_px_l,
                    bottom=math.ceil(top + view.height_px_l) + view.margin_px_l,
                    right=math.ceil(left + view.width_px_l) + view.margin_px_l,
                )
            )
        return windows

    def _read_group(
        self,
        view: _View,
        group: dict[int, _Window],
        chosen: NDArray[np.int64],
        out: NDArray[np.uint8],
    ) -> None:
        """Read what covers all windows of a group once, and resample each patch out of it."""
        from PIL import Image

        cover = _cover(list(group.values()))
        size = SizePx(cover.bottom - cover.top, cover.right - cover.left)
        pixels = self.slide.read_region(cover.left, cover.top, view.level, size)
        for place, window in group.items():
            top, left = self._corner(view, int(chosen[place]))
            top, left = top - window.top, left - window.left
            own = pixels[
                window.top - cover.top : window.bottom - cover.top,
                window.left - cover.left : window.right - cover.left,
            ]
            patch = Image.fromarray(np.ascontiguousarray(own)).resize(
                (self.spec.side_px, self.spec.side_px),
                Image.Resampling.BILINEAR,  # widened by Pillow to the scale when shrinking
                box=(left, top, left + view.width_px_l, top + view.height_px_l),
            )
            out[place] = np.asarray(patch)


def _view(slide: Slide, fov_um: float, side_px: int) -> _View:
    """Choose the level for a field of view: the coarsest still at least as fine as the patch."""
    mpp = slide.require_mpp()
    height_px, width_px = fov_um / mpp.y_um, fov_um / mpp.x_um
    wanted = min(height_px, width_px) / side_px * (1 + 1e-9)
    fine_enough = [i for i, level in enumerate(slide.levels) if level.downsample <= wanted]
    index = max(fine_enough, default=0)
    level = slide.levels[index]
    if level.downsample.is_integer():
        downsample_y = downsample_x = level.downsample
    else:  # an odd factor, perhaps not the same for both axes
        downsample_y = slide.size.height_px / level.size.height_px
        downsample_x = slide.size.width_px / level.size.width_px
    height_px_l, width_px_l = height_px / downsample_y, width_px / downsample_x
    reach = max(height_px_l, width_px_l) / side_px  # of the triangle filter; one pixel if enlarging
    return _View(
        level=index,
        downsample_y=downsample_y,
        downsample_x=downsample_x,
        height_px_l=height_px_l,
        width_px_l=width_px_l,
        margin_px_l=math.ceil(max(reach, 1.0)) + 1,
    )


def _groups(windows: list[_Window]) -> Iterator[dict[int, _Window]]:
    """Split windows into groups worth reading at once; keys are places in ``windows``."""
    cells: dict[tuple[int, int], dict[int, _Window]] = {}
    for place, window in enumerate(windows):
        cell = (window.top // CELL_PX, window.left // CELL_PX)
        cells.setdefault(cell, {})[place] = window
    for group in cells.values():
        if _cover(list(group.values())).area <= WASTE * sum(w.area for w in group.values()):
            yield group
        else:
            yield from ({place: window} for place, window in group.items())


def _cover(windows: list[_Window]) -> _Window:
    return _Window(
        top=min(w.top for w in windows),
        left=min(w.left for w in windows),
        bottom=max(w.bottom for w in windows),
        right=max(w.right for w in windows),
    )
