"""A small picture of a slide whose levels are still being made: what is seen of it meanwhile."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.geometry import SizePx

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

GROUND = 228  # darker than glass, so that what is not there yet is not taken for it


class Preview:
    """The whole slide, as far as it is known.

    Painted by the thread that makes the levels and read by the viewer's, without a lock: half a
    stroke is seen for a moment at worst.

    Parameters
    ----------
    size
        Extent of the picture.

    Attributes
    ----------
    pixels
        (height, width, 3) uint8.
    n_changes
        Grows with every change.
    """

    def __init__(self, size: SizePx) -> None:
        self.pixels = np.full((size.height_px, size.width_px, 3), GROUND, np.uint8)
        self.n_changes = 0

    def paint_whole(self, picture: NDArray[np.uint8]) -> None:
        """Take over a picture of the whole slide, of any size: (h, w, 3)."""
        size = SizePx(*picture.shape[:2])
        self.paint(picture, slice(0, size.height_px), slice(0, size.width_px), size)

    def paint(self, pixels: NDArray[np.uint8], rows: slice, columns: slice, whole: SizePx) -> None:
        """Take over a window of a finer picture.

        Parameters
        ----------
        pixels
            (h, w, 3) of the window.
        rows, columns
            Where it lies in the finer picture, px.
        whole
            Extent of that picture.
        """
        from PIL import Image

        spans = [
            slice(round(start), round(stop))
            for start, stop in _scaled(rows, columns, whole, SizePx(*self.pixels.shape[:2]))
        ]
        height_px, width_px = (span.stop - span.start for span in spans)
        if height_px < 1 or width_px < 1:
            return
        small = Image.fromarray(pixels).resize((width_px, height_px), Image.Resampling.BOX)
        self.pixels[spans[0], spans[1]] = np.asarray(small)
        self.n_changes += 1


def _scaled(rows: slice, columns: slice, whole: SizePx, other: SizePx) -> list[tuple[float, float]]:
    """Where a window of a picture begins and ends in another one, down and across."""
    return [
        (span.start * own / extent, span.stop * own / extent)
        for span, own, extent in (
            (rows, other.height_px, whole.height_px),
            (columns, other.width_px, whole.width_px),
        )
    ]


def enlarged(
    read: Callable[[slice, slice], NDArray[np.uint8] | None],
    own: SizePx,
    rows: slice,
    columns: slice,
    whole: SizePx,
) -> NDArray[np.uint8] | None:
    """Show a window of a finer picture from a coarser one, smoothly.

    Parameters
    ----------
    read
        Gives a window of the coarser picture, (h, w, 3) uint8, or None where it is not known.
    own
        Extent of the coarser picture.
    rows, columns
        Window of the finer picture, px.
    whole
        Extent of the finer picture.

    Returns
    -------
    (rows, columns, 3) uint8, or None where ``read`` gave that.
    """
    from PIL import Image

    (top, bottom), (left, right) = _scaled(rows, columns, whole, own)
    down, across = (
        slice(math.floor(start), math.ceil(stop)) for start, stop in ((top, bottom), (left, right))
    )
    part = read(down, across)
    if part is None:
        return None
    box = (left - across.start, top - down.start, right - across.start, bottom - down.start)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    image = Image.fromarray(np.ascontiguousarray(part))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box))
