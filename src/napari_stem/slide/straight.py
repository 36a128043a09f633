"""Patches whose pixels are about as large as the tiles' own, resampled in whole numbers of 16 bits: compiled.

Most new pixels then lie side by side as the old ones do, and are made of two of them: numbers can be mixed as
they lie in memory, whatever colour they are, twice as many at once as ``mixing`` can. A grey value has 8 bits
after the point; what is cut off adds up to less than 0.03 grey values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.slide.compiled import compiled
from napari_stem.slide.tile_rows import copy_line, mix_row
from napari_stem.slide.vectors import HALF, LANES, POINT, mix_neighbours

if TYPE_CHECKING:
    from numpy.typing import NDArray


U32, U64 = np.uint32, np.uint64
HIGH = U32(16)  # of a product
MOST_TAPS = 2  # of pixels in a run
SHORT_RUN_PX = 8  # as many go through as a run in the time that another pixel takes


@compiled
def straight_runs(
    first: NDArray[np.int64], used: NDArray[np.int64], runs: NDArray[np.int64]
) -> int:
    """Find where new pixels lie as the old ones do, side by side, made of ``MOST_TAPS`` at most each.

    Parameters
    ----------
    first, used
        (side,) first pixel that each is made of, and how many.
    runs
        (side, 2), filled with the first new pixel of each run and the one after its last.

    Returns
    -------
    How many runs there are.
    """
    n_runs, last = 0, -2
    for x in range(len(first)):
        if used[x] > MOST_TAPS:
            continue
        if last == x - 1 and first[x] == first[x - 1] + 1:
            runs[n_runs - 1, 1] = x + 1
        else:
            runs[n_runs, 0], runs[n_runs, 1] = x, x + 1
            n_runs += 1
        last = x
    return n_runs


@compiled
def _share(value: np.uint16, weight: np.uint16) -> np.uint32:
    """Multiply two numbers of 16 bits and keep the upper half."""
    return U32(U32(U32(value) * U32(weight)) >> HIGH)


@compiled
def _mix_one(
    row: NDArray[np.uint16],
    old: int,
    weights: NDArray[np.uint16],
    x: np.intp,
    used: int,
    line: NDArray[np.uint8],
) -> None:
    for colour in range(3):
        total = U32(HALF)
        for k in range(used):
            total = U32(total + _share(row[old + colour + 3 * k], weights[x, k]))
        line[3 * x + colour] = np.uint8(U32(total) >> U32(POINT))


@compiled
def resample_straight(
    tiles: NDArray[np.uint8],
    rows: tuple[NDArray[np.uint64], NDArray[np.uint64]],
    by_row: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint16]],
    by_column: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint16]],
    runs: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Resample one patch.

    Parameters
    ----------
    tiles, rows
        As of ``tile_rows.mix_row``.
    by_row, by_column
        Of each new row or column: its first pixel, of how many it is made, and their weights
        (side, taps).
    runs
        (n, 2) of ``straight_runs``.
    out
        (side, 3 * side), filled.
    """
    (first_y, used_y, weights_y), (first_x, used_x, weights_x) = by_row, by_column
    side, left = len(first_y), first_x[0]
    own, following = np.zeros(3 * side + LANES, np.uint16), np.zeros(3 * side + LANES, np.uint16)
    for x in range(side):
        for number in range(3 * x, 3 * x + 3):
            own[number], following[number] = weights_x[x, 0], weights_x[x, 1]
    mixed = np.zeros(3 * (first_x[-1] + used_x[-1] - left + 2) + LANES, np.uint16)
    line = np.empty(3 * side + LANES, np.uint8)
    singles = np.flatnonzero(used_x > MOST_TAPS)
    for y in range(side):
        mix_row(tiles, rows, first_y[y] - first_y[0], weights_y, y, used_y[y], mixed)
        for i in range(len(runs)):
            begin, end = runs[i, 0], runs[i, 1]
            old, new, n = U64(3 * (first_x[begin] - left)), U64(3 * begin), U64(3 * (end - begin))
            mix_neighbours(mixed, old, own, following, new, n, line)
        for single in singles:
            old = 3 * (first_x[single] - left)
            _mix_one(mixed, old, weights_x, single, used_x[single], line)
        copy_line(line, out[y])
