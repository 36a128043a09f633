"""Patches cut out of tiles, copied or resampled: compiled, as reading patches spends its time here.

An antialiasing triangle filter, as wide as two of the patch's pixels (two of the tiles' own where it
enlarges): that of Pillow's bilinear ``resize``, but rounded to grey values once only, at the end. Rows are
mixed before columns, as they lie in memory and fewer are left then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.slide.compiled import compiled
from napari_stem.slide.mixing import BLOCK, LANES, line_of, mix_columns, mix_rows
from napari_stem.slide.straight import (
    MOST_TAPS,
    SHORT_RUN_PX,
    in_16_bits,
    resample_straight,
    straight_runs,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

I16, F32, U64 = np.int16, np.float32, np.uint64
ONE = (
    2**15 - 1
)  # sum of a row's whole weights; with 8 of a colour exact in 32 bits, even as a float
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
def whole(weights: NDArray[np.float32], numbers: NDArray[np.int16]) -> None:
    """Turn weights that sum to 1 into whole numbers that sum to ``ONE``; others become 0."""
    begun, total = 0, 0.0
    for k in range(len(weights)):
        total += weights[k]
        so_far = int(total * ONE + 0.5)
        numbers[k] = I16(so_far - begun)
        begun = so_far
    for k in range(len(weights), len(numbers)):
        numbers[k] = 0


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
    reach = max(extent_px[0], extent_px[1], side) / side
    taps, usual = int(2 * reach) + 2, max(2, int(2 * max(extent_px[1] / side, 1.0) + 0.9))
    first_y, first_x = np.empty(side, np.int64), np.empty(side, np.int64)
    used_y, used_x = np.empty(side, np.int64), np.empty(side, np.int64)
    weights_y = np.empty((side, taps), np.float32)
    weights_x = np.empty((side, max(taps, usual)), np.float32)
    at, runs = np.empty(side, np.uint64), np.empty((side, 2), np.int64)
    numbers_y = np.empty(weights_y.shape, np.uint16)
    numbers_x = np.empty(weights_x.shape, np.uint16)
    numbers = np.zeros(taps + 3, np.int16)  # rows are mixed by fours
    rows = np.zeros((BLOCK, 3 * (int(extent_px[1]) + 2 * taps + 16)), np.float32)
    lines = np.empty((BLOCK, 3 * side + LANES), np.uint8)
    for i in range(len(places)):
        (top, left), (y_px, x_px) = corners_px[i], offsets_px[i]
        bottom = triangle(top, extent_px[0], y_px, first_y, used_y, weights_y)
        right = triangle(left, extent_px[1], x_px, first_x, used_x, weights_x)
        n_runs = straight_runs(first_x, used_x, runs)
        if n_runs * SHORT_RUN_PX <= side and max(used_x.max(), used_y.max()) <= MOST_TAPS:
            in_16_bits(weights_y, used_y, numbers_y)
            in_16_bits(weights_x, used_x, numbers_x)
            by_row, by_column = (first_y, used_y, numbers_y), (first_x, used_x, numbers_x)
            target = out[places[i], view]
            resample_straight(
                tiles, slots[i], (bottom, right), by_row, by_column, runs[:n_runs], target
            )
            continue
        weights_x /= F32(ONE)
        stops = np.append(np.flatnonzero(used_x > usual), side)
        for x in range(side):
            at[x] = COLOURS * U64(first_x[x] - first_x[0])
        for y in range(side):
            box = (first_y[y], first_x[0], bottom, right)
            whole(weights_y[y, : used_y[y]], numbers)
            mix_rows(tiles, slots[i], box, numbers, used_y[y], rows[y % BLOCK])
            if y % BLOCK == BLOCK - 1 or y == side - 1:
                mix_columns(rows, at, weights_x, (usual, used_x.max()), stops, lines)
                for row in range(y % BLOCK + 1):
                    _copy_line(lines[row], out[places[i], view, y - y % BLOCK + row])


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
