"""What a reader of slides is, what it makes of a file, and what readers share."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from napari_stem.errors import SlideError
from napari_stem.slide.level import READ_ERRORS
from napari_stem.texts import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_stem.geometry import SizePx
    from napari_stem.progress import Progress
    from napari_stem.slide.level import Level
    from napari_stem.slide.location import Location
    from napari_stem.slide.pixel_size import MppSource

N_PIECES = 16
PIECE_BYTES = 256 * 1024


class SlideReader(Protocol):
    """A module that opens one kind of slide: ``NAME_reader``, for the row NAME of `recognising.READERS`.

    Levels come as they are stored: coarser ones that lack are made by `PyramidBuilder`. ``Level.read`` may
    raise any of `READ_ERRORS`, of which `Level.window` makes a SlideError that names the slide; a SlideError
    passes as it is. `opening` has levels notice that a file of theirs is gone or was replaced.

    The reader of a slide of several files owes two things: a fingerprint of more than the file that was named,
    and ``StoredSlide.files``.
    """

    def why_not(self, location: Location) -> str | None:
        """Say in a clause that completes "it is" why it cannot open a place; None where it can try."""

    def read_header(self, location: Location) -> StoredSlide:
        """Open a place, and decode nothing yet.

        SlideError: it is damaged, or no 8-bit brightfield image. UnsuitedError: another reader may do better.
        """


class MissingLibrary(str):
    """What ``why_not`` gives for a file that might be read if a library were installed."""

    __slots__ = ()


@dataclass(eq=False)
class StoredSlide:
    """What a file has, and says of itself; nothing is decoded before it is asked for.

    Attributes
    ----------
    path
        The file.
    levels
        Those stored in it, finest first.
    fingerprint
        Hex digest that tells this slide's content from any other's, the key of all caches; `fingerprint` makes
        it for a slide that is one file. Never of an index alone, which may be alike for two slides.
    vendor
        Scanner vendor as the file says ("aperio"), or "generic".
    properties
        What else the file says of itself, JSON-ready: ``format``; ``colour``, what is done to the pixels; and
        what there is of ``native_levels``, ``objective_power``, ``compression``, ``tile_px``, ``mode``,
        ``scenes``, ``zarr_format`` and ``image`` (the path of it within a Zarr).
    mpp_sources
        Every statement of the pixel size, the most trusted first.
    associated
        Label, macro and thumbnail images, by these names.
    files
        Those that it lies in, where these are others than ``path`` alone: all of them are watched for change.
    needs_tiled_copy
        Reading a window of the (only) stored level decodes far more of it: it is copied into the cache, tiled.
    decode_coarsest
        Decodes the coarsest stored level at once, for making coarser ones, and tells how far it is; where it is
        None, they are made from that level window by window.
    rough_picture
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
    files: Collection[Path] = ()
    needs_tiled_copy: bool = False
    decode_coarsest: Callable[[Progress | None], Level] | None = None
    rough_picture: Callable[[], NDArray[np.uint8]] | None = None
    on_close: Callable[[], None] = lambda: None

    @property
    def size(self) -> SizePx:
        """Extent at level 0."""
        return self.levels[0].size


class UnsuitedError(SlideError):
    """The file is sound, but another reader may serve it better; all other refusals are final."""


@contextmanager
def refusing_damage(what: str, *errors: type[Exception]) -> Iterator[None]:
    """Make a SlideError that begins with ``what`` of `READ_ERRORS` and a library's ``errors``."""
    try:
        yield
    except READ_ERRORS + errors as error:
        raise SlideError(f"{what} ({reason_of(error)}); copy or export it again.") from error


def fingerprint(path: Path) -> str:
    """Digest of a file's length and of pieces spread evenly over it, whatever the name: 32 hexadecimal digits.

    Files up to 4 MiB are hashed whole; of larger ones 4 MiB are read, so that a slide of many gigabytes on a
    network share takes no longer than a small one. OSError where it cannot be read.
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


class OpenFile:
    """A library's open file, which it closes with the last reference: that of `close`, or of the last reader.

    For libraries that hang or crash when a file is closed under a reader, as OpenSlide 4.0 does. Closing
    never waits. Several threads may read.
    """

    def __init__(self, file: Any) -> None:
        self._file = file

    def get(self) -> Any:
        """Give the file, to be held for as long as it is read from; ValueError where it was closed before."""
        file = self._file
        if file is None:
            raise ValueError("the file is closed")
        return file

    def close(self) -> None:
        """Let nobody begin to read any more."""
        self._file = None
