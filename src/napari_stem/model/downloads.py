"""Downloads in a process of their own: huggingface_hub cannot be asked to stop, a process can.

It keeps whole files and cannot go on with half ones: a process that is ended leaves these behind, and they are
removed.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_stem.own_process import run_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_stem.progress import Progress

Kind = Literal["encoder", "model"]
BROKE = "The download broke down; napari's log says more. Try again: files that are whole are kept."
HALF = "*.incomplete"


def download_in_subprocess(
    kind: Kind, name: str, is_stopped: Callable[[], bool], progress: Progress
) -> Path | None:
    """Download an encoder, or a model from Hugging Face.

    Parameters
    ----------
    kind, name
        ``encoder`` and a single name as `napari-stem encoders` lists it; or ``model`` and ``org/name``.
    is_stopped, progress
        As of `run_module`: text is the name, progress in bytes.

    Returns
    -------
    The folder with the files; None where it was stopped.

    Raises
    ------
    StemError
        It cannot be had: the text says what to do.
    """
    blobs = _blobs(kind, name)
    before = set(blobs.glob(HALF))
    folder = run_module("napari_stem.model.downloads", [kind, name], is_stopped, progress, BROKE)
    if folder is not None:
        return Path(folder)
    for half in set(blobs.glob(HALF)) - before:
        half.unlink(missing_ok=True)
    return None


def _blobs(kind: Kind, name: str) -> Path:
    """Where huggingface_hub puts the files of a repository."""
    from huggingface_hub.constants import HF_HUB_CACHE

    from napari_stem.encoders.catalogue import CATALOGUE
    from napari_stem.model.sources import parse_repository

    repository = CATALOGUE[name].hub_id if kind == "encoder" else parse_repository(name)[0]
    return Path(HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}" / "blobs"


def encoder(name: str, progress: Progress) -> str:
    """Download an encoder; gives its folder."""
    from napari_stem.encoders.catalogue import CATALOGUE
    from napari_stem.encoders.hub import download

    return str(download(CATALOGUE[name], progress=partial(progress, name)))


def model(name: str, progress: Progress) -> str:
    """Download a model; gives its folder."""
    from napari_stem.model.sources import fetch, parse_repository

    return str(fetch(*parse_repository(name), progress=partial(progress, name)))
