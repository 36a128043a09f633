"""The rows of a patch, which tiles side by side break into pieces: found and mixed by weights; compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.slide.compiled import compiled, written_out
from napari_stem.slide.vectors import ask_for, mix_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

U64 = np.uint64
AHEAD = 4  # rows that are asked for before they are needed


@compiled
def copy_line(line: NDArray[Any], out: NDArray[Any]) -> None:
    """Copy the first numbers of a line, as many as there is room for."""
    for number in range(len(out)):  # an assignment of slices takes longer
        out[number] = line[number]


@compiled
def pieces_of_rows(
    tiles: NDArray[np.uint8], slots: NDArray[np.intp], box: tuple[int, int, int, int]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Find the pieces of a box's rows; once for a patch, as dividing by a tile's height takes long.

    Parameters
    ----------
    tiles
        (n slots, height, 3 * width), contiguous.
    slots
        (tile rows, tile columns) where the tiles of the patch lie.
    box
        Top, left, bottom, right in pixels, counted from the corner of the first tile; half-open.

    Returns
    -------
    starts
        (rows, pieces) where each begins, in numbers from the first of all tiles.
    pieces
        (pieces, 2) of every row: its first number, counted from the box's left, and how many.
    """
    top, left, bottom, right = box
    height, width = tiles.shape[1], tiles.shape[2] // 3
    first = left // width
    n_pieces = (right - 1) // width + 1 - first
    pieces = np.empty((n_pieces, 2), np.uint64)
    starts = np.empty((bottom - top, n_pieces), np.uint64)
    for piece in range(n_pieces):
        at = (first + piece) * width
        begin, end = max(left, at), min(right, at + width)
        pieces[piece, 0], pieces[piece, 1] = 3 * (begin - left), 3 * (end - begin)
        for row in range(top // height, (bottom - 1) // height + 1):
            above = row * height
            corner = slots[row, first + piece] * height * 3 * width + 3 * (begin - at)
            for y in range(max(top, above), min(bottom, above + height)):
                starts[y - top, piece] = corner + (y - above) * 3 * width
    return starts, pieces


@written_out
def mix_row(
    tiles: NDArray[np.uint8],
    rows: tuple[NDArray[np.uint64], NDArray[np.uint64]],
    top: int,
    weights: NDArray[np.uint16],
    y: int,
    used: int,
    out: NDArray[np.uint16],
) -> None:
    """Mix so many rows from the ``top``-th on, of ``pieces_of_rows``, with ``weights[y]``.

    Into grey values times 256. Two to five rows, as most patches need, are done without a loop.
    """
    starts, pieces = rows
    first, at = U64(top), U64(y)
    ahead = U64(min(top + used + AHEAD, len(starts) - 1))
    for i in range(len(pieces)):
        piece, to, n = U64(i), pieces[i, 0], pieces[i, 1]
        ask_for(tiles, starts[ahead, piece], n)
        if used == 2:
            mix_rows(tiles, starts, first, piece, weights, at, 2, out, to, n)
        elif used == 3:
            mix_rows(tiles, starts, first, piece, weights, at, 3, out, to, n)
        elif used == 4:
            mix_rows(tiles, starts, first, piece, weights, at, 4, out, to, n)
        elif used == 5:
            mix_rows(tiles, starts, first, piece, weights, at, 5, out, to, n)
        else:
            mix_rows(tiles, starts, first, piece, weights, at, U64(used), out, to, n)
