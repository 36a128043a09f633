"""Where there is no tissue: the share of regions, and the spots, that lie on bare glass."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import shapely

from napari_stem.slide.tissue import TissueView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.geometry import Region, Spots
    from napari_stem.slide.base import Slide

LEAST_TISSUE = 0.1  # of a spot that does not lie on bare glass
MOST_POINTS = 400  # along a side of the lattice on which a region is looked at
MOST_VIEWS = 4  # slides whose thumbnails are kept, about 13 MB each
_views: dict[str, TissueView] = {}  # by fingerprint, the latest used last
_looking = Lock()


def view_of(slide: Slide) -> TissueView:
    """Look at a slide once, however often it is opened.

    Raises
    ------
    SlideError
        The slide is damaged.
    """
    with _looking:
        view = _views.pop(slide.fingerprint, None) or TissueView.of_slide(slide)
        _views[slide.fingerprint] = view
        while len(_views) > MOST_VIEWS:
            del _views[next(iter(_views))]
    return view


def glass_share(slide: Slide, regions: Sequence[Region]) -> float:
    """Share of the regions' area without tissue, 0 to 1; pen marks count as glass."""
    view, area = view_of(slide), shapely.union_all([region.polygon for region in regions])
    mask = view.usual_mask
    axes = (
        np.unique(np.linspace(low, high, MOST_POINTS).astype(np.int64).clip(0, n - 1))
        for low, high, n in zip(
            *np.array(area.bounds).reshape(2, 2) / view.downsample, mask.shape[::-1], strict=True
        )
    )
    col, row = (a.ravel() for a in np.meshgrid(*axes))
    shapely.prepare(area)
    held = shapely.contains_xy(area, (col + 0.5) * view.downsample, (row + 0.5) * view.downsample)
    return float(1 - mask[row[held], col[held]].mean()) if held.any() else 0.0


def on_glass(slide: Slide, spots: Spots) -> NDArray[np.bool_]:
    """Which spots, as squares of their diameter, hold hardly any tissue: (n,) bool."""
    view, mpp = view_of(slide), slide.require_mpp()
    mask = view.usual_mask
    # tissue above and left of each corner
    held = np.pad(mask.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    ends = []
    for centre_px, um, n in (
        (spots.y_px, mpp.y_um, mask.shape[0]),
        (spots.x_px, mpp.x_um, mask.shape[1]),
    ):
        half_px = spots.diameter_um / um / 2
        low = np.floor((centre_px - half_px) / view.downsample).astype(np.int64).clip(0, n - 1)
        high = np.ceil((centre_px + half_px) / view.downsample).astype(np.int64).clip(1, n)
        ends.append((low, high))
    (top, bottom), (left, right) = ends
    tissue = held[bottom, right] - held[top, right] - held[bottom, left] + held[top, left]
    return np.asarray(tissue < LEAST_TISSUE * (bottom - top) * (right - left))
