"""Which pixels of which level a patch is made of, and in which order patches are best read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_stem.geometry import SizePx
    from napari_stem.slide.base import Slide

ALIGNED_PX = 1e-6  # so near to whole pixels that resampling would change nothing
NO_TILE = -1  # off the level
MANY_SPOTS = 2**16  # that are planned at once


@dataclass(frozen=True)
class View:
    """One field of view, seen from the level it is read from (``_l``: in that level's pixels).

    Attributes
    ----------
    level
        The coarsest that is still at least as fine as the patch.
    size, tile
        Extent of the level and of its tiles.
    downsample_y, downsample_x
        Level-0 pixels per pixel of the level.
    height_px_l, width_px_l
        Extent of the patch.
    margin_px_l
        How far the filter reaches over the patch's edge.
    near_px_l
        How far before the patch's corner the pixel lies from which positions are counted; the filter
        does not reach so far.
    copied
        The patch has the level's own pixel size: wherever its corner lies on whole pixels, there is
        nothing to resample.
    """

    level: int
    size: SizePx
    tile: SizePx
    downsample_y: float
    downsample_x: float
    height_px_l: float
    width_px_l: float
    margin_px_l: float
    near_px_l: int
    copied: bool


@dataclass(frozen=True)
class Cuts:
    """Where the patches of one view lie, in the order of their n spots.

    Attributes
    ----------
    corners_px_l
        (n, 2) float64 top and left; may lie off the level.
    copied
        (n,) bool: nothing is to be resampled.
    windows
        (n, 4) int64 top, left, bottom, right of the pixels that are needed, half-open.
    first_tile
        (n, 2) int64 row and column of the tile in which the window's first pixel lies; may be off
        the level.
    tiles
        (n, rows, columns) int64, from the first tile on as far as any window reaches: row times
        tiles per row plus column, or ``NO_TILE`` off the level and beyond the own window.
    """

    corners_px_l: NDArray[np.float64]
    copied: NDArray[np.bool_]
    windows: NDArray[np.int64]
    first_tile: NDArray[np.int64]
    tiles: NDArray[np.int64]


def view_of(slide: Slide, level_index: int, tile: SizePx, fov_um: float, side_px: int) -> View:
    """See a field of view from a level.

    Raises
    ------
    MissingMppError
        The slide's pixel size is unknown.
    """
    mpp = slide.require_mpp()
    level = slide.levels[level_index]
    if level.downsample.is_integer():
        downsample_y = downsample_x = level.downsample
    else:  # an odd factor, perhaps not the same for both axes
        downsample_y = slide.size.height_px / level.size.height_px
        downsample_x = slide.size.width_px / level.size.width_px
    height_px_l = fov_um / mpp.y_um / downsample_y
    width_px_l = fov_um / mpp.x_um / downsample_x
    scale = (
        max(height_px_l, width_px_l) / side_px
    )  # the filter's half width; one pixel if enlarging
    return View(
        level=level_index,
        size=level.size,
        tile=tile,
        downsample_y=downsample_y,
        downsample_x=downsample_x,
        height_px_l=height_px_l,
        width_px_l=width_px_l,
        margin_px_l=max(scale, 1.0) / 2 + 0.5,  # seen from the outermost pixels' centres
        near_px_l=math.ceil(max(scale, 1.0)) + 1,
        copied=abs(height_px_l - side_px) < ALIGNED_PX and abs(width_px_l - side_px) < ALIGNED_PX,
    )


def level_for(slide: Slide, fov_um: float, side_px: int) -> int:
    """Choose the coarsest level that is still at least as fine as the patch; else the finest."""
    mpp = slide.require_mpp()
    wanted = min(fov_um / mpp.y_um, fov_um / mpp.x_um) / side_px * (1 + 1e-9)
    fine_enough = [i for i, level in enumerate(slide.levels) if level.downsample <= wanted]
    return max(fine_enough, default=0)


def cuts_of(view: View, x_px: NDArray[np.float64], y_px: NDArray[np.float64]) -> Cuts:
    """Plan the patches of one field of view round the given level-0 places, in their order."""
    corners = np.stack(
        [
            y_px / view.downsample_y - view.height_px_l / 2,
            x_px / view.downsample_x - view.width_px_l / 2,
        ],
        axis=1,
    )
    extent = np.array([view.height_px_l, view.width_px_l])
    whole = np.rint(corners)
    aligned = (np.abs(corners - whole) < ALIGNED_PX).all(axis=1)
    copied = np.logical_and(aligned, view.copied)
    corners[copied] = whole[copied]
    margin = np.where(copied, 0.0, view.margin_px_l)[:, None]
    extents = np.where(copied[:, None], np.rint(extent), extent)
    begin = np.floor(corners - margin).astype(np.int64)
    end = np.ceil(corners + extents + margin).astype(np.int64)
    first, tiles = _tiles(view, begin, end)
    return Cuts(corners, copied, np.concatenate([begin, end], axis=1), first, tiles)


def _tiles(
    view: View, begin: NDArray[np.int64], end: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First tile of each window, and all that it touches."""
    extent = np.array([view.tile.height_px, view.tile.width_px])
    first, last = begin // extent, (end - 1) // extent
    n_rows, n_columns = (last - first + 1).max(axis=0, initial=1)
    rows = first[:, :1] + np.arange(n_rows)
    columns = first[:, 1:] + np.arange(n_columns)
    all_rows = -(-view.size.height_px // view.tile.height_px)
    all_columns = -(-view.size.width_px // view.tile.width_px)
    in_rows = (rows >= 0) & (rows < all_rows) & (rows <= last[:, :1])
    in_columns = (columns >= 0) & (columns < all_columns) & (columns <= last[:, 1:])
    numbers = rows[:, :, None] * all_columns + columns[:, None, :]
    touched = in_rows[:, :, None] & in_columns[:, None, :]
    return first, np.where(touched, numbers, NO_TILE)


class Uses:
    """How many patches are still to come that need a tile, of one level.

    Parameters
    ----------
    views
        The fields of view that are read from the level.
    x_px, y_px
        Level-0 places of all spots.
    """

    def __init__(
        self, views: Sequence[View], x_px: NDArray[np.float64], y_px: NDArray[np.float64]
    ) -> None:
        parts = [np.empty(0, np.int64)] * 2
        seen = [parts]
        for begin in range(0, len(x_px), MANY_SPOTS):
            some = slice(begin, begin + MANY_SPOTS)
            for view in views:
                tiles = cuts_of(view, x_px[some], y_px[some]).tiles
                seen.append(list(np.unique(tiles, return_counts=True)))
        numbers, counts = (np.concatenate(each) for each in zip(*seen, strict=True))
        self._numbers, place = np.unique(numbers, return_inverse=True)
        self._left = np.bincount(place, counts, len(self._numbers)).astype(np.int64)

    def take(self, tiles: NDArray[np.int64]) -> NDArray[np.int64]:
        """Count tiles as used, once for each time they are named; tell those that were so last."""
        numbers, counts = np.unique(tiles, return_counts=True)
        places = np.searchsorted(self._numbers, numbers)
        self._left[places] -= counts
        return numbers[self._left[places] <= 0]


def batches(
    cuts: Sequence[Cuts],
    views: Sequence[View],
    room: Mapping[int, int],
    at_once: Mapping[int, int],
) -> Iterator[NDArray[np.intp]]:
    """Order spots along the tiles, and split them so that the tiles of each part fit.

    Parameters
    ----------
    cuts, views
        One per field of view.
    room
        How many tiles are kept of each level.
    at_once
        How many tiles of each level a part takes at most; but one spot may alone be more.
    """
    waiting = [_along_tiles(cuts, views, room)]
    while waiting:
        part = waiting.pop()
        if len(part) > 1 and not _fits(part, cuts, views, at_once):
            waiting += [part[len(part) // 2 :], part[: len(part) // 2]]
        elif len(part):
            yield part


def _fits(
    part: NDArray[np.intp], cuts: Sequence[Cuts], views: Sequence[View], at_once: Mapping[int, int]
) -> bool:
    return all(
        len(tiles_of(part, cuts, views, level)) <= n_tiles for level, n_tiles in at_once.items()
    )


def tiles_of(
    part: NDArray[np.intp], cuts: Sequence[Cuts], views: Sequence[View], level: int
) -> NDArray[np.int64]:
    """List the tiles of one level that some spots need, each once, ascending; may hold ``NO_TILE``."""
    own = [
        cut.tiles[part].ravel()
        for cut, view in zip(cuts, views, strict=True)
        if view.level == level
    ]
    return np.unique(np.concatenate(own))


def _along_tiles(
    cuts: Sequence[Cuts], views: Sequence[View], room: Mapping[int, int]
) -> NDArray[np.intp]:
    """Order spots by the tiles of the finest level.

    It is gone through in columns of tiles so narrow that the tiles of a row are still kept when the
    next row needs them, whatever the slide's width.
    """
    finest = min(range(len(views)), key=lambda number: views[number].level)
    _, n_rows, n_columns = cuts[finest].tiles.shape
    n_kept = room[views[finest].level] // 2
    width = max(1, n_columns, n_kept // (n_rows + 1) - n_columns)
    rows, columns = cuts[finest].first_tile.T
    return np.lexsort((columns, rows, columns // width))
