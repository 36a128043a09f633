"""Patches cut out of tiles and resampled, compiled: the loops that reading patches spends its time in.

The filter and the arithmetic of Pillow's antialiased bilinear ``resize``, to the bit
(``src/libImaging/Resample.c``): whole numbers of 22 bits as weights, columns mixed before rows. Faster,
as two colours share one 64-bit word, so that one multiplication weighs both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., object])
U8, I32, U64 = np.uint8, np.int32, np.uint64  # a signed index costs a test, and with U64 a float
F32 = np.float32

BITS = 22  # of a weight; with 8 of a colour less than the 32 of its half of a word
ONE = 1 << BITS
HALF = I32(ONE // 2)  # added before the weights' bits are cut off, to round
HALVES = U64(ONE // 2 * (1 + (1 << 32)))
UPPER, LOW_SHIFT, UPPER_SHIFT = U64(32), U64(BITS), U64(BITS + 32)
NEXT, TWO, THREE = U64(1), U64(2), U64(3)


def _compiled(function: Function) -> Function:
    """Compile at the first call, and keep the result on disk if there is a place for it."""
    try:
        made = numba.njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written to
        made = numba.njit(nogil=True, error_model="numpy")(function)
    return cast("Function", made)


@_compiled
def triangle(
    begin_px: float,
    extent_px: float,
    offset_px: int,
    first: NDArray[np.int64],
    weights: NDArray[np.uint64],
) -> int:
    """Weigh the pixels that each of a row's new pixels is made of, as Pillow does.

    Parameters
    ----------
    begin_px, extent_px
        Where the patch lies along this axis; its filter must not reach below 0. Rounded to 32 bits,
        as Pillow's ``box`` is.
    offset_px
        Added to the pixels' numbers.
    first
        (side,), filled with the first pixel of each.
    weights
        (taps, side), filled.

    Returns
    -------
    The pixel after the last that any weight falls on.
    """
    taps, side = weights.shape
    begin = F32(begin_px)
    scale = float(F32(begin_px + extent_px) - begin) / side
    reach = max(scale, 1.0)
    steepness = 1.0 / reach
    end = 0
    for i in range(side):
        centre = begin + (i + 0.5) * scale
        low, end = int(centre - reach + 0.5), int(centre + reach + 0.5)
        first[i] = low + offset_px
        total = 0.0
        for x in range(low, end):
            total += max(0.0, 1.0 - abs((x - centre + 0.5) * steepness))
        for k in range(taps):
            weights[k, i] = 0
            if low + k < end:
                share = max(0.0, 1.0 - abs((low + k - centre + 0.5) * steepness)) / total
                weights[k, i] = int(0.5 + share * ONE)
    return end + offset_px


@_compiled
def _line(
    tiles: NDArray[np.uint8], slots: NDArray[np.intp], y: int, column: int, begin: int, end: int
) -> NDArray[np.uint8]:
    """Part of a row of one tile; y counts from the first tile."""
    height = tiles.shape[1]
    return tiles[slots[y // height, column], y % height, begin:end]


@_compiled
def _pack_two_rows(
    tiles: NDArray[np.uint8],
    slots: NDArray[np.intp],
    ys: tuple[int, int],
    left: int,
    right: int,
    words: NDArray[np.uint64],
) -> None:
    """Put pixels from left to right of two rows into words: red and green of each row, both blues."""
    width = tiles.shape[2] // 3
    for column in range(left // width, (right - 1) // width + 1):
        at = column * width
        begin, end = 3 * (max(left, at) - at), 3 * (min(right, at + width) - at)
        a = _line(tiles, slots, ys[0], column, begin, end)
        b = _line(tiles, slots, ys[1], column, begin, end)
        to = max(left, at) - left
        red_a, red_b, blues = words[0, to:], words[1, to:], words[2, to:]
        for x in range(U64((end - begin) // 3)):
            red = x * THREE
            red_a[x] = U64(a[red]) | U64(a[red + NEXT]) << UPPER
            red_b[x] = U64(b[red]) | U64(b[red + NEXT]) << UPPER
            blues[x] = U64(a[red + TWO]) | U64(b[red + TWO]) << UPPER


@_compiled
def _mix_columns(
    words: NDArray[np.uint64],
    first: NDArray[np.uint64],
    weights: NDArray[np.uint64],
    mixed: NDArray[np.uint64],
) -> None:
    """Mix the words of two rows into (side,) new ones; taps are odd, 3 or more.

    Each loop does the same to all, so that the compiler makes vectors of it.
    """
    n = U64(len(first))
    for part in range(3):
        own, target = words[part], mixed[part]
        a, b, c = weights[0], weights[1], weights[2]
        for x in range(n):
            at = first[x]
            target[x] = HALVES + own[at] * a[x] + own[at + NEXT] * b[x] + own[at + TWO] * c[x]
        for k in range(3, len(weights), 2):
            a, b, offset = weights[k], weights[k + 1], U64(k)
            for x in range(n):
                at = first[x] + offset
                target[x] += own[at] * a[x] + own[at + NEXT] * b[x]


@_compiled
def _unpack(mixed: NDArray[np.uint64], above: NDArray[np.uint8], below: NDArray[np.uint8]) -> None:
    """Cut the weights' bits off, and give two rows of (3 * side,) their colours."""
    red_a, red_b, blues = mixed[0], mixed[1], mixed[2]
    for x in range(U64(len(red_a))):
        to = x * THREE
        above[to] = U8(red_a[x] >> LOW_SHIFT)
        above[to + NEXT] = U8(red_a[x] >> UPPER_SHIFT)
        above[to + TWO] = U8(blues[x] >> LOW_SHIFT)
    for x in range(U64(len(red_b))):
        to = x * THREE
        below[to] = U8(red_b[x] >> LOW_SHIFT)
        below[to + NEXT] = U8(red_b[x] >> UPPER_SHIFT)
        below[to + TWO] = U8(blues[x] >> UPPER_SHIFT)


@_compiled
def _weighed(value: np.uint8, weight: np.int32) -> np.int32:
    """Multiply in 32 bits: sums would be of 64, half as many at once."""
    return I32(I32(value) * weight)


@_compiled
def _mix_rows(
    rows: NDArray[np.uint8],
    weights: NDArray[np.int32],
    sums: NDArray[np.int32],
    out: NDArray[np.uint8],
) -> None:
    """Mix the first rows of some, as many as there are weights; the last of which may be 0."""
    last = len(weights) - 1
    while last > 0 and weights[last] == 0:
        last -= 1
    n = len(out)
    if last < 2:
        a, b, v, w = rows[0], rows[last], weights[0], weights[1]
        for j in range(n):
            out[j] = I32(_weighed(a[j], v) + _weighed(b[j], w) + HALF) >> I32(BITS)
        return
    sums[:] = HALF
    for k in range(0, last + 1, 2):
        a, b, v, w = rows[k], rows[min(k + 1, last)], weights[k], weights[k + 1]
        for j in range(n):
            sums[j] += I32(_weighed(a[j], v) + _weighed(b[j], w))
    for j in range(n):
        out[j] = sums[j] >> I32(BITS)


@_compiled
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
    taps = (int(2 * max(extent_px[0], extent_px[1], side) / side) + 1) | 1
    first_y, first_x = np.empty(side, np.int64), np.empty(side, np.int64)
    from_left = np.empty(side, np.uint64)
    weights_y, weights_x = np.empty((taps, side), np.uint64), np.empty((taps, side), np.uint64)
    weights_of = np.zeros((side, taps + 1), np.int32)  # rows are mixed by twos
    words = np.zeros((3, int(extent_px[1]) + 2 * taps + 4), np.uint64)
    mixed = np.empty((3, side), np.uint64)
    rows = np.empty((int(extent_px[0]) + 2 * taps + 4, 3 * side), np.uint8)
    sums = np.empty(3 * side, np.int32)
    for i in range(len(places)):
        bottom = triangle(corners_px[i, 0], extent_px[0], offsets_px[i, 0], first_y, weights_y)
        right = triangle(corners_px[i, 1], extent_px[1], offsets_px[i, 1], first_x, weights_x)
        used = taps
        while used > 3 and not weights_x[used - 2 : used].any():
            used -= 2
        top, left = first_y[0], first_x[0]
        weights_of[:, :taps] = weights_y.T
        for x in range(side):
            from_left[x] = first_x[x] - left
        for y in range(top, bottom, 2):
            below = min(y + 1, bottom - 1)
            _pack_two_rows(tiles, slots[i], (y, below), left, right, words)
            _mix_columns(words, from_left, weights_x[:used], mixed)
            _unpack(mixed, rows[y - top], rows[y + 1 - top])
        for y in range(side):
            _mix_rows(rows[first_y[y] - top :], weights_of[y], sums, out[places[i], view, y])


@_compiled
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
                line = _line(
                    tiles, slots[i], corners_px[i, 0] + y, column, 3 * (begin - at), 3 * (end - at)
                )
                target = out[places[i], view, y, 3 * (begin - left) :]
                for j in range(len(line)):
                    target[j] = line[j]
