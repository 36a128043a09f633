"""Asks before the work whether its result can be written after it."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from napari_stem.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path


def require_writable(path: Path) -> None:
    """Check that a file or folder can be made at ``path``, by making one where its parents begin.

    Raises
    ------
    OutputError
        It cannot.
    """
    ancestor = path.absolute().parent
    while not ancestor.exists() and ancestor != ancestor.parent:
        ancestor = ancestor.parent
    try:
        with tempfile.TemporaryFile(dir=ancestor):
            pass
    except OSError as error:
        msg = f"{path} cannot be written ({error.strerror or error}); choose another place."
        raise OutputError(msg) from error


def require_free(path: Path) -> None:
    """Check that nothing is at ``path``.

    Raises
    ------
    OutputError
        Something is.
    """
    if path.exists():
        msg = f"{path} exists already; choose another name or remove it first."
        raise OutputError(msg)


def require_model_room(folder: Path, *, overwrite: bool) -> None:
    """Check that a model can be written to ``folder``, or may replace the one that is there.

    Raises
    ------
    OutputError
        It holds something else, or a model without ``overwrite``.
    """
    require_writable(folder / "config.json")
    if not folder.exists():
        return
    if not folder.is_dir():
        msg = f"{folder} is a file; name a folder for the model."
        raise OutputError(msg)
    if not any(folder.iterdir()):
        return
    if not (folder / "config.json").is_file():
        msg = f"{folder} holds other things than a model; choose an empty or new folder."
        raise OutputError(msg)
    if not overwrite:
        msg = f"{folder} holds a model already; choose another folder, or add --overwrite."
        raise OutputError(msg)
