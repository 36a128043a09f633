"""A section's table, ``st/ID.h5ad``, read piece by piece: names and places never cost the counts."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix, issparse

from napari_stem.errors import DatasetError
from napari_stem.foreign import opened_hdf5, read_h5ad
from napari_stem.io import DAMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import anndata
    import pandas as pd
    from numpy.typing import NDArray

# What h5py, anndata and pandas raise on damaged bytes and on what is no AnnData file.
_VALUES_PER_BLOCK = 4_000_000  # 32 MB of values and column numbers


@dataclass(frozen=True)
class SpotTable:
    """Where was measured, without what.

    Attributes
    ----------
    obs
        Names and annotations of the n spots.
    xy_px
        (n, 2) float64 in level-0 px; None where the table has none, any shape where it is odd.
    diameter_px
        Extent of a spot, where the scale factors state it.
    """

    obs: pd.DataFrame
    xy_px: NDArray[np.float64] | None
    diameter_px: float | None

    @property
    def names(self) -> list[str]:
        """Of the spots."""
        return [str(name) for name in self.obs.index]


def read_table(path: Path) -> anndata.AnnData:
    """Read everything: ``X`` (spots, genes) as float32 CSR.

    Raises
    ------
    DatasetError
        The file is missing, damaged or no AnnData file.
    """
    with _damage_named(path), repeats_allowed():
        table = read_h5ad(path)
        matrix = table.X if issparse(table.X) else np.asarray(table.X)
        table.X = csr_matrix(matrix, dtype=np.float32)
    return table


def read_spots(path: Path) -> SpotTable:
    """Read names, annotations and places of the spots.

    Raises
    ------
    DatasetError
        As `read_table`.
    """
    from anndata.io import read_elem

    with _opened(path) as file:
        places = file.get("obsm/spatial")
        xy_px = None if places is None else np.asarray(read_elem(places), dtype=np.float64)
        return SpotTable(read_elem(file["obs"]), xy_px, _diameter_px(file.get("uns/spatial", {})))


def read_genes(path: Path) -> list[str]:
    """Read the gene names, in the order of the columns.

    Raises
    ------
    DatasetError
        As `read_table`.
    """
    from anndata.io import read_elem

    with _opened(path) as file:
        return [str(gene) for gene in read_elem(file["var"]).index]


def read_shape(path: Path) -> tuple[int, int]:
    """Numbers of spots and genes.

    Raises
    ------
    DatasetError
        As `read_table`.
    """
    with _opened(path) as file:
        n_spots, n_genes = _matrix(file).shape
        return int(n_spots), int(n_genes)


def row_blocks(path: Path) -> Iterator[csr_matrix]:
    """Yield the counts, (rows, genes) CSR, a few megabytes at a time, in order.

    A table stored by column (CSC) comes in one piece: its rows lie scattered over the file.

    Raises
    ------
    DatasetError
        As `read_table`.
    """
    with _opened(path) as file:
        matrix = _matrix(file)
        n_spots = matrix.shape[0]
        if getattr(matrix, "format", "csr") == "csc":
            yield csr_matrix(matrix.to_memory())
            return
        n_values = file["X/data"].shape[0] if "data" in _keys(file["X"]) else matrix.size
        step = max(1, int(_VALUES_PER_BLOCK * n_spots / max(n_values, 1)))
        for start in range(0, n_spots, step):
            yield csr_matrix(matrix[start : start + step])


def _matrix(file: Any) -> Any:
    """Give the counts, still on disk: an array or a sparse one, to be sliced by row."""
    from anndata.io import sparse_dataset

    stored = file["X"]
    return sparse_dataset(stored) if _keys(stored) else stored


def _keys(stored: Any) -> tuple[str, ...]:
    """Names in a group; none of an array."""
    return tuple(stored.keys()) if hasattr(stored, "keys") else ()


def _diameter_px(libraries: Any) -> float | None:
    for library in libraries.values():
        diameter_px = library.get("scalefactors/spot_diameter_fullres")
        if diameter_px is not None:
            return float(diameter_px[()])
    return None


@contextmanager
def repeats_allowed() -> Iterator[None]:
    """Silence anndata about repeated names: the checks report them, with their number."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*names are not unique", UserWarning)
        yield


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with _damage_named(path), opened_hdf5(path) as file:
        yield file


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn whatever reading raises into one sentence."""
    if not path.is_file():
        raise DatasetError(f"There is no table {path}; import the section again.")
    try:
        yield
    except DAMAGE as error:
        raise DatasetError(
            f"{path} is damaged or is no AnnData file ({error}); import it again."
        ) from error
