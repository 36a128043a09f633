"""Predictions that come as a single file (.h5ad): read, or unpacked to where predictions are kept."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from napari_stem.caches import CACHES
from napari_stem.errors import OutputError, PredictionError
from napari_stem.foreign import read_h5ad
from napari_stem.io import DAMAGE, written_whole
from napari_stem.results.empty import PROVENANCE_KEY, write_zarr
from napari_stem.results.stored import FIELDS, read_provenance, reading, require_there

if TYPE_CHECKING:
    from pathlib import Path

    import anndata


def read_exported(path: Path) -> anndata.AnnData:
    """Read an ``.h5ad`` as ``napari-stem export`` and ``predict`` write it; errors as of `Prediction.open`.

    Raises
    ------
    PredictionError
        There is none, it is damaged or no prediction, or one of another format.
    """
    require_there(path)
    with reading(path):
        table = read_h5ad(path)
        read_provenance(table.uns[PROVENANCE_KEY]["json"], path)
        _ = table.obs["done"], *(table.layers[name] for name in FIELDS[1:])  # all there?
        return table


def unpacked(path: Path) -> Path:
    """Unpack such a file into a folder that can be opened; the same file only once.

    Raises
    ------
    PredictionError
        As of `read_exported`, or the folder cannot be written.
    """
    require_there(path)
    try:
        stat = path.stat()
        digest = hashlib.blake2b(digest_size=6)
        digest.update(os.fsencode(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"))
        folder = CACHES["predictions"].folder / f"{path.stem}-{digest.hexdigest()}.zarr"
        if folder.is_dir():
            return folder
        table = read_exported(path)
        with written_whole(folder, overwrite=True) as fresh:
            write_zarr(table, fresh)
    except (*DAMAGE, OutputError) as error:
        raise PredictionError(
            f"{path} cannot be unpacked ({error}); open the .zarr folder it was made from."
        ) from error
    return folder
