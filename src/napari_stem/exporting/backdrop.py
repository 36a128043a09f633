"""The tissue behind a map: from the slide file, or from the overview that every prediction carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely

from napari_stem.errors import PredictionError
from napari_stem.geometry import SizePx

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.exporting.selection import Selection
    from napari_stem.geometry import Mpp, Region, Spots
    from napari_stem.slide.base import Slide

MARGIN = 0.04  # of the longer side


@dataclass(frozen=True)
class WindowUm:
    """A part of a slide, in um from its top-left corner."""

    left_um: float
    top_um: float
    right_um: float
    bottom_um: float

    @property
    def width_um(self) -> float:
        """From left to right."""
        return self.right_um - self.left_um

    @property
    def height_um(self) -> float:
        """From top to bottom."""
        return self.bottom_um - self.top_um

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """(left, right, bottom, top) in um, as matplotlib wants it."""
        return self.left_um, self.right_um, self.bottom_um, self.top_um


def require_same_slide(selection: Selection, slide: Slide) -> None:
    """Check that a slide is the one that was predicted; PredictionError where it is another."""
    provenance = selection.prediction.provenance
    if provenance.get("slide_fingerprint", slide.fingerprint) != slide.fingerprint:
        raise PredictionError(
            f"{slide.path.name} is not the slide that was predicted ({provenance.get('slide')}); "
            f"name that one, or leave the slide out."
        )


def window_of(selection: Selection, regions: Sequence[Region] = ()) -> WindowUm:
    """Part of the slide that holds the given regions, else all finished spots, with a margin."""
    if not regions:
        return window_of_spots(selection.spots)
    corners_px = shapely.total_bounds([region.polygon for region in regions]).reshape(2, 2)
    corners_um = corners_px * (selection.mpp.x_um, selection.mpp.y_um)
    return _around(corners_um, selection.spots.diameter_um)


def window_of_spots(spots: Spots) -> WindowUm:
    """Part of the slide that holds spots, with a margin."""
    return _around(spots.xy_um, spots.diameter_um)


def _around(points_um: NDArray[np.float64], spot_um: float) -> WindowUm:
    low_um, high_um = points_um.min(0), points_um.max(0)
    around_um = spot_um / 2 + MARGIN * float((high_um - low_um).max())
    left_um, top_um = np.maximum(0, low_um - around_um).tolist()
    return WindowUm(left_um, top_um, *(high_um + around_um).tolist())


def cut(
    selection: Selection, slide: Slide | None, window: WindowUm, longer_px: int
) -> tuple[NDArray[np.uint8], WindowUm]:
    """Image of a window, about ``longer_px`` on its longer side, and where exactly it lies.

    The coarsest level that is sharp enough is read; without the slide the prediction's overview serves. Where
    the window leaves the slide it is white.
    """
    if slide is not None:
        require_same_slide(selection, slide)
        return cut_slide(slide, selection.mpp, window, longer_px)
    pixels, downsample = selection.prediction.overview()
    (left, top, right, bottom), where = _in_pixels(window, selection.mpp, downsample)
    found = pixels[top:bottom, left:right]
    image = np.full((bottom - top, right - left, 3), 255, np.uint8)
    image[: found.shape[0], : found.shape[1]] = found
    return image, where


def cut_slide(
    slide: Slide, mpp: Mpp, window: WindowUm, longer_px: int
) -> tuple[NDArray[np.uint8], WindowUm]:
    """Image of a window of an open slide, at a pixel size; see `cut`."""
    longer_um = max(window.width_um / mpp.x_um, window.height_um / mpp.y_um)
    sharp = [i for i, v in enumerate(slide.levels) if longer_um / v.downsample >= longer_px]
    index = max(sharp, default=0)
    (left, top, right, bottom), where = _in_pixels(window, mpp, slide.levels[index].downsample)
    size = SizePx(height_px=bottom - top, width_px=right - left)
    return slide.read_region(left, top, index, size), where


def _in_pixels(
    window: WindowUm, mpp: Mpp, downsample: float
) -> tuple[tuple[int, int, int, int], WindowUm]:
    """Left, top, right and bottom of the pixels that hold a window, and where they lie."""
    x_um, y_um = downsample * mpp.x_um, downsample * mpp.y_um
    left, top = int(window.left_um / x_um), int(window.top_um / y_um)
    right, bottom = int(np.ceil(window.right_um / x_um)), int(np.ceil(window.bottom_um / y_um))
    where = WindowUm(left * x_um, top * y_um, right * x_um, bottom * y_um)
    return (left, top, right, bottom), where
