"""Patches cut out of tiles, copied or resampled: compiled, as reading patches spends its time here.

An antialiasing triangle filter, as wide as two of the patch's pixels (two of the tiles' own where it
enlarges): that of Pillow's bilinear ``resize``, but rounded to grey values once only, at the end. Rows are
mixed before columns, as they lie in memory and fewer are left then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.slide.compiled import compiled
from napari_stem.slide.mixing import BLOCK, LANES, line_of, mix_columns, mix_rows, whole
from napari_stem.slide.straight import (
    ALL,
    MOST_TAPS,
    SHORT_RUN_PX,
    resample_straight,
    straight_runs,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

F32, U64 = np.float32, np.uint64
# sum of a row's whole weights; with 8 of a colour exact in 32 bits, even as a float
ONE = 2**15 - 1
COLOURS = U64(3)


@compiled
def triangle(
    begin_px: float,
    extent_px: float,
    offset_px: int,
    first: NDArray[np.int64],
    used: NDArray[np.int64],
    weights: NDArray[np.float32],
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
        for k in range(end - low):
            weights[i, k] /= total
        for k in range(end - low, taps):
            weights[i, k] = 0.0
    return end + offset_px


@compiled
def _copy_line(line: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    for j in range(len(out)):  # an assignment of slices takes longer
        out[j] = line[j]


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
    runs = np.empty((side, 2), np.int64)
    for i in range(len(places)):
        (top, left), (y_px, x_px) = corners_px[i], offsets_px[i]
        bottom = triangle(top, extent_px[0], y_px, first_y, used_y, weights_y)
        right = triangle(left, extent_px[1], x_px, first_x, used_x, weights_x)
        end, target = (bottom, right), out[places[i], view]
        n_runs = straight_runs(first_x, used_x, runs)
        if n_runs * SHORT_RUN_PX <= side and max(used_x.max(), used_y.max()) <= MOST_TAPS:
            for n in range(side):
                whole(weights_y[n, : used_y[n]], ALL, numbers_y[n])
                whole(weights_x[n, : used_x[n]], ALL, numbers_x[n])
            by_row, by_column = (first_y, used_y, numbers_y), (first_x, used_x, numbers_x)
            resample_straight(tiles, slots[i], end, by_row, by_column, runs[:n_runs], target)
        else:
            usual = max(2, int(2 * max(extent_px[1] / side, 1.0) + 0.9))
            rows, columns = (first_y, used_y, weights_y), (first_x, used_x, weights_x)
            _resample_any(tiles, slots[i], end, rows, columns, usual, target)


@compiled
def _resample_any(
    tiles: NDArray[np.uint8],
    slots: NDArray[np.intp],
    end: tuple[int, int],
    by_row: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]],
    by_column: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]],
    usual: int,
    out: NDArray[np.uint8],
) -> None:
    """Resample one patch as ``resample_straight`` does, of any extent; most columns have ``usual`` taps."""
    (first_y, used_y, weights_y), (first_x, used_x, weights_x) = by_row, by_column
    side, taps = weights_y.shape
    weights_x /= F32(ONE)
    at = COLOURS * (first_x - first_x[0]).astype(np.uint64)
    stops = np.append(np.flatnonzero(used_x > usual), side)
    both_taps = (usual, used_x.max())
    numbers = np.zeros(taps + 3, np.int16)  # rows are mixed by fours
    rows = np.zeros((BLOCK, 3 * (end[1] - first_x[0] + taps + LANES)), np.float32)
    lines = np.empty((BLOCK, 3 * side + LANES), np.uint8)
    for y in range(side):
        box = (first_y[y], first_x[0], end[0], end[1])
        whole(weights_y[y, : used_y[y]], ONE, numbers)
        mix_rows(tiles, slots, box, numbers, used_y[y], rows[y % BLOCK])
        if y % BLOCK == BLOCK - 1 or y == side - 1:
            mix_columns(rows, at, weights_x, both_taps, stops, lines)
            for row in range(y % BLOCK + 1):
                _copy_line(lines[row], out[y - y % BLOCK + row])


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
    side, width = out.shape[2], tiles.shape[2] // 3
    for i in range(len(places)):
        left = corners_px[i, 1]
        right = left + side
        for column in range(left // width, (right - 1) // width + 1):
            at = column * width
            begin, end = max(left, at), min(right, at + width)
            for y in range(side):
                line = line_of(
                    tiles, slots[i], corners_px[i, 0] + y, column, 3 * (begin - at), 3 * (end - at)
                )
                target = out[places[i], view, y, 3 * (begin - left) : 3 * (end - left)]
                _copy_line(line, target)
