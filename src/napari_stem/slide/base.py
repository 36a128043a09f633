"""A slide, open for reading: a multiscale pyramid with its pixel size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from napari_stem.errors import MissingMppError, SlideError
from napari_stem.slide.level import COARSEST_PX
from napari_stem.slide.stored import StoredSlide
from napari_stem.texts import visible

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp, SizePx
    from napari_stem.progress import Progress
    from napari_stem.slide.pyramid import PyramidBuilder


@dataclass(eq=False, repr=False)
class Slide(StoredSlide):
    """A whole-slide image, open for reading. Safe to read from several threads.

    Attributes
    ----------
    levels
        Finest first; each later one coarser; the last at most 1024 px on its longer side, and down to a
        single pixel where the file stores such: the whole is seen in that of ``overview_level``.
    mpp_sources
        Every statement of the pixel size, the user's too: ``mpp`` is the first one's.
    reader
        Name of the reader that opened it, as ``info`` prints it.
    mpp
        Pixel size, or None where neither the file nor the user says.
    builder
        Makes the last of the levels, where the file lacks them and they were not waited for.
    alias
        Stands for the file's name in whatever is written of the slide.

    The others are as in `StoredSlide`.
    """

    reader: str = ""
    mpp: Mpp | None = None
    builder: PyramidBuilder | None = None
    alias: str = ""

    def __repr__(self) -> str:
        """Say what it is, in a line."""
        size, mpp = self.size, f"{self.mpp.x_um:.4g} um/px" if self.mpp else "pixel size unknown"
        return f"Slide({self.name}: {size.width_px} x {size.height_px} px, {mpp}, {self.reader})"

    @property
    def overview_level(self) -> int:
        """Index of the level in which the whole slide is seen: the first of at most 1024 px."""
        sides_px = [max(level.size.height_px, level.size.width_px) for level in self.levels]
        n_larger = sum(side_px > COARSEST_PX for side_px in sides_px)
        return min(n_larger, len(sides_px) - 1)

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
        return self.builder.await_store(within_s)

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
