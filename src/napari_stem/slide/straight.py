"""Patches whose pixels are about as large as the tiles' own, resampled in whole numbers of 16 bits: compiled.

New pixels then lie side by side as the old ones do, and are made of two or three of them: numbers can be mixed
as they lie in memory, whatever colour they are, four times as many at once as ``columns`` can. A grey value has
8 bits after the point; what is cut off adds up to less than 0.03 grey values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.slide.compiled import compiled
from napari_stem.slide.tile_rows import copy_line, mix_row
from napari_stem.slide.vectors import LANES, mix_neighbours

if TYPE_CHECKING:
    from numpy.typing import NDArray

U64 = np.uint64
MOST_TAPS = 3  # of a pixel
SHORT_RUN_PX = 8  # pixels side by side that are worth being gone through as one


@compiled
def straight_runs(
    first: NDArray[np.int64], used: NDArray[np.int64], runs: NDArray[np.int64]
) -> int:
    """Find where new pixels lie as the old ones do, side by side, made of equally many.

    Parameters
    ----------
    first, used
        (side,) first pixel that each is made of, and how many.
    runs
        (side, 3), filled with the first new pixel of each run, the one after its last, and of how many
        each is made, 2 at least.

    Returns
    -------
    How many runs there are.
    """
    n_runs = 0
    for x in range(len(first)):
        taps = max(2, used[x])
        if x > 0 and first[x] == first[x - 1] + 1 and taps == runs[n_runs - 1, 2]:
            runs[n_runs - 1, 1] = x + 1
        else:
            runs[n_runs, 0], runs[n_runs, 1], runs[n_runs, 2] = x, x + 1, taps
            n_runs += 1
    return n_runs


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
        Of each new row or column: its first pixel, of how many it is made (a column of ``MOST_TAPS`` at
        most), and their weights (side, taps).
    runs
        (n, 3) of ``straight_runs``.
    out
        (side, 3 * side), filled.
    """
    (first_y, used_y, weights_y), (first_x, used_x, weights_x) = by_row, by_column
    side, left = len(first_y), first_x[0]
    weights = np.zeros((MOST_TAPS, 3 * side + LANES), np.uint16)
    for k in range(min(MOST_TAPS, weights_x.shape[1])):
        for x in range(side):
            for number in range(3 * x, 3 * x + 3):
                weights[k, number] = weights_x[x, k]
    mixed = np.zeros(3 * (first_x[-1] + used_x[-1] - left + MOST_TAPS) + LANES, np.uint16)
    line = np.empty(3 * side + LANES, np.uint8)
    for y in range(side):
        mix_row(tiles, rows, first_y[y] - first_y[0], weights_y, y, used_y[y], mixed)
        for i in range(len(runs)):  # what one writes beyond its end belongs to the next
            begin, n = U64(3 * runs[i, 0]), U64(3 * (runs[i, 1] - runs[i, 0]))
            old = U64(3 * (first_x[runs[i, 0]] - left))
            if runs[i, 2] == 2:
                mix_neighbours(mixed, old, weights, begin, 2, line, n)
            else:
                mix_neighbours(mixed, old, weights, begin, 3, line, n)
        copy_line(line, out[y])
