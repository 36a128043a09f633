"""What a prediction is on disk before anything is predicted: an empty table and how it will be filled."""

from __future__ import annotations

import hashlib
import json
import pickle
import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem import __version__
from napari_stem.geometry import Region, Spots, region_names
from napari_stem.model.genes import gene_accuracy
from napari_stem.spatial.gene_sets import ensembl_ids, latin_name
from napari_stem.texts import NOTICE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import anndata
    import pandas as pd
    from numpy.typing import NDArray

    from napari_stem.model.bundle import Model


FORMAT = 2  # of a prediction on disk; one of another is refused, as it can be made again
PROVENANCE_KEY = "napari_stem"
COMMON_PROVENANCE = {
    "format": FORMAT,
    "predicted": True,
    "notice": NOTICE,
    "version": __version__,
}
LIBRARY = "slide"
MAX_DRAWS_BYTES = 2_000_000_000  # as they are in memory; about half of it on disk
LIKE, UNLIKE, UNKNOWN = "like training", "unlike training", "unknown"  # obs["ood"]
LAYERS = "sd: standard deviation over the samples; q05, q95: ends of the 90% interval; all in the unit of X"
_ONE = threading.Lock()  # settings of anndata are those of all threads


def may_keep_draws(n_spots: int, n_genes: int, n_draws: int) -> bool:
    """Whether all draws of a run are small enough to be kept, where nobody has asked for it."""
    return n_spots * n_genes * n_draws * np.dtype(np.float16).itemsize <= MAX_DRAWS_BYTES


def gene_table(model: Model, unit: str) -> pd.DataFrame:
    """``var`` of a prediction: what is known of each gene of a model.

    Returns
    -------
    By gene: ``gene_ids`` (Ensembl; empty where none is known), ``unit``, and what
    `napari_stem.model.genes.gene_accuracy` says.
    """
    import pandas as pd

    is_human = latin_name(model.card.get("species") or "human") == "Homo sapiens"
    accuracy = gene_accuracy(model.card, model.genes)
    accuracy.insert(0, "gene_ids", ensembl_ids(model.genes) if is_human else "")
    accuracy.insert(1, "unit", pd.Categorical([unit] * len(accuracy)))
    return accuracy


def region_column(spots: Spots, regions: Sequence[Region]) -> pd.Categorical:
    """``obs["region"]``: the region of each spot, "A; B" in both; missing outside of all."""
    import pandas as pd

    return pd.Categorical([name or None for name in region_names(spots, regions)])


def write_regions(group: Any, regions: pd.Categorical) -> None:
    """Write ``obs["region"]`` of a prediction's Zarr group, over what is there."""
    import anndata
    import zarr

    obs = group["obs"]
    with _ONE, warnings.catch_warnings(), anndata.settings.override(auto_shard_zarr_v3=False):
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        anndata.io.write_elem(obs, "region", regions)
        obs.attrs["column-order"] = [*dict.fromkeys([*obs.attrs["column-order"], "region"])]
        zarr.consolidate_metadata(group.store)


def write_zarr(table: anndata.AnnData, path: Path) -> None:
    """Write Zarr 3 in chunks that serve both a block of spots being added and one gene being read.

    Each chunk is a file of its own, so that a block can be added without touching others; a chunk of
    nothing but NaN has no file.
    """
    import zarr

    arrays: dict[str, NDArray[Any]] = {"X": table.X}
    arrays |= {f"layers/{name}": values for name, values in table.layers.items() if name}
    if "draws" in table.obsm:
        arrays["obsm/draws"] = table.obsm["draws"]
    for name, content in _files_without_values(table, arrays).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content.to_bytes())
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    for place, values in arrays.items():
        if any(values.strides):  # else it is a single NaN that stands for all
            group[place][...] = values


def _files_without_values(
    table: anndata.AnnData, arrays: Mapping[str, NDArray[Any]]
) -> dict[str, Any]:
    """Name -> content of all files but the chunks of ``arrays``, by place in the table ("X", "layers/sd").

    They are made in memory, where a hundred small ones are written several times each.
    """
    import anndata
    import zarr

    with (
        _ONE,
        anndata.settings.override(zarr_write_format=3, auto_shard_zarr_v3=False),
        warnings.catch_warnings(),
    ):
        # zarr says that consolidated metadata is not in its specification yet; anndata reads without it too.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        files = dict(_files_but_spots(table))
        group = zarr.open_group(zarr.storage.MemoryStore(files), mode="r+", use_consolidated=False)
        anndata.io.write_elem(group, "obs", table.obs)
        obsm = {name: values for name, values in table.obsm.items() if name != "draws"}
        anndata.io.write_elem(group, "obsm", obsm)
        for place, values in arrays.items():
            group.create_array(
                place,
                shape=values.shape,
                dtype=values.dtype,
                chunks=chunk_shape(values.shape),
                fill_value=np.nan,
                # https://anndata.readthedocs.io/en/stable/fileformat-prose.html#dense-arrays
                attributes={"encoding-type": "array", "encoding-version": "0.2.0"},
                overwrite=True,
            )
        _divide_columns(group, spots_per_chunk(table.n_vars))
        zarr.consolidate_metadata(group.store)
    return files


_last_written: dict[bytes, dict[str, Any]] = {}  # by content: one


def _files_but_spots(table: anndata.AnnData) -> dict[str, Any]:
    """Name -> content of the files of a table without rows: what clicks on a slide share."""
    import anndata
    import zarr

    var, uns = table.var, dict(table.uns)
    key = hashlib.blake2b(pickle.dumps((var, uns))).digest()
    if (found := _last_written.get(key)) is not None:
        return found
    files: dict[str, Any] = {}
    anndata.AnnData(var=var, uns=uns).write_zarr(
        zarr.storage.MemoryStore(files), convert_strings_to_categoricals=False
    )
    _last_written.clear()
    _last_written[key] = files
    return files


def _divide_columns(group: Any, n_rows: int) -> None:
    """Divide the columns that grow with a prediction as its values are, so that no two blocks share a chunk."""
    for place in ("obs/done", "obs/ood_distance", "obs/ood/codes"):
        if place not in group or group[place].shape[0] <= n_rows:
            continue
        values, attributes = group[place][:], dict(group[place].attrs)
        group.create_array(
            place, data=values, chunks=(n_rows,), attributes=attributes, overwrite=True
        )


def spots_per_chunk(n_genes: int) -> int:
    """Spots of a chunk of means, of so many genes: a multiple of that of draws."""
    return min(1024, max(256, 32_768 // _genes_per_chunk(n_genes) // 256 * 256))


def _genes_per_chunk(n_genes: int) -> int:
    return max(1, min(n_genes, max(32, -(-n_genes // 8))))


def chunk_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Chunks of an array of (spots, genes) or (spots, genes, draws).

    About 32,000 means or 400,000 draws lie in one: few enough that a block of spots rewrites little, many
    enough that a gene lies in few files. Beyond some hundred genes chunks grow wider instead of more. Of fewer
    spots as many values lie in one: a click is seen once its files are written.
    """
    n_spots, n_genes = max(1, shape[0]), max(1, shape[1])
    rows, genes = spots_per_chunk(n_genes), _genes_per_chunk(n_genes)
    if len(shape) > 2:
        rows, genes = 64, max(16, -(-n_genes // 16))
    n_rows = min(n_spots, rows)
    return n_rows, min(n_genes, rows * genes // n_rows), *shape[2:]


def knows_domain(provenance: Mapping[str, Any]) -> bool:
    """Whether the model of a prediction could tell which spots are unlike its training data."""
    return bool(provenance.get("domain") != "unknown")


def stored_provenance(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance as ``uns`` holds it: whole as JSON, and what AnnData can hold as it is, for people to see.

    ``X`` and ``layers`` say what these are.
    """
    plain = {k: v for k, v in provenance.items() if isinstance(v, (str, int, float, bool))}
    mean = f"predicted mean, {provenance.get('unit', 'of unknown unit')}; predicted, not measured"
    return {"json": json.dumps(provenance), "X": mean, "layers": LAYERS, **plain}
