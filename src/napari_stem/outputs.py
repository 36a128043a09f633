"""Asks before the work whether its result can be written after it."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from napari_stem.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

CHECKPOINTS = "checkpoints"  # of `napari_stem.training.checkpoints`, which loads torch


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


def require_model_room(folder: Path, *, overwrite: bool, resume: bool = False) -> None:
    """Check that a model can be written to ``folder``, or may replace or complete what is there.

    Parameters
    ----------
    folder
        New, empty, or a model's.
    overwrite
        Whether a model, or an unfinished training, may be replaced.
    resume
        Whether a training may go on from its checkpoints.

    Raises
    ------
    OutputError
        It holds something else, or what neither of the two allows.
    """
    require_writable(folder / "config.json")
    if not folder.exists():
        return
    if not folder.is_dir():
        msg = f"{folder} is a file; name a folder for the model."
        raise OutputError(msg)
    names = {path.name for path in folder.iterdir()}
    if not names or (overwrite and names & {"config.json", CHECKPOINTS}):
        return
    if not names & {"config.json", CHECKPOINTS}:
        msg = f"{folder} holds other things than a model; choose an empty or new folder."
        raise OutputError(msg)
    if resume and CHECKPOINTS in names:
        return
    if "config.json" in names:
        msg = f"{folder} holds a model already; choose another folder, or add --overwrite."
        raise OutputError(msg)
    msg = f"{folder} holds an unfinished training; go on with 'train --resume', or add --overwrite."
    raise OutputError(msg)
