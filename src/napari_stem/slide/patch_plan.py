"""Which pixels of which level a patch is made of, and in which order patches are best read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from napari_stem.slide.tile_source import TileKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_stem.geometry import SizePx
    from napari_stem.slide.base import Slide

ALIGNED_PX = 1e-6  # so near to whole pixels that resampling would change nothing


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
    margin_px_l: int
    copied: bool

    @property
    def tile_bytes(self) -> int:
        """Of a decoded tile."""
        return 3 * self.tile.height_px * self.tile.width_px


class Window(NamedTuple):
    """Whole pixels of a level, or whole tiles; half-open."""

    top: int
    left: int
    bottom: int
    right: int


class Cut(NamedTuple):
    """How one patch is made.

    Attributes
    ----------
    place
        Of the spot among those asked for.
    view
        Number of the field of view.
    window
        Pixels of the level that are needed; may leave the level.
    tiles
        Tiles in which those of them lie that the level has.
    box
        Left, top, right and bottom of the patch in pixels of the window; None where the window is
        the patch.
    """

    place: int
    view: int
    window: Window
    tiles: Window
    box: tuple[float, float, float, float] | None


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
    reach = max(height_px_l, width_px_l) / side_px  # of the triangle filter; one pixel if enlarging
    return View(
        level=level_index,
        size=level.size,
        tile=tile,
        downsample_y=downsample_y,
        downsample_x=downsample_x,
        height_px_l=height_px_l,
        width_px_l=width_px_l,
        margin_px_l=math.ceil(max(reach, 1.0)) + 1,
        copied=abs(height_px_l - side_px) < ALIGNED_PX and abs(width_px_l - side_px) < ALIGNED_PX,
    )


def level_for(slide: Slide, fov_um: float, side_px: int) -> int:
    """Choose the coarsest level that is still at least as fine as the patch; else the finest."""
    mpp = slide.require_mpp()
    wanted = min(fov_um / mpp.y_um, fov_um / mpp.x_um) / side_px * (1 + 1e-9)
    fine_enough = [i for i, level in enumerate(slide.levels) if level.downsample <= wanted]
    return max(fine_enough, default=0)


def cuts_of(
    number: int, view: View, x_px: NDArray[np.float64], y_px: NDArray[np.float64]
) -> list[Cut]:
    """Plan the patches of one field of view round the given level-0 places, in their order."""
    tops = y_px / view.downsample_y - view.height_px_l / 2
    lefts = x_px / view.downsample_x - view.width_px_l / 2
    return [
        _cut(place, number, view, float(top), float(left))
        for place, (top, left) in enumerate(zip(tops, lefts, strict=True))
    ]


def _cut(place: int, number: int, view: View, top: float, left: float) -> Cut:
    if view.copied and max(abs(top - round(top)), abs(left - round(left))) < ALIGNED_PX:
        height_px, width_px = round(view.height_px_l), round(view.width_px_l)
        window = Window(round(top), round(left), round(top) + height_px, round(left) + width_px)
        return Cut(place, number, window, _tiles(view, window), None)
    window = Window(
        top=math.floor(top) - view.margin_px_l,
        left=math.floor(left) - view.margin_px_l,
        bottom=math.ceil(top + view.height_px_l) + view.margin_px_l,
        right=math.ceil(left + view.width_px_l) + view.margin_px_l,
    )
    top, left = top - window.top, left - window.left
    box = (left, top, left + view.width_px_l, top + view.height_px_l)
    return Cut(place, number, window, _tiles(view, window), box)


def _tiles(view: View, window: Window) -> Window:
    """Tiles that a window touches; none (from 0 to 0) where it lies beside the level."""
    rows = _span(window.top, window.bottom, view.size.height_px, view.tile.height_px)
    columns = _span(window.left, window.right, view.size.width_px, view.tile.width_px)
    return Window(rows[0], columns[0], rows[1], columns[1])


def _span(begin_px: int, end_px: int, extent_px: int, tile_px: int) -> tuple[int, int]:
    begin_px, end_px = max(begin_px, 0), min(end_px, extent_px)
    return (begin_px // tile_px, -(-end_px // tile_px)) if begin_px < end_px else (0, 0)


def keys_of(cut: Cut, view: View) -> list[TileKey]:
    """List the tiles that a patch is made of."""
    return [
        TileKey(view.level, row, column)
        for row in range(cut.tiles.top, cut.tiles.bottom)
        for column in range(cut.tiles.left, cut.tiles.right)
    ]


def batches(
    cuts: list[Cut], views: Sequence[View], keep_bytes: int
) -> Iterator[tuple[list[Cut], set[TileKey]]]:
    """Order patches along the tiles, and split them in batches with the tiles that each needs.

    A level is gone through in columns of tiles so narrow that the tiles of a row are still kept
    when the next row needs them, whatever the slide's width. A batch's tiles take at most
    half of ``keep_bytes``; but one patch may alone be more.
    """
    widths = [_column_width(cuts, number, view, keep_bytes) for number, view in enumerate(views)]

    def along_tiles(cut: Cut) -> tuple[int, int, int, int]:
        tiles = cut.tiles
        return (views[cut.view].level, tiles.left // widths[cut.view], tiles.top, tiles.left)

    batch: list[Cut] = []
    keys: set[TileKey] = set()
    held_bytes = 0
    for cut in sorted(cuts, key=along_tiles):
        view = views[cut.view]
        own = set(keys_of(cut, view))
        if batch and held_bytes + view.tile_bytes * len(own - keys) > keep_bytes // 2:
            yield batch, keys
            batch, keys, held_bytes = [], set(), 0
        held_bytes += view.tile_bytes * len(own - keys)
        keys |= own
        batch.append(cut)
    if batch:
        yield batch, keys


def _column_width(cuts: list[Cut], number: int, view: View, keep_bytes: int) -> int:
    """In tiles; at least as wide as a patch."""
    own = [cut.tiles for cut in cuts if cut.view == number]
    n_rows = max((tiles.bottom - tiles.top for tiles in own), default=1)
    n_columns = max((tiles.right - tiles.left for tiles in own), default=1)
    n_kept = keep_bytes // 2 // view.tile_bytes
    return max(1, n_columns, n_kept // (n_rows + 1) - n_columns)
