"""Where made levels are kept: one OME-Zarr folder per slide content, bounded in size, least used out.

A store is written under a temporary name and renamed when complete, so that one that exists is
complete, whichever process made it and whoever was killed. The date of its ``zarr.json`` is that of
its last use.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from napari_stem.errors import SlideError
from napari_stem.settings import cache_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

logger = logging.getLogger(__name__)

LIMIT_VARIABLE = "NAPARI_STEM_CACHE_GB"
LIMIT_GB = 20.0
MARK = "zarr.json"
ABANDONED_S = 24 * 3600  # a half-written store this old belongs to no living process
IN_USE_S = 3600  # a store used within this time may be open in another process: never removed
TELL_USE_S = 600  # how often an open slide says that its store is in use


def store_folder(fingerprint: str) -> Path:
    """Where the levels made of a slide lie once they are complete."""
    return cache_dir() / "pyramids" / fingerprint


def limit_bytes() -> float:
    """Most bytes that all stores may take: ``$NAPARI_STEM_CACHE_GB``, else 20 GB."""
    text = os.environ.get(LIMIT_VARIABLE, "")
    try:
        return max(0.0, float(text)) * 1e9 if text else LIMIT_GB * 1e9
    except ValueError:
        logger.warning("%s=%s is no number of GB; %s is used.", LIMIT_VARIABLE, text, LIMIT_GB)
        return LIMIT_GB * 1e9


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
        if now - self._told < TELL_USE_S:
            return
        self._told = now
        with suppress(OSError):  # a read-only cache is as good
            os.utime(self.folder / MARK)

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
        for row in range(rows.start // chunk_px, -(-rows.stop // chunk_px)):
            for column in range(columns.start // chunk_px, -(-columns.stop // chunk_px)):
                if not (chunks / str(row) / str(column)).is_file():
                    msg = (
                        f"The stored levels in {self.folder} were removed while the slide was "
                        f"open; open the slide again, and they are made anew."
                    )
                    raise SlideError(msg)


@contextmanager
def new_store(folder: Path, is_wanted: Callable[[], bool]) -> Iterator[Path]:
    """Give a temporary folder to write a store in, and move it into place at the end.

    Parameters
    ----------
    folder
        Where the store belongs.
    is_wanted
        Whether there is still no fitting store there: another process may have been faster.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder.parent)
    partial = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield partial
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


def keep_bounded(newest: Path) -> None:
    """Remove stores, the least recently used first, until all fit into the limit.

    The one just made and those in use stay, even if they are larger than the limit.
    """
    limit, now = limit_bytes(), time.time()
    stores = [(f, *_use_and_bytes(f)) for f in newest.parent.iterdir() if "." not in f.name]
    total = sum(n_bytes for _, _, n_bytes in stores)
    for folder, used, n_bytes in sorted(stores, key=lambda each: each[1]):
        if total <= limit:
            return
        if folder == newest or now - used < IN_USE_S:
            continue
        doomed = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.outdated")
        with suppress(OSError):  # another process removes it too
            folder.rename(doomed)  # at once, so that nobody opens one half removed
            shutil.rmtree(doomed, ignore_errors=True)
            logger.info("Removed %s: the cache is full (%s).", folder, LIMIT_VARIABLE)
            total -= n_bytes


def _use_and_bytes(folder: Path) -> tuple[float, int]:
    """When a store was last used (s since 1970), and how many bytes it takes."""
    n_bytes, used = 0, 0.0
    with suppress(OSError):
        used = (folder / MARK).stat().st_mtime
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                n_bytes += (folder / root / name).stat().st_size
    return used, n_bytes


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob("*.*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(folder, ignore_errors=True)
