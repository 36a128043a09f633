"""Where made levels are kept: one OME-Zarr folder per slide content.

A store is written under a temporary name and renamed when complete, so that one that exists is
complete, whichever process made it and whoever was killed.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_stem.caches import TOUCH_S, touch
from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.slide.level_pixels import tiles_under

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Use:
    """A complete store that is read from: keeps it from removal, and notices its loss.

    Parameters
    ----------
    folder
        The store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._told = -float("inf")
        self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told >= TOUCH_S:
            self._told = now
            touch(self.folder)

    def refuse_missing(self, array: str, rows: slice, columns: slice, chunk_px: int) -> None:
        """Refuse to read a window of which a chunk is not there: zarr would give the fill value.

        Parameters
        ----------
        array
            Name of the level within the store.
        rows, columns
            Window, in px of the level.
        chunk_px
            Height and width of a chunk.

        Raises
        ------
        SlideError
            Somebody removed the store, or a part of it.
        """
        self._tell()
        chunks = self.folder / array / "c" / "0"
        for row, column in tiles_under(rows, columns, SizePx(chunk_px, chunk_px)):
            if not (chunks / str(row) / str(column)).is_file():
                raise SlideError(
                    f"The stored levels in {self.folder} were removed while the slide was "
                    f"open; open the slide again, and they are made anew."
                )


def keep_rights(folder: Path, rights: int) -> None:
    """Let nobody read a store who may not read the slide.

    Parameters
    ----------
    folder
        The store.
    rights
        Of the slide: bits of ``os.stat_result.st_mode``.
    """
    readers = rights & 0o044
    modes = {folder: 0o700 | readers | readers >> 2, folder / "zarr.json": 0o600 | readers}
    if os.name == "nt" or all(stat.S_IMODE(p.stat().st_mode) == mode for p, mode in modes.items()):
        return
    with suppress(PermissionError):  # another user's, in a shared cache
        for place, _, files in os.walk(folder, topdown=False):
            for name in files:
                Path(place, name).chmod(0o600 | readers)
            Path(place).chmod(modes[folder])


@contextmanager
def new_store(folder: Path, rights: int, is_wanted: Callable[[], bool]) -> Iterator[Path]:
    """Make a temporary folder to write a store in, and move it into place at the end.

    Parameters
    ----------
    folder
        Where the store belongs.
    rights
        As for ``keep_rights``; nobody but its owner can read it until it is complete.
    is_wanted
        Whether there is still no fitting store there: another process may have been faster.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        partial.mkdir(mode=0o700)
        yield partial
        keep_rights(partial, rights)
        if not is_wanted():
            return
        if folder.exists():
            outdated = partial.with_suffix(".outdated")
            folder.rename(outdated)
            shutil.rmtree(outdated, ignore_errors=True)
        try:
            partial.rename(folder)
        except OSError:
            if is_wanted():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
