"""What a reader hands over: a file's facts and the levels stored in it, all of them lazy."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_stem.errors import SlideError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_stem.geometry import SizePx
    from napari_stem.progress import Progress
    from napari_stem.slide.level_pixels import LevelPixels
    from napari_stem.slide.pixel_size import MppSource

# No scanner makes more: a glass slide of 26 x 76 mm at 0.1 um/px is 260,000 x 760,000 px.
LONGEST_PX = 2**20
LARGEST_PX = 2**38
N_PIECES = 16
PIECE_BYTES = 256 * 1024


class UnsuitedError(SlideError):
    """The file is sound, but another reader may serve it better; all other refusals are final."""


@dataclass(frozen=True, eq=False)
class SlideSource:
    """What a reader makes of a file: what it says of itself, and the levels stored in it, all of them lazy.

    Attributes
    ----------
    sources
        The stored levels, finest first.
    fingerprint, vendor, properties
        As in ``Slide``.
    mpp_sources
        What the file says of its pixel size, the most trusted first.
    associated
        Label, macro and thumbnail images, by these names.
    copies_base
        Windows of the (only) level are costly, so that it is better stored anew, tiled.
    base
        Gives the coarsest stored level for making coarser ones, told how far the decoding is.
    quick
        Gives a rough picture of the whole slide, (h, w, 3) uint8, within a moment.
    close
        Lets go of the file.
    """

    sources: tuple[LevelPixels, ...]
    fingerprint: str
    properties: dict[str, Any]
    mpp_sources: tuple[MppSource, ...]
    vendor: str = "generic"
    associated: Mapping[str, LevelPixels] = field(default_factory=dict)
    copies_base: bool = False
    base: Callable[[Progress | None], LevelPixels] | None = None
    quick: Callable[[], NDArray[np.uint8]] | None = None
    close: Callable[[], None] = lambda: None

    @property
    def sizes(self) -> tuple[SizePx, ...]:
        """Extents of the stored levels, finest first."""
        return tuple(level.size for level in self.sources)


def fingerprint(path: Path) -> str:
    """Digest of a file's length and of pieces spread evenly over it, whatever the name.

    Files up to 4 MiB are hashed whole; of larger ones 4 MiB are read, so that a slide of many
    gigabytes on a network share takes no longer than a small one.

    Returns
    -------
    32 hexadecimal digits.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    n_bytes = path.stat().st_size
    digest = hashlib.blake2b(str(n_bytes).encode(), digest_size=16)
    with path.open("rb") as file:
        if n_bytes <= N_PIECES * PIECE_BYTES:
            digest.update(file.read())
        else:
            for piece in range(N_PIECES):
                file.seek((n_bytes - PIECE_BYTES) * piece // (N_PIECES - 1))
                digest.update(file.read(PIECE_BYTES))
    return digest.hexdigest()


def refuse_absurd(name: str, sizes: Sequence[SizePx]) -> None:
    """Refuse sizes that only a damaged header can state, before anything is allocated for them.

    Raises
    ------
    SlideError
        A level is empty, or wider or larger than any slide.
    """
    for size in sizes:
        told = f"{size.width_px} x {size.height_px} px"
        if min(size.height_px, size.width_px) < 1:
            raise SlideError(
                f"{name} has a level of {told}: it is damaged; copy or export it again."
            )
        if (
            max(size.height_px, size.width_px) > LONGEST_PX
            or size.height_px * size.width_px > LARGEST_PX
        ):
            raise SlideError(
                f"{name} says that it is {told}, more than any slide: its header is damaged; copy "
                f"or export it again."
            )


class InUse:
    """Closes a handle once nobody reads from it any more.

    For libraries that hang or crash when a handle is closed under a reader, as OpenSlide 4.0 does. Closing
    never waits: the last reader closes.

    Parameters
    ----------
    handle
        Of the library; may be read from by several threads.
    close
        Frees it; called once.
    """

    def __init__(self, handle: Any, close: Callable[[], None]) -> None:
        self._handle, self._free = handle, close
        self._lock = threading.Lock()
        self._n_readers = 0
        self._is_closed = self._is_freed = False

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """Hand out the handle for as long as it is read from.

        Raises
        ------
        ValueError
            It was closed before.
        """
        with self._lock:
            if self._is_closed:
                raise ValueError("the file is closed")
            self._n_readers += 1
        try:
            yield self._handle
        finally:
            with self._lock:
                self._n_readers -= 1
            self._free_if_idle()

    def close(self) -> None:
        """Let nobody begin to read any more, and free the handle when all have ended."""
        with self._lock:
            self._is_closed = True
        self._free_if_idle()

    def _free_if_idle(self) -> None:
        with self._lock:
            is_due = self._is_closed and not self._n_readers and not self._is_freed
            self._is_freed = self._is_freed or is_due
        if is_due:
            self._free()
