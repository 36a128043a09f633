"""Writing whole or not at all: what is asked for appears under its name once it is complete."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_stem.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ZARR_MARKS = ("zarr.json", ".zgroup", ".zattrs")


@contextmanager
def written_whole(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Offer a place beside ``path`` to write to; what lies there moves to ``path`` at the end.

    Whatever breaks the block off, an error or the user, nothing of it stays, and what was at ``path``
    before is untouched.

    Parameters
    ----------
    path
        File or folder to make; its parents are made too.
    overwrite
        Replace a file, or a Zarr folder, that is there already.

    Raises
    ------
    OutputError
        The place is taken, or cannot be written.
    """
    fresh = path.with_name(f"{path.stem}.new{path.suffix}")
    try:
        require_replaceable(path, overwrite=overwrite)
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(fresh)  # an earlier one may have been killed
        yield fresh
        _move(fresh, path)
    except OSError as error:
        msg = f"{path} cannot be written ({error.strerror or error}); choose another place."
        raise OutputError(msg) from error
    finally:
        remove(fresh, whatever=True)


def require_replaceable(path: Path, *, overwrite: bool) -> None:
    """Check that ``path`` is free, or may be replaced.

    Raises
    ------
    OutputError
        It is taken; a folder that is no Zarr is never replaced.
    """
    if not path.exists():
        return
    if not overwrite:
        msg = f"{path} exists already; choose another name, allow overwriting, or remove it first."
        raise OutputError(msg)
    if path.is_dir() and not any((path / mark).is_file() for mark in ZARR_MARKS):
        msg = f"{path} is a folder of something else and is not replaced; choose another name."
        raise OutputError(msg)


def remove(path: Path, *, whatever: bool = False) -> None:
    """Remove a file or a folder, if it is there; ``whatever`` happens meanwhile."""
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError:
        if not whatever:
            raise


def _move(fresh: Path, path: Path) -> None:
    if not path.is_dir():
        fresh.replace(path)
        return
    older = path.with_name(f"{path.stem}.old{path.suffix}")  # a folder is not replaced in one go
    remove(older)
    path.rename(older)
    fresh.rename(path)
    remove(older, whatever=True)
