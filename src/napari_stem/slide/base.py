"""A slide, open for reading: a multiscale pyramid with its pixel size, and what is seen while that is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_stem.errors import MissingMppError, SlideError
from napari_stem.geometry import SizePx
from napari_stem.texts import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp
    from napari_stem.progress import Progress
    from napari_stem.slide.pixel_size import MppSource
    from napari_stem.slide.pyramid import PyramidBuilder
    from napari_stem.slide.source import Level

GROUND = 228  # darker than glass, so that what is not there yet is not taken for it


@dataclass(eq=False)
class Slide:
    """A whole-slide image, open for reading. Safe to read from several threads.

    A reader gives it with what the file itself has; ``open_slide`` adds the rest.

    Attributes
    ----------
    path
        The file.
    levels
        Finest first; each later one coarser; the last at most about 1024 px on its longer side. Of a reader:
        those stored in the file.
    fingerprint
        Hex digest that tells this file's content from any other's; the key of all caches.
    vendor
        Scanner vendor as the file says ("aperio"), or "generic".
    properties
        What else the file says of itself, JSON-ready; ``colour`` says what is done to the pixels.
    mpp_sources
        Every statement of the pixel size, the most trusted first: ``mpp`` is the first one's.
    associated
        Label, macro and thumbnail images, by these names.
    copies_base
        Windows of the (only) stored level are costly, so that it is better stored anew, tiled.
    base
        Gives the coarsest stored level for making coarser ones, told how far the decoding is; where it is
        None, they are made from that level as it is.
    quick
        Gives a rough picture of the whole, (h, w, 3) uint8, within a moment, where that can be.
    reader
        Name of the reader that opened it, as ``info`` prints it.
    mpp
        Pixel size, or None where neither the file nor the user says.
    builder
        Makes the last of them, where the file lacks them and they were not waited for.
    on_close
        Lets go of the file.
    alias
        Stands for the file's name in whatever is written of the slide.
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
    reader: str = ""
    mpp: Mpp | None = None
    builder: PyramidBuilder | None = None
    on_close: Callable[[], None] = lambda: None
    alias: str = ""

    def require_mpp(self) -> Mpp:
        """Return the pixel size.

        Raises
        ------
        MissingMppError
            It is unknown; the message names the option that states it.
        """
        if self.mpp is None:
            raise MissingMppError(
                f"{self.path.name} does not say how large its pixels are. State it in micrometres per pixel: "
                f"--mpp 0.5 on the command line, or 'Pixel size' in the Slide panel."
            )
        return self.mpp

    @property
    def size(self) -> SizePx:
        """Extent at level 0."""
        return self.levels[0].size

    @property
    def name(self) -> str:
        """What the slide is called in provenance and figures: its file's name, or what stands for that."""
        return self.alias or visible(self.path.name)

    @property
    def is_complete(self) -> bool:
        """Whether all levels are there; where not, reading from a missing one waits for it."""
        return self.builder is None or self.builder.is_done

    def is_ready(self, level: int, within_s: float = 0.0) -> bool:
        """Whether a level can be read without waiting for it to be made.

        Waits at most ``within_s`` for levels that need no making but are still being looked for.
        """
        if self.builder is None or level < self.builder.first_level:
            return True
        return self.builder.await_look(within_s)

    def complete(self, progress: Progress | None = None) -> None:
        """Make the levels that are not there yet; waits if another thread does.

        Parameters
        ----------
        progress
            Told ``(text, done, total)``, in whichever thread makes them.

        Raises
        ------
        SlideError
            The file is damaged, or the slide was closed.
        """
        if self.builder is not None:
            self.builder.progress = progress
            self.builder.levels()

    @property
    def preview(self) -> NDArray[np.uint8] | None:
        """Rough picture of the whole while levels are being made, (h, w, 3) uint8; else None."""
        return None if self.is_complete or self.builder is None else self.builder.preview.pixels

    @property
    def n_changes(self) -> int:
        """Grows whenever there is more in ``preview``."""
        return 0 if self.builder is None else self.builder.preview.n_changes

    def read_region(self, x_px: int, y_px: int, level: int, size: SizePx) -> NDArray[np.uint8]:
        """Read a window of one level.

        Parameters
        ----------
        x_px, y_px
            Top-left corner in pixels **of that level**; may lie off the slide.
        level
            Index into ``levels``.
        size
            Extent in pixels of that level.

        Returns
        -------
        (height, width, 3) uint8 RGB; white where the window leaves the slide.

        Raises
        ------
        SlideError
            The file is damaged there, or there is no such level.
        """
        if not 0 <= level < len(self.levels):
            raise SlideError(
                f"{self.path.name} has levels 0 to {len(self.levels) - 1}, not {level}."
            )
        rows, columns = slice(y_px, y_px + size.height_px), slice(x_px, x_px + size.width_px)
        return self.levels[level].padded(rows, columns)

    def read_level(self, level: int) -> NDArray[np.uint8]:
        """Read all of one level, -1 the coarsest: (height, width, 3) uint8; raises as `read_region`."""
        return self.read_region(0, 0, level % len(self.levels), self.levels[level].size)

    def close(self) -> None:
        """Let go of the file; what dask arrays of this slide have not read yet is lost."""
        if self.builder is not None:
            self.builder.stop()
        self.on_close()

    def __enter__(self) -> Self:
        """Be closed at the end of a ``with`` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


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
