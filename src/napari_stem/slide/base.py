"""What every slide reader offers: a multiscale pyramid with its pixel size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from napari_stem.errors import MissingMppError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import dask.array as da
    import numpy as np
    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp, SizePx
    from napari_stem.slide.array_slide import LevelPixels
    from napari_stem.slide.pixel_size import MppSource

    Progress = Callable[[str, int, int], None]  # what is being done, done so far, in all


@dataclass(frozen=True)
class Level:
    """One level of a pyramid.

    Attributes
    ----------
    size
        Extent in this level's pixels.
    downsample
        Level-0 pixels per pixel of this level, at least 1 (the mean of both axes).
    make_pixels
        Gives ``pixels``; called once, when they are first asked for.
    """

    size: SizePx
    downsample: float
    make_pixels: Callable[[], da.Array] = field(repr=False, compare=False)

    @cached_property
    def pixels(self) -> da.Array:
        """(height, width, 3) uint8 dask array, chunks near 1024 px; importing dask takes most of a second."""
        return self.make_pixels()


@dataclass
class Slide(ABC):
    """A whole-slide image, open for reading. Safe to read from several threads.

    Attributes
    ----------
    path
        The file.
    size
        Extent at level 0.
    mpp
        Pixel size, or None where neither the file nor the user says.
    levels
        Finest first; each later one coarser; the last at most about 1024 px on its longer side.
    reader
        Name of the reader that opened it, as ``info`` prints it.
    vendor
        Scanner vendor as the file says ("aperio"), or "generic".
    fingerprint
        Hex digest that tells this file's content from any other's; the key of all caches.
    properties
        What else the file says of itself, JSON-ready; ``colour`` says what is done to the pixels.
    mpp_sources
        Every statement of the pixel size, the most trusted first: ``mpp`` is the first one's.
    associated
        Label, macro and thumbnail images, by these names: (height, width, 3) uint8, decoded when indexed.
    """

    path: Path
    size: SizePx
    mpp: Mpp | None
    levels: tuple[Level, ...]
    reader: str
    vendor: str
    fingerprint: str
    properties: dict[str, Any] = field(default_factory=dict)
    mpp_sources: tuple[MppSource, ...] = ()
    associated: Mapping[str, LevelPixels] = field(default_factory=dict)

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
    def is_complete(self) -> bool:
        """Whether all levels are there; where not, reading from a missing one waits for it."""
        return True

    def is_ready(self, level: int, within_s: float = 0.0) -> bool:
        """Whether a level can be read without waiting for it to be made.

        Parameters
        ----------
        level
            Index into ``levels``.
        within_s
            How long to wait for levels that need no making but are still being looked for.
        """
        return True

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
        return  # nothing is missing here

    @property
    def sketch(self) -> NDArray[np.uint8] | None:
        """Rough picture of the whole while levels are being made, (h, w, 3) uint8; else None."""
        return None

    @property
    def n_strokes(self) -> int:
        """Grows whenever there is more in ``sketch``."""
        return 0

    @abstractmethod
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
            The file is damaged there.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def __enter__(self) -> Self:
        """Be closed at the end of a ``with`` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()
