"""Files are written whole or not at all, and one sentence says where that fails."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import tempfile
import uuid
import zipfile
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock, Timeout

from napari_stem.errors import OutputError
from napari_stem.texts import reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import anndata

Value = TypeVar("Value")
# Names beside an output that nobody else gives, with a hash of the output's name: what is under way, what is
# moved aside (`-old`), and what tells other processes that somebody writes (`.lock`).
OWN_MARK = ".napari-stem-"
ZARR_MARKS = ("zarr.json", ".zgroup", ".zattrs")
CHECKPOINTS = "checkpoints"  # of `napari_stem.training.checkpoints`, which loads torch
# What h5py, zarr, anndata, pandas, NumPy and zipfile raise on files that are damaged, cut short or laid out in
# another way. To be caught round nothing but the reading of a file.
DAMAGE = (
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    EOFError,
    MemoryError,  # where a file claims more than it holds
    zipfile.BadZipFile,
)


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold an output for this thread; whoever else wants to write it meanwhile is refused.

    May be nested. Parents are made. A folder where nobody can lock, of a share perhaps, is not held.

    OutputError: somebody else writes it, or its folder cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
    lock = FileLock(_mark(path, ".lock"), timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        raise OutputError(
            f"{path} is being written by another run of napari-stem; wait for it, or choose another name."
        ) from None
    except (OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            with suppress(OSError):  # Windows does not remove what is open
                os.unlink(lock.lock_file)  # noqa: PTH108 - while it is held: nobody else's can be hit
        lock.release()


@contextmanager
def written_whole(
    path: Path, *, overwrite: bool = False, advice: str = "choose another place."
) -> Iterator[Path]:
    """Offer a place beside ``path`` to write to; what lies there moves to ``path`` at the end.

    Whatever breaks the block off, an error or the user, nothing of it stays, and what was at ``path``
    before is untouched. What a killed one left goes with the next.

    The path is of a file or folder; its parents are made too. ``overwrite``: a file, or a Zarr folder, that is
    there already is replaced. ``advice`` says what to do where it cannot be written.

    OutputError: the place is taken, somebody else writes it, or it cannot be written.
    """
    with only_writer(path):
        fresh, aside = (_mark(path, f"-{uuid.uuid4().hex[:8]}{kind}") for kind in ("", "-old"))
        try:
            _clear_up(path)
            require_replaceable(path, overwrite=overwrite)
            try:
                yield fresh
                require_replaceable(path, overwrite=overwrite)  # others may have written there
                if path.is_dir():  # a folder is not replaced in one go
                    path.rename(aside)
                fresh.replace(path)
            finally:
                _clear_up(path)
        except OSError as error:
            raise unwritable(path, error, advice) from error


def _mark(path: Path, more: str = "") -> Path:
    """Name beside an output that is ours alone, never too long, and like no file that is looked for."""
    path = path.absolute()  # "." has no name
    digest = hashlib.blake2b(os.fsencode(path.name), digest_size=4).hexdigest()
    return path.parent / f"{OWN_MARK}{digest}{more}"  # the root of a disk has no name either


def _clear_up(path: Path) -> None:
    """Put back what was moved aside and not replaced, and remove what is half done."""
    for left in sorted(path.parent.glob(f"{_mark(path).name}-*")):
        if left.name.endswith("-old") and not path.exists():
            left.rename(path)
        else:
            with suppress(OSError):
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def write_file(path: Path, content: str | bytes) -> None:
    """Write or replace a file so that a kill leaves the old one or the new one.

    OutputError: it cannot be written.
    """
    with written_whole(path, overwrite=True) as fresh, fresh.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


def write_h5ad(table: anndata.AnnData, path: Path) -> None:
    """Write a table as ``AnnData.write_h5ad`` does, compressed; texts stay texts.

    The file is made in memory: on a full disk HDF5 cannot close what it has begun, and fills stderr with it.

    OSError: the place cannot be written.
    """
    import h5py
    from anndata.io import write_elem

    made = io.BytesIO()
    with h5py.File(made, "w") as file:
        write_elem(file, "/", table, dataset_kwargs={"compression": "gzip"})
        if table.raw is None:
            del file["raw"]  # a place holder, which AnnData's own files do not have
    with path.open("wb") as new:
        new.write(made.getbuffer())


def unwritable(path: Path, error: Exception, advice: str = "choose another place.") -> OutputError:
    """Say in one sentence that something cannot be written, why, and what to do."""
    # HDF5, safetensors and copies of folders tell it among other things
    full = os.strerror(errno.ENOSPC)
    told = getattr(error, "strerror", None) or reason_of(error)
    reason = full if full in str(error) else told
    return OutputError(f"{path} cannot be written ({reason}); {advice}")


def require_replaceable(path: Path, *, overwrite: bool) -> None:
    """Check that ``path`` is free, or may be replaced.

    OutputError: it is taken; a folder that is no Zarr is never replaced.
    """
    if not path.exists():
        return
    if not overwrite:
        raise OutputError(
            f"{path} exists already; choose another name, allow overwriting, or remove it first."
        )
    if path.is_dir() and not any((path / mark).is_file() for mark in ZARR_MARKS):
        raise OutputError(
            f"{path} is a folder of something else and is not replaced; choose another name."
        )


def require_writable(path: Path) -> None:
    """Check that something can be made at ``path``, where its parents begin; OutputError where it cannot."""
    ancestor = existing_folder(path.absolute().parent)
    try:
        with tempfile.TemporaryFile(dir=ancestor):
            pass
    except OSError as error:
        raise unwritable(path, error) from error


def require_free(path: Path) -> None:
    """Check that nothing is at ``path``; OutputError where something is."""
    if path.exists():
        raise OutputError(f"{path} exists already; choose another name or remove it first.")


def require_model_room(folder: Path, *, overwrite: bool, resume: bool = False) -> None:
    """Check that a model can be written to a folder that is new or empty.

    Or may replace the model or unfinished training in it (``overwrite``), or complete that (``resume``).

    OutputError: it holds something else, or what neither of the two allows.
    """
    require_writable(folder / "config.json")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is a file; name a folder for the model.")
    names = {path.name for path in folder.iterdir()}
    if not names or (overwrite and names & {"config.json", CHECKPOINTS}):
        return
    if not names & {"config.json", CHECKPOINTS}:
        raise OutputError(
            f"{folder} holds other things than a model; choose an empty or new folder."
        )
    if resume and CHECKPOINTS in names:
        return
    if "config.json" in names:
        what_to_do = "--overwrite in place of --resume" if resume else "add --overwrite"
        raise OutputError(
            f"{folder} holds a model already{', whose training is finished' * resume}; choose another "
            f"folder, or {what_to_do}."
        )
    raise OutputError(
        f"{folder} holds an unfinished training; go on with 'train --resume', or add --overwrite."
    )


def existing_folder(place: Path) -> Path:
    """Return the place itself, or where its parents begin."""
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


def free_bytes(place: Path) -> tuple[int, Path]:
    """Room for what is to be made at a place, and the folder that is there already."""
    folder = existing_folder(place.absolute())
    return shutil.disk_usage(folder).free, folder


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def under(prefix: str, arrays: Mapping[str, Value]) -> dict[str, Value]:
    """Take of a file's arrays those whose names begin so, without that beginning."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
