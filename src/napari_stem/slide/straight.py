"""Patches whose pixels are about as large as the tiles' own, resampled in whole numbers of 16 bits: compiled.

Most new pixels then lie side by side as the old ones do, and are made of two of them: numbers can be mixed as
they lie in memory, whatever colour they are, twice as many at once as ``mixing`` can. A grey value has 8 bits
after the point; what is cut off adds up to less than 0.03 grey values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.slide.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Places = tuple[np.uint64, np.uint64, np.uint64, np.uint64, np.uint64]

U16, U32, U64 = np.uint16, np.uint32, np.uint64
POINT = U32(8)  # bits after it
HIGH = U32(16)  # of a product
ALL = 2**16 - 1  # sum of the weights of one pixel
CUT_OFF = 1  # about half of what two products lose
HALF = U32(2**7 + CUT_OFF)
MOST_TAPS = 3
SHORT_RUN_PX = 8  # pixels side by side that are worth being gone through as one


@compiled
def straight_runs(
    first: NDArray[np.int64], used: NDArray[np.int64], runs: NDArray[np.int64]
) -> int:
    """Find where new pixels lie as the old ones do, side by side, made of no more than two each.

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
        if used[x] > 2:
            continue
        if last == x - 1 and first[x] == first[x - 1] + 1:
            runs[n_runs - 1, 1] = x + 1
        else:
            runs[n_runs, 0], runs[n_runs, 1] = x, x + 1
            n_runs += 1
        last = x
    return n_runs


@compiled
def _pointed(grey: np.uint8) -> np.uint16:
    """Give a grey value its bits after the point; with the last of them set, for what is cut off later."""
    return U16(U32(U32(grey) << POINT) | U32(1))


@compiled
def _share(value: np.uint16, weight: np.uint16) -> np.uint32:
    """Multiply two numbers of 16 bits and keep the upper half."""
    return U32(U32(U32(value) * U32(weight)) >> HIGH)


@compiled
def _mix_two(
    tiles: NDArray[np.uint8],
    places: Places,
    weights: tuple[np.uint16, np.uint16],
    out: NDArray[np.uint16],
    run: tuple[np.uint64, np.uint64],
) -> None:
    slot, y, next_slot, next_y, begin = places
    to, n = run
    for j in range(n):
        upper, lower = tiles[slot, y, begin + j], tiles[next_slot, next_y, begin + j]
        mixed = _share(_pointed(upper), weights[0]) + _share(_pointed(lower), weights[1])
        out[to + j] = U16(mixed)


@compiled
def _add(
    tiles: NDArray[np.uint8],
    place: tuple[np.uint64, np.uint64, np.uint64],
    weight: np.uint16,
    out: NDArray[np.uint16],
    run: tuple[np.uint64, np.uint64],
) -> None:
    slot, y, begin = place
    to, n = run
    for j in range(n):
        out[to + j] = U16(U32(out[to + j]) + _share(_pointed(tiles[slot, y, begin + j]), weight))


@compiled
def _mix_rows(
    tiles: NDArray[np.uint8],
    slots: NDArray[np.intp],
    box: tuple[int, int, int, int],
    weights: NDArray[np.uint16],
    at: int,
    used: int,
    out: NDArray[np.uint16],
) -> None:
    """Mix the first rows of a box (top, left, bottom, right) with one row's weights."""
    top, left, bottom, right = box
    height, width = tiles.shape[1], tiles.shape[2] // 3
    below = min(top + 1, bottom - 1)
    for column in range(left // width, (right - 1) // width + 1):
        offset = column * width
        begin, end = 3 * (max(left, offset) - offset), 3 * (min(right, offset + width) - offset)
        run = (U64(3 * (max(left, offset) - left)), U64(end - begin))
        slot, next_slot = U64(slots[top // height, column]), U64(slots[below // height, column])
        places = (slot, U64(top % height), next_slot, U64(below % height), U64(begin))
        _mix_two(tiles, places, (weights[at, 0], weights[at, 1]), out, run)
        for k in range(2, used):
            y = top + k
            place = (U64(slots[y // height, column]), U64(y % height), U64(begin))
            _add(tiles, place, weights[at, k], out, run)


@compiled
def _mix_run(
    row: NDArray[np.uint16],
    weights: NDArray[np.uint16],
    places: tuple[np.uint64, np.uint64, np.uint64],
    out: NDArray[np.uint8],
    y: np.uint64,
) -> None:
    old, new, n = places
    following = old + U64(3)
    for j in range(n):
        v, w = weights[U64(0), new + j], weights[U64(1), new + j]
        total = _share(row[old + j], v) + _share(row[following + j], w) + HALF
        out[y, new + j] = np.uint8(U32(total) >> POINT)


@compiled
def _mix_one(
    row: NDArray[np.uint16],
    old: int,
    weights: NDArray[np.uint16],
    x: np.intp,
    used: int,
    out: NDArray[np.uint8],
    y: int,
) -> None:
    for colour in range(3):
        total = HALF
        for k in range(used):
            total = U32(total + _share(row[old + colour + 3 * k], weights[x, k]))
        out[y, 3 * x + colour] = np.uint8(U32(total) >> POINT)


@compiled
def resample_straight(
    tiles: NDArray[np.uint8],
    slots: NDArray[np.intp],
    corner: tuple[int, int],
    by_row: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint16]],
    by_column: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint16]],
    runs: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Resample one patch.

    Parameters
    ----------
    tiles, slots
        As of ``resampling.resample``; the slots of one patch.
    corner
        Bottom and right: after the last row and column that are needed.
    by_row, by_column
        Of each new row or column: its first pixel, of how many it is made (``MOST_TAPS`` at most), and
        their weights (side, taps).
    runs
        (n, 2) of ``straight_runs``.
    out
        (side, 3 * side), filled.
    """
    (first_y, used_y, weights_y), (first_x, used_x, weights_x) = by_row, by_column
    side, left = len(first_y), first_x[0]
    by_number = np.empty((2, 3 * side), np.uint16)
    for x in range(3 * side):
        by_number[0, x], by_number[1, x] = weights_x[x // 3, 0], weights_x[x // 3, 1]
    mixed = np.zeros(3 * (corner[1] - left + 2), np.uint16)
    singles = np.flatnonzero(used_x > 2)
    for y in range(side):
        box = (first_y[y], left, corner[0], corner[1])
        _mix_rows(tiles, slots, box, weights_y, y, used_y[y], mixed)
        for i in range(len(runs)):
            begin, end = runs[i, 0], runs[i, 1]
            old = 3 * (first_x[begin] - left)
            places = (U64(old), U64(3 * begin), U64(3 * (end - begin)))
            _mix_run(mixed, by_number, places, out, U64(y))
        for single in singles:
            old = 3 * (first_x[single] - left)
            _mix_one(mixed, old, weights_x, single, used_x[single], out, y)
