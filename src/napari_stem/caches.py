"""What the program keeps on disk by itself: what it is, how much of it, and what goes when it is too much.

Every cache is a folder of its own in `napari_stem.settings.cache_dir`. An entry is known by a name that only
this program gives, so that nothing else is ever counted or removed. Its last use is its own date: who uses one
says so (`touch`), and what was used within the last hour may be open in another process and stays.
"""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_stem.io import OWN_MARK
from napari_stem.settings import cache_dir

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

IN_USE_S = 3600  # what was used within this time may be open in another process
TOUCH_S = 600  # how often a process says so of what it has open
ABANDONED_S = 24 * 3600  # what is half-made for this long belongs to no living process
ALL_VARIABLE = "NAPARI_STEM_CACHE_GB"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cache:
    """One kind of things that are kept."""

    name: str  # also that of its folder
    holds: str  # what it is, for users
    without: str  # what its loss means to them
    stem: str  # of the names of its entries, a regular expression
    ending: str  # of these, likewise
    limit_gb: float  # most that it may take, unless `variable` says otherwise

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return cache_dir() / self.name

    @property
    def variable(self) -> str:
        """Environment variable that sets its limit, in GB."""
        return f"NAPARI_STEM_{self.name.upper()}_GB"

    @property
    def limit_bytes(self) -> float:
        """Most bytes that it may take."""
        stated = stated_bytes(self.variable)
        return self.limit_gb * 1e9 if stated is None else stated


_DIGEST = "[0-9a-f]{32}"
CACHES = {
    cache.name: cache
    for cache in (
        # A section of 200 genes takes 0.1 to 1 GB with its samples: the work of some weeks.
        Cache(
            "predictions",
            "predictions made or unpacked in the window",
            "lost unless exported",
            r".+-[0-9a-f]{12}",
            r"\.zarr",
            20,
        ),
        # A slide that lacks levels takes up to 2 GB and minutes: a study of some ten such slides.
        Cache(
            "pyramids",
            "levels of slides that lack them",
            "made again when a slide is opened",
            _DIGEST,
            "",
            20,
        ),
        # A whole slide takes about 0.1 GB an encoder, and hours where that is large: some hundred slides.
        Cache(
            "embeddings",
            "what image encoders said of patches",
            "made again, which can take hours",
            rf"{_DIGEST}-[0-9.]+-[0-9.]+-.+",
            r"\.sqlite",
            10,
        ),
        # Unpacked again within seconds: a handful of the largest.
        Cache("models", "models unpacked from .zip", "unpacked again", _DIGEST, "", 5),
        # A few hundred bytes a slide: some ten thousand slides.
        Cache(
            "answers",
            "what you said of slides",
            "their pixel size is asked again",
            _DIGEST,
            r"\.json",
            0.01,
        ),
    )
}


@dataclass(frozen=True)
class Entry:
    """One thing that is kept: a file or a folder."""

    cache: str  # name of its cache
    path: Path
    n_bytes: int  # on disk
    used: float  # last, in seconds since 1970
    is_whole: bool  # was written to its end; else a living process may still be writing it

    @property
    def may_be_open(self) -> bool:
        """Whether another process may be using or writing it now."""
        return time.time() - self.used < (IN_USE_S if self.is_whole else ABANDONED_S)


def entries(names: Iterable[str] = CACHES) -> list[Entry]:
    """Find what lies in some caches, the least recently used first."""
    found = [entry for name in names for entry in _entries(CACHES[name])]
    return sorted(found, key=lambda entry: entry.used)


def why_unwritable() -> str:
    """Say why nothing can be kept in the folder of all caches, or no predictions; empty where all can."""
    for folder in (cache_dir(), CACHES["predictions"].folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                continue
        except OSError as error:
            return f"Results cannot be kept in {folder} ({error.strerror}); choose another folder."
    return ""


def touch(path: Path) -> None:
    """Say that an entry is in use now."""
    with suppress(OSError):  # a read-only cache is as good
        os.utime(path)


def status_within(file: Path) -> os.stat_result:
    """Status of a file, its mode without reading by those who may not enter all folders above it."""
    found = file.stat()
    mode = found.st_mode
    for folder in file.resolve().parents:
        try:
            above = folder.stat()
        except OSError:  # Windows lets through, to what lies in it, whom it does not let look at it
            mode &= ~0o044
            continue
        entering = above.st_mode & 0o011
        if above.st_gid != found.st_gid and not entering & 0o001:  # another group's members
            entering = 0
        mode &= ~0o044 | entering << 2
    return os.stat_result((mode, *found[1:]))


def restrict(folder: Path, file: os.stat_result | None) -> None:
    """Let nobody read a Zarr that is kept of a file who may not read the file; None: its owner alone may.

    The file is told by `status_within`. Another group than the file's may read where everybody may.
    """
    readers = 0 if file is None else file.st_mode & 0o044
    if readers != 0o044 and file is not None and file.st_gid != folder.stat().st_gid:
        readers = 0
    modes = {folder: 0o700 | readers | readers >> 2, folder / "zarr.json": 0o600 | readers}
    if os.name == "nt" or all(stat.S_IMODE(p.stat().st_mode) == mode for p, mode in modes.items()):
        return
    with suppress(PermissionError):  # another user's, in a shared cache
        for place, _, files in os.walk(folder, topdown=False):
            for name in files:
                Path(place, name).chmod(0o600 | readers)
            Path(place).chmod(modes[folder])


def owner_of_copy(file: Path) -> str:
    """Name the user who alone may read what is unpacked of a file; nobody where everybody may read the file."""
    return "" if os.name == "nt" or status_within(file).st_mode & 0o004 else str(os.getuid())


def make_folder_of_copy(folder: Path, file: Path) -> None:
    """Make the folder that a file is unpacked into, unless it is there, for its `owner_of_copy` alone."""
    folder.mkdir(mode=0o700 if owner_of_copy(file) else 0o777, parents=True, exist_ok=True)


def remove(entry: Entry, level: int = logging.WARNING) -> bool:
    """Remove an entry at once, so that nobody opens one half removed; tell whether that went well.

    What hinders it is logged at a ``level``.
    """
    doomed = entry.path.with_name(f"{entry.path.name}.{uuid.uuid4().hex[:8]}.outdated")
    try:
        entry.path.rename(doomed)
        if doomed.is_dir():
            shutil.rmtree(doomed)
        else:
            doomed.unlink()
            entry.path.with_name(f"{entry.path.name}-journal").unlink(missing_ok=True)  # SQLite's
    except OSError as error:  # another process removes it too, or Windows has it open
        logger.log(level, "%s is not removed: %s", entry.path, error)
        return False
    return True


def keep_bounded(name: str, keep: Collection[Path] = ()) -> list[Entry]:
    """Remove the least recently used of a cache that has grown until it fits its limit, and all the common one.

    What is to ``keep`` stays even if it is larger, as does what may be open elsewhere. Returns what was
    removed, leftovers of killed processes aside.
    """
    for entry in entries([name]):
        if not entry.is_whole and not entry.may_be_open:
            remove(entry)
    removed = shrink(entries([name]), CACHES[name].limit_bytes, keep)
    common = stated_bytes(ALL_VARIABLE)
    if common is not None:
        removed += shrink(entries(), common, keep)
    for entry in removed:
        logger.info("Removed %s: the cache was full.", entry.path)
    return removed


def shrink(found: Iterable[Entry], limit_bytes: float, keep: Collection[Path] = ()) -> list[Entry]:
    """Remove `surplus`, and return what was removed."""
    return [entry for entry in surplus(found, limit_bytes, keep) if remove(entry)]


def surplus(found: Iterable[Entry], limit_bytes: float, keep: Collection[Path] = ()) -> list[Entry]:
    """Choose entries to remove, the first ones first, until the rest fits; those that may be open stay."""
    found = list(found)
    total, chosen = sum(entry.n_bytes for entry in found), []
    for entry in found:
        if total <= limit_bytes:
            break
        if entry.path not in keep and not entry.may_be_open:
            chosen.append(entry)
            total -= entry.n_bytes
    return chosen


def _entries(cache: Cache) -> Iterable[Entry]:
    whole = re.compile(cache.stem + cache.ending)
    half = re.compile(
        rf"{cache.stem}({cache.ending})?(\.[0-9a-f]{{8}}|\.partial|\.outdated)+"
        rf"|{re.escape(OWN_MARK)}[0-9a-f-]+(-old)?"
    )
    try:
        paths = list(cache.folder.iterdir())
    except OSError:  # nothing was kept yet
        return
    for path in paths:
        is_whole = whole.fullmatch(path.name) is not None
        if path.is_symlink() or not (is_whole or half.fullmatch(path.name)):
            continue
        with suppress(OSError):  # it has just gone
            dates = [path.stat().st_mtime]
            if is_whole and (path / "zarr.json").is_file():
                dates.append((path / "zarr.json").stat().st_mtime)
            yield Entry(cache.name, path, size_on_disk(path), max(dates), is_whole)


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - ten thousands of them
    return total


def stated_bytes(variable: str) -> float | None:
    """Bytes that an environment variable states in GB; None where it states nothing."""
    text = os.environ.get(variable, "")
    if not text:
        return None
    try:
        n_gb = float(text)
    except ValueError:
        n_gb = math.nan
    if not 0 <= n_gb < math.inf:  # as -1 for no limit, which would clear the cache
        logger.warning("%s=%s is not a number of GB, 0 or more, and is not used.", variable, text)
        return None
    return n_gb * 1e9
