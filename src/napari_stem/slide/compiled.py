"""Functions compiled by numba, kept on disk.

numba compiles a function anew when its own file changes, not when one does from which it calls something. What
is kept therefore lies in a folder that is named after the text of all files together.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

from napari_stem.settings import cache_dir

Function = TypeVar("Function", bound=Callable[..., object])

HERE = Path(__file__).parent
KEPT = "compiled-"


def compiled(function: Function) -> Function:
    """Compile at the first call, and keep the result on disk if there is a place for it."""
    config: Any = numba.config
    before, config.CACHE_DIR = config.CACHE_DIR, _FOLDER  # looked at when a function is decorated
    try:
        made = numba.njit(nogil=True, error_model="numpy", cache=bool(_FOLDER))(function)
    finally:
        config.CACHE_DIR = before
    return cast("Function", made)


def written_out(function: Function) -> Function:
    """Compile as a part of each function that calls it: handing over many arrays takes long."""
    made = numba.njit(nogil=True, error_model="numpy", inline="always")(function)
    return cast("Function", made)


def folder_for(source: Path, places: list[Path]) -> str:
    """Make the folder for what the files of a folder are compiled into; older ones beside it are deleted.

    Parameters
    ----------
    source
        Folder of Python files.
    places
        Where to make it: the first that can be written to.

    Returns
    -------
    Its path; "" if there is no place.
    """
    texts = [path.read_bytes() for path in sorted(source.glob("*.py"))]
    used = [text for text in texts if b"numba" in text or b"slide.compiled" in text]
    name = KEPT + hashlib.sha256(b"\0".join(used)).hexdigest()[:16]
    for place in places:
        folder = place / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            for other in place.glob(f"{KEPT}*"):
                if other.name != name:
                    shutil.rmtree(other, ignore_errors=True)
            return str(folder)
    return ""


_FOLDER = folder_for(HERE, [HERE / "__pycache__", cache_dir()])
