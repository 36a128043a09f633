"""A finished prediction, or some genes of it, as one AnnData file for other programs."""

from __future__ import annotations

import shutil
import warnings
from typing import TYPE_CHECKING

from napari_stem.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import anndata

    from napari_stem.results import Prediction


def write_table(prediction: Prediction, path: Path, genes: Sequence[str] = ()) -> None:
    """Write ``.h5ad`` or ``.zarr``, whole or not at all.

    Parameters
    ----------
    prediction
        What to write.
    path
        New file or folder.
    genes
        Those to write, in this order; empty means all.

    Raises
    ------
    OutputError
        The ending is another one, or the file cannot be written.
    """
    fresh = path.with_name(f"{path.stem}.new{path.suffix}")
    try:
        if not genes:
            prediction.export(fresh)
        elif path.suffix == ".h5ad":
            _some(prediction, genes).write_h5ad(fresh, compression="gzip")
        else:
            with warnings.catch_warnings():  # zarr's news about its own formats
                warnings.simplefilter("ignore")
                _some(prediction, genes).write_zarr(fresh)
        fresh.replace(path)
    except OSError as error:
        msg = f"{path} cannot be written ({error.strerror or error}); choose another place."
        raise OutputError(msg) from error
    finally:
        if fresh.is_dir():
            shutil.rmtree(fresh)
        fresh.unlink(missing_ok=True)


def _some(prediction: Prediction, genes: Sequence[str]) -> anndata.AnnData:
    """Table of chosen genes: everything per gene is cut, the kept draws too."""
    table = prediction.to_anndata()
    columns = table.var_names.get_indexer(list(genes))
    draws = table.obsm["draws"] if "draws" in table.obsm else None  # noqa: SIM401 - not a dict
    chosen = table[:, columns].copy()
    if draws is not None:
        chosen.obsm["draws"] = draws[:, columns]
    return chosen
