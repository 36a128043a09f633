"""Predictions that come as a single file (.h5ad): unpacked to where predictions are kept."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

from napari_stem.caches import CACHES
from napari_stem.errors import PredictionError

if TYPE_CHECKING:
    from pathlib import Path


def unpacked(path: Path) -> Path:
    """Unpack an exported prediction into a folder that can be opened; the same file only once.

    Parameters
    ----------
    path
        ``.h5ad`` as ``napari-stem export`` and ``predict`` write it.

    Raises
    ------
    PredictionError
        It cannot be read, or its folder cannot be written.
    """
    import anndata

    from napari_stem.empty_prediction import write_zarr

    try:
        told = path.stat()
        digest = hashlib.blake2b(digest_size=6)
        digest.update(f"{path.resolve()} {told.st_size} {told.st_mtime_ns}".encode())
        folder = CACHES["predictions"].folder / f"{path.stem}-{digest.hexdigest()}.zarr"
        if folder.is_dir():
            return folder
        fresh = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.parent.mkdir(parents=True, exist_ok=True)
        write_zarr(anndata.read_h5ad(path), fresh)
        fresh.replace(folder)
    except (OSError, LookupError, ValueError, TypeError) as error:
        raise PredictionError(
            f"{path} cannot be opened as a prediction ({error}); open the .zarr folder it was made from."
        ) from error
    return folder
