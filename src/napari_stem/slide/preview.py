"""A small picture of a slide whose levels are still being made: what is seen of it meanwhile."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_stem.geometry import SizePx

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
        height_px, width_px = picture.shape[:2]
        self.paint(picture, slice(0, height_px), slice(0, width_px), (height_px, width_px))

    def paint(
        self, pixels: NDArray[np.uint8], rows: slice, columns: slice, whole: tuple[int, int]
    ) -> None:
        """Take over a window of a finer picture.

        Parameters
        ----------
        pixels
            (h, w, 3) of the window.
        rows, columns
            Where it lies in the finer picture, px.
        whole
            Height and width of that picture, px.
        """
        from PIL import Image

        spans = [
            slice(round(start), round(stop))
            for start, stop in scaled((rows, columns), whole, self.pixels.shape[:2])
        ]
        height_px, width_px = (span.stop - span.start for span in spans)
        if height_px < 1 or width_px < 1:
            return
        small = Image.fromarray(pixels).resize((width_px, height_px), Image.Resampling.BOX)
        self.pixels[spans[0], spans[1]] = np.asarray(small)
        self.n_changes += 1


def scaled(
    window: tuple[slice, slice], whole: tuple[int, ...], other: tuple[int, ...]
) -> list[tuple[float, float]]:
    """Where a window of a picture begins and ends in another one, height and width of both being given."""
    return [
        (span.start * own / extent, span.stop * own / extent)
        for span, own, extent in zip(window, other, whole, strict=True)
    ]


def enlarged(
    picture: NDArray[np.uint8], rows: slice, columns: slice, whole: tuple[int, int]
) -> NDArray[np.uint8]:
    """Show a window of a finer picture from a coarser one, smoothly.

    Parameters
    ----------
    picture
        (h, w, 3) of all that the finer picture shows.
    rows, columns
        Window of the finer picture, px.
    whole
        Height and width of the finer picture, px.

    Returns
    -------
    (rows, columns, 3) uint8.
    """
    down, right = scaled((rows, columns), whole, picture.shape[:2])
    return cut_enlarged(
        picture, down, right, (rows.stop - rows.start, columns.stop - columns.start)
    )


def cut_enlarged(
    picture: NDArray[np.uint8],
    down: tuple[float, float],
    right: tuple[float, float],
    size: tuple[int, int],
) -> NDArray[np.uint8]:
    """Cut a window out of a picture and enlarge it.

    Parameters
    ----------
    picture
        (h, w, 3) uint8.
    down, right
        Where the window begins and ends, px of the picture.
    size
        Height and width of the result, px.
    """
    from PIL import Image

    top, left = (
        min(math.floor(span[0]), n - 1)
        for span, n in zip((down, right), picture.shape, strict=False)
    )
    part = picture[
        top : max(top + 1, math.ceil(down[1])), left : max(left + 1, math.ceil(right[1]))
    ]
    height_px, width_px = part.shape[:2]
    box = (
        min(max(0.0, right[0] - left), width_px - 1e-3),
        min(max(0.0, down[0] - top), height_px - 1e-3),
        min(right[1] - left, width_px),
        min(down[1] - top, height_px),
    )
    image = Image.fromarray(np.ascontiguousarray(part))
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR, box=box))
