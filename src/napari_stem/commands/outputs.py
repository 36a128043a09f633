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
