"""Patches cut out of tiles, copied or resampled: compiled, as reading patches spends its time here.

An antialiasing triangle filter, as wide as two of the patch's pixels (two of the tiles' own where it
enlarges): that of Pillow's bilinear ``resize``, but rounded to grey values once only, at the end. Rows are
mixed before columns, as they lie in memory and fewer are left then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.slide.columns import BLOCK, LANES, mix_columns
from napari_stem.slide.compiled import compiled
from napari_stem.slide.straight import MOST_TAPS, SHORT_RUN_PX, resample_straight, straight_runs
from napari_stem.slide.tile_rows import AHEAD, copy_line, mix_row, pieces_of_rows
from napari_stem.slide.vectors import POINT, ask_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

F32, U64 = np.float32, np.uint64
ALL = 2**16 - 1  # sum of the whole weights of one pixel
COLOURS = U64(3)


@compiled
def triangle(
    begin_px: float,
    extent_px: float,
    offset_px: int,
    first: NDArray[np.int64],
    used: NDArray[np.int64],
    weights: NDArray[np.float32],
    numbers: NDArray[np.uint16],
) -> int:
    """Weigh the pixels that each of a line's new pixels is made of.

    Parameters
    ----------
    begin_px, extent_px
        Where the patch lies along this axis; its filter must not reach below 0.
    offset_px
        Added to the pixels' numbers.
    first
        (side,), filled with the first pixel of each.
    used
        (side,), filled with the number of pixels of each.
    weights
        (side, taps), filled; each row's sum is 1.
    numbers
        (side, taps), filled with the same as whole numbers; each row's sum is ``ALL``.

    Returns
    -------
    The pixel after the last that any weight falls on.
    """
    side, taps = weights.shape
    scale = extent_px / side
    reach = max(scale, 1.0)
    steepness = 1.0 / reach
    end = 0
    for i in range(side):
        centre = begin_px + (i + 0.5) * scale
        low, end = int(centre - reach + 0.5), int(centre + reach + 0.5)
        first[i], used[i] = low + offset_px, end - low
        total = 0.0
        for k in range(end - low):
            weights[i, k] = max(0.0, 1.0 - abs((low + k - centre + 0.5) * steepness))
            total += weights[i, k]
        part, so_far, begun = 1.0 / total, 0.0, 0
        for k in range(end - low):
            weights[i, k] *= part
            so_far += weights[i, k]
            numbers[i, k] = int(so_far * ALL + 0.5) - begun
            begun += numbers[i, k]
        for k in range(end - low, taps):
            weights[i, k], numbers[i, k] = 0.0, 0
    return end + offset_px


@compiled
def resample(
    tiles: NDArray[np.uint8],
    slots: NDArray[np.intp],
    corners_px: NDArray[np.float64],
    offsets_px: NDArray[np.intp],
    extent_px: tuple[float, float],
    out: NDArray[np.uint8],
    places: NDArray[np.intp],
    view: int,
) -> None:
    """Resample patches of one extent with a triangle as wide as two of their pixels.

    Parameters
    ----------
    tiles
        (n slots, height, 3 * width) decoded tiles, contiguous.
    slots
        (n, tile rows, tile columns): where the tiles lie that each patch needs.
    corners_px
        (n, 2) top and left of each patch, from a pixel near it.
    offsets_px
        (n, 2) row and column of that pixel, counted from the corner of the first tile.
    extent_px
        Height and width of all patches.
    out
        (patches, views, side, 3 * side), contiguous, filled at ``[places, view]``.
    places, view
        (n,) and one number: which of ``out``.
    """
    side = out.shape[2]
    taps = int(2 * max(extent_px[0], extent_px[1], side) / side) + 2
    first_y, first_x = np.empty(side, np.int64), np.empty(side, np.int64)
    used_y, used_x = np.empty(side, np.int64), np.empty(side, np.int64)
    weights_y, weights_x = np.empty((side, taps), np.float32), np.empty((side, taps), np.float32)
    numbers_y, numbers_x = np.empty((side, taps), np.uint16), np.empty((side, taps), np.uint16)
    runs = np.empty((side, 3), np.int64)
    for i in range(len(places)):
        (top, left), (y_px, x_px) = corners_px[i], offsets_px[i]
        bottom = triangle(top, extent_px[0], y_px, first_y, used_y, weights_y, numbers_y)
        right = triangle(left, extent_px[1], x_px, first_x, used_x, weights_x, numbers_x)
        rows = pieces_of_rows(tiles, slots[i], (first_y[0], first_x[0], bottom, right))
        target = out[places[i], view]
        by_row = (first_y, used_y, numbers_y)
        n_runs = straight_runs(first_x, used_x, runs)
        if n_runs * SHORT_RUN_PX <= side and used_x.max() <= MOST_TAPS:
            by_column = (first_x, used_x, numbers_x)
            resample_straight(tiles, rows, by_row, by_column, runs[:n_runs], target)
        else:
            usual = max(2, int(2 * max(extent_px[1] / side, 1.0) + 0.9))
            _resample_any(tiles, rows, by_row, (first_x, used_x, weights_x), usual, target)


@compiled
def _resample_any(
    tiles: NDArray[np.uint8],
    rows: tuple[NDArray[np.uint64], NDArray[np.uint64]],
    by_row: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint16]],
    by_column: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]],
    usual: int,
    out: NDArray[np.uint8],
) -> None:
    """Resample one patch as ``resample_straight`` does, of any extent; most columns have ``usual`` taps."""
    (first_y, used_y, weights_y), (first_x, used_x, weights_x) = by_row, by_column
    side, taps = weights_x.shape
    weights_x /= F32(2**POINT)
    at = COLOURS * (first_x - first_x[0]).astype(np.uint64)
    stops = np.append(np.flatnonzero(used_x > usual), side)
    both_taps = (usual, used_x.max())
    n_numbers = 3 * (first_x[-1] + used_x[-1] - first_x[0])
    mixed = np.empty(n_numbers, np.uint16)
    block = np.zeros((BLOCK, n_numbers + 3 * taps + LANES), np.float32)
    lines = np.empty((BLOCK, 3 * side + LANES), np.uint8)
    for y in range(side):
        mix_row(tiles, rows, first_y[y] - first_y[0], weights_y, y, used_y[y], mixed)
        copy_line(mixed, block[y % BLOCK, :n_numbers])
        if y % BLOCK == BLOCK - 1 or y == side - 1:
            mix_columns(block, at, weights_x, both_taps, stops, lines)
            for row in range(y % BLOCK + 1):
                copy_line(lines[row], out[y - y % BLOCK + row])


@compiled
def copy(
    tiles: NDArray[np.uint8],
    slots: NDArray[np.intp],
    corners_px: NDArray[np.intp],
    out: NDArray[np.uint8],
    places: NDArray[np.intp],
    view: int,
) -> None:
    """Copy patches whose pixels are those of the tiles; parameters as of ``resample``."""
    side, numbers = out.shape[2], tiles.reshape(-1)
    for i in range(len(places)):
        top, left = corners_px[i]
        starts, pieces = pieces_of_rows(tiles, slots[i], (top, left, top + side, left + side))
        for y in range(side):
            for piece in range(len(pieces)):
                ask_for(tiles, starts[min(y + AHEAD, side - 1), piece], pieces[piece, 1])
                start, to, n = starts[y, piece], pieces[piece, 0], pieces[piece, 1]
                copy_line(numbers[start : start + n], out[places[i], view, y, to : to + n])
