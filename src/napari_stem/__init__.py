"""Predicted gene expression maps with uncertainty from H&E whole-slide images.

The public names load on first use, so that ``import napari_stem`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from napari_stem.triton_import import make_triton_safe

make_triton_safe()

try:
    __version__ = version("napari-stem")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

_PUBLIC = {
    "Mpp": "napari_stem.geometry",
    "Prediction": "napari_stem.results",
    "Region": "napari_stem.geometry",
    "SamplingSettings": "napari_stem.settings",
    "Spots": "napari_stem.geometry",
    "StemError": "napari_stem.errors",
    "choose_spots": "napari_stem.predict",
    "load_model": "napari_stem.model",
    "open_slide": "napari_stem.slide",
    "predict_slide": "napari_stem.predict",
}
__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604 - names of lazy attributes


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        msg = f"module 'napari_stem' has no attribute '{name}'"
        raise AttributeError(msg)
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
