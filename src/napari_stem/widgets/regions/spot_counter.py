"""Spots and regions: how many are held, fast enough to follow the pen; the square round a click."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp, Region, SizePx

ESTIMATE_ABOVE = 100_000  # spots round a region: beyond, its area alone says how many
CORNERS = 2_000  # of an outline: beyond, its area alone says how many


def count_spots(
    regions: Sequence[Region], size: SizePx, mpp: Mpp, pitch_um: float
) -> tuple[int, list[int]]:
    """Count the spots of a run without making their list; near enough where there are very many.

    Parameters
    ----------
    regions, size, mpp, pitch_um
        What a run would be asked for: where, on which slide, how finely.

    Returns
    -------
    (in all, in each region); spots in several regions are counted once in all.
    """
    each = [_count(region.polygon, size, mpp, pitch_um) for region in regions]
    if len(regions) < 2:
        return sum(each), each
    return _count(shapely.union_all([r.polygon for r in regions]), size, mpp, pitch_um), each


def _count(area: shapely.Geometry, size: SizePx, mpp: Mpp, pitch_um: float) -> int:
    if area.is_empty:
        return 0
    step_x_px, step_y_px = pitch_um / mpp.x_um, pitch_um / mpp.y_um
    left, top, right, bottom = area.bounds
    cols = _between(left, right, step_x_px, size.width_px)
    rows = _between(top, bottom, step_y_px, size.height_px)
    if len(cols) * len(rows) > ESTIMATE_ABOVE or shapely.get_num_coordinates(area) > CORNERS:
        slide = shapely.box(0, 0, size.width_px, size.height_px)
        area_px2 = float(shapely.intersection(area, slide).area)
        return round(area_px2 / (step_x_px * step_y_px))
    x_px, y_px = np.meshgrid((cols + 0.5) * step_x_px, (rows + 0.5) * step_y_px)
    shapely.prepare(area)
    return int(np.count_nonzero(shapely.contains_xy(area, x_px.ravel(), y_px.ravel())))


def _between(low_px: float, high_px: float, step_px: float, side_px: int) -> NDArray[np.int64]:
    """Rows or columns of `geometry.lattice` whose centres lie between two bounds."""
    n_all = int(np.floor(side_px / step_px + 0.5))
    first = max(0, int(np.floor(low_px / step_px - 0.5)))
    last = min(n_all - 1, int(np.ceil(high_px / step_px - 0.5)))
    return np.arange(first, last + 1)


def squares_um(
    centre_um: Sequence[float], n_spots: int, pitch_um: float
) -> tuple[float, float, float, float]:
    """Square of ``n_spots`` x ``n_spots`` whole spots round a point: (top, left, bottom, right) in um.

    Parameters
    ----------
    centre_um
        (y, x) on the slide, from its corner.
    n_spots
        Along a side.
    pitch_um
        Distance between spots; the lattice starts at the slide's corner.
    """
    top, left = (
        max(0, round(value / pitch_um - n_spots / 2)) * pitch_um for value in centre_um[-2:]
    )
    side_um = n_spots * pitch_um
    return top, left, top + side_um, left + side_um
