"""Patches: squares of tissue of an exact size in um round each spot, at any pixel size.

Apart from the way pixels are displayed: tiles are decoded as they are stored and kept for the patches to come,
and Pillow resamples from them.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_stem.geometry import PatchSpec, Spots
    from napari_stem.slide.base import Slide

MAX_WORKERS = 8
KEEP_BYTES = 256 * 2**20  # four rows of tiles of 256 px, across 85,000 px
TILE_PX = 256  # decoded at once, in multiples of the tiles as they are stored


@dataclass(frozen=True)
class View:
    """One field of view, seen from the level it is read from (``_l``: in that level's pixels)."""

    level: int  # the coarsest that is still at least as fine as the patch
    # level-0 pixels per pixel of the level
    downsample_y: float
    downsample_x: float
    # extent of the patch
    height_px_l: float
    width_px_l: float
    reach_px_l: int  # how far the filter may reach over the patch's edge

    @classmethod
    def of(cls, slide: Slide, fov_um: float, side_px: int) -> View:
        """See a field of view from the level that suits it; MissingMppError where the pixel size is unknown."""
        mpp = slide.require_mpp()
        wanted = min(fov_um / mpp.y_um, fov_um / mpp.x_um) / side_px * (1 + 1e-9)
        fine = [i for i, level in enumerate(slide.levels) if level.downsample <= wanted]
        number = max(fine, default=0)
        level = slide.levels[number]
        down_y = down_x = level.downsample
        if not level.downsample.is_integer():  # an odd factor, perhaps not the same for both axes
            down_y = slide.size.height_px / level.size.height_px
            down_x = slide.size.width_px / level.size.width_px
        height, width = fov_um / mpp.y_um / down_y, fov_um / mpp.x_um / down_x
        reach = math.ceil(max(height / side_px, width / side_px, 1.0)) + 1
        return cls(number, down_y, down_x, height, width, reach)

    def window(
        self, x_px: float, y_px: float
    ) -> tuple[tuple[int, int, int, int], tuple[float, float, float, float]]:
        """Pixels of the level that a patch is made of, and where in them the patch lies.

        ``x_px``, ``y_px`` is the patch's centre at level 0. Returns ``(left, top, right, bottom)`` in px of
        the level, half-open, perhaps off the slide; and the patch's own corners in this window, as Pillow's
        ``box`` takes them.
        """
        x = x_px / self.downsample_x - self.width_px_l / 2
        y = y_px / self.downsample_y - self.height_px_l / 2
        left, top = math.floor(x) - self.reach_px_l, math.floor(y) - self.reach_px_l
        right = math.ceil(x + self.width_px_l) + self.reach_px_l
        bottom = math.ceil(y + self.height_px_l) + self.reach_px_l
        box = (x - left, y - top, x - left + self.width_px_l, y - top + self.height_px_l)
        return (left, top, right, bottom), box


class Look(NamedTuple):
    """What an encoder sees at once: the concentric patches of some of ``PatchSpec.fields_of_view_um``.

    ``x_px``, ``y_px`` is their centre at level 0; ``is_shared``: neighbouring spots may have the same.
    """

    fields: tuple[int, ...]
    x_px: float
    y_px: float
    is_shared: bool


class PatchReader:
    """Reads the patches round spots of one slide, whose pixel size is known; may be shared by threads.

    A patch is the square of ``fov_um`` centred at the spot, or where the lattice of ``spec.steps_um`` is
    nearest to it, to a fraction of a pixel, resampled to ``side_px`` with Pillow's bilinear filter (a
    triangle as wide as two of the patch's pixels) from the coarsest level that is still at least as fine as
    the patch. What lies off the slide is white. A patch depends on its spot alone, not on the spots read with
    it.

    ``max_workers`` threads decode and resample, by default one per processor, up to 8; ``keep_bytes`` of
    decoded tiles are kept for the patches to come. MissingMppError: the slide's pixel size is unknown.
    """

    def __init__(
        self,
        slide: Slide,
        spec: PatchSpec,
        *,
        max_workers: int | None = None,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        self._slide = slide
        self.spec = spec
        self.max_workers = max_workers or min(MAX_WORKERS, os.cpu_count() or 1)
        self._views = [View.of(slide, fov_um, spec.side_px) for fov_um in spec.fields_of_view_um]
        levels = {view.level for view in self._views}
        n_bytes = keep_bytes // len(levels)
        self._levels = {level: slide.levels[level].cached(TILE_PX, n_bytes) for level in levels}

    def looks(self, spots: Spots) -> list[tuple[Look, ...]]:
        """Say what there is to see of each spot: looks that are equal where spots share them."""
        x_px, y_px = spots.x_px.tolist(), spots.y_px.tolist()
        steps_um = self.spec.steps_um
        if not steps_um:
            fields = tuple(range(len(self._views)))
            return [(Look(fields, x, y, False),) for x, y in zip(x_px, y_px, strict=True)]
        mpp = self._slide.require_mpp()
        steps_px = [(step_um / mpp.x_um, step_um / mpp.y_um) for step_um in steps_um]
        return [
            tuple(
                Look((field,), _nearest(x, step_x), _nearest(y, step_y), step_x > 0)
                for field, (step_x, step_y) in enumerate(steps_px)
            )
            for x, y in zip(x_px, y_px, strict=True)
        ]

    def read(self, spots: Spots) -> NDArray[np.uint8]:
        """Read the patches of spots: (n, fields of view, side_px, side_px, 3) uint8 RGB, in their order.

        SlideError: the slide is damaged there.
        """
        looks = [look for of_spot in self.looks(spots) for look in of_spot]
        side = self.spec.side_px
        return self.read_looks(looks).reshape(len(spots), len(self._views), side, side, 3)

    def read_looks(self, looks: Sequence[Look]) -> NDArray[np.uint8]:
        """Read the patches of looks at equally many fields of view; raises as `read`.

        Returns (n, fields of a look, side_px, side_px, 3) uint8 RGB, in the order of the looks.
        """
        side = self.spec.side_px
        n_fields = len(looks[0].fields) if looks else len(self._views)
        patches = np.empty((len(looks), n_fields, side, side, 3), np.uint8)

        def fill(places: NDArray[np.intp]) -> None:
            for place in places.tolist():
                look = looks[place]
                for number, field in enumerate(look.fields):
                    patches[place, number] = self._patch(self._views[field], look.x_px, look.y_px)

        centres = np.array([(look.x_px, look.y_px) for look in looks]).reshape(-1, 2)
        order = along_tiles(centres[:, 0], centres[:, 1])
        if len(order) <= 1 or self.max_workers == 1:
            fill(order)
            return patches
        with ThreadPoolExecutor(self.max_workers, thread_name_prefix="patches") as pool:
            list(pool.map(fill, np.array_split(order, min(len(order), 4 * self.max_workers))))
        return patches

    def read_ahead(self, parts: Sequence[Sequence[Look]]) -> Iterator[NDArray[np.uint8]]:
        """Read one group of looks after the other, the next while the last is worked on; raises as `read`."""
        with ThreadPoolExecutor(1, thread_name_prefix="patches-ahead") as ahead:
            coming = ahead.submit(self.read_looks, parts[0]) if parts else None
            for following in [*parts[1:], None]:
                if coming is None:
                    return
                patches = coming.result()
                coming = None if following is None else ahead.submit(self.read_looks, following)
                yield patches

    def _patch(self, view: View, x_px: float, y_px: float) -> NDArray[np.uint8]:
        """(side_px, side_px, 3) of one field of view."""
        from PIL import Image

        (left, top, right, bottom), box = view.window(x_px, y_px)
        pixels = self._levels[view.level].padded(slice(top, bottom), slice(left, right))
        size = (self.spec.side_px, self.spec.side_px)
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, box=box))


def _nearest(at_px: float, step_px: float) -> float:
    """Return the point of a lattice that is nearest on one axis; the place itself where there is no lattice.

    Points lie a quarter of a step off the corner: spots of a usual pitch lie on no edge between two of them,
    where rounding would choose.
    """
    return (round(at_px / step_px - 0.25) + 0.25) * step_px if step_px else at_px


def along_tiles(x_px: NDArray[np.float64], y_px: NDArray[np.float64]) -> NDArray[np.intp]:
    """Order places in bands about a tile high, so that those that share tiles follow one another."""
    return np.lexsort((x_px, y_px // (2 * TILE_PX)))
