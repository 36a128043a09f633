"""Functions compiled by numba, kept in the cache: uninstalling the program leaves nothing beside its code.

numba compiles a function anew when its own file changes, not when one does from which it calls something. What
is kept therefore lies in a folder that is named after the text of all files together. ``$NUMBA_CACHE_DIR``,
which is numba's own, is another place.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

from napari_stem.caches import CACHES, keep_bounded, touch

Function = TypeVar("Function", bound=Callable[..., object])

HERE = Path(__file__).parent


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


def folder_for(source: Path) -> str:
    """Make the folder for what the files of a folder are compiled into.

    Parameters
    ----------
    source
        Folder of Python files.

    Returns
    -------
    Its path; "" if it cannot be written.
    """
    texts = [path.read_bytes() for path in sorted(source.glob("*.py"))]
    used = [text for text in texts if b"numba" in text or b"slide.compiled" in text]
    chosen, cache = os.environ.get("NUMBA_CACHE_DIR"), CACHES["compiled"]
    place = Path(chosen) if chosen else cache.folder
    folder = place / hashlib.sha256(b"\0".join(used)).hexdigest()[:16]
    is_new = not folder.is_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return ""
    touch(folder)
    if is_new:
        keep_bounded(cache.name, keep=[folder])
    return str(folder) if os.access(folder, os.W_OK) else ""


_FOLDER = folder_for(HERE)
