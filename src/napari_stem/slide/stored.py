"""What a reader makes of a file, and what is seen of it until its levels are there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.geometry import SizePx

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_stem.progress import Progress
    from napari_stem.slide.pixel_size import MppSource
    from napari_stem.slide.source import Level

GROUND = 228  # darker than glass, so that what is not there yet is not taken for it


@dataclass(eq=False)
class StoredSlide:
    """What a file has, and says of itself; its levels are lazy.

    Attributes
    ----------
    path
        The file.
    levels
        Those stored in it, finest first.
    fingerprint
        Hex digest that tells this file's content from any other's; the key of all caches.
    vendor
        Scanner vendor as the file says ("aperio"), or "generic".
    properties
        What else the file says of itself, JSON-ready; ``colour`` says what is done to the pixels.
    mpp_sources
        Every statement of the pixel size, the most trusted first.
    associated
        Label, macro and thumbnail images, by these names.
    copies_base
        Windows of the (only) stored level are costly, so that it is better stored anew, tiled.
    base
        Gives the coarsest stored level for making coarser ones, told how far the decoding is; where it is
        None, they are made from that level as it is.
    quick
        Gives a rough picture of the whole, (h, w, 3) uint8, within a moment, where that can be.
    on_close
        Lets go of the file.
    """

    path: Path
    levels: tuple[Level, ...]
    fingerprint: str
    vendor: str = "generic"
    properties: dict[str, Any] = field(default_factory=dict)
    mpp_sources: tuple[MppSource, ...] = ()
    associated: Mapping[str, Level] = field(default_factory=dict)
    copies_base: bool = False
    base: Callable[[Progress | None], Level] | None = None
    quick: Callable[[], NDArray[np.uint8]] | None = None
    on_close: Callable[[], None] = lambda: None

    @property
    def size(self) -> SizePx:
        """Extent at level 0."""
        return self.levels[0].size


class Preview:
    """The whole slide, as far as it is known: ``pixels``, (height, width, 3) uint8.

    Painted by the thread that makes the levels and read by the viewer's, without a lock: half a stroke is
    seen for a moment at worst. ``n_changes`` grows with every change.
    """

    def __init__(self, size: SizePx) -> None:
        self.pixels = np.full((size.height_px, size.width_px, 3), GROUND, np.uint8)
        self.n_changes = 0

    def paint(self, pixels: NDArray[np.uint8], rows: slice, columns: slice, whole: SizePx) -> None:
        """Take over a window, (h, w, 3), of a finer picture, whose extent is ``whole``."""
        from PIL import Image

        spans = [
            slice(round(start), round(stop))
            for start, stop in scaled(rows, columns, whole, SizePx(*self.pixels.shape[:2]))
        ]
        height_px, width_px = (span.stop - span.start for span in spans)
        if height_px < 1 or width_px < 1:
            return
        small = Image.fromarray(pixels).resize((width_px, height_px), Image.Resampling.BOX)
        self.pixels[spans[0], spans[1]] = np.asarray(small)
        self.n_changes += 1


def scaled(rows: slice, columns: slice, whole: SizePx, other: SizePx) -> list[tuple[float, float]]:
    """Where a window of a picture begins and ends in another one, down and across."""
    return [
        (span.start * own / extent, span.stop * own / extent)
        for span, own, extent in (
            (rows, other.height_px, whole.height_px),
            (columns, other.width_px, whole.width_px),
        )
    ]
