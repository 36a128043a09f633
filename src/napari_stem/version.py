"""The version that is installed; asking for it loads `importlib.metadata`, which ``--help`` does without."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("napari-stem")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
