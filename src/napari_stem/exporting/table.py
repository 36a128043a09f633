"""A prediction, or some genes of it, as AnnData for other programs."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import OutputError
from napari_stem.exporting.options import DEFAULT_OPTIONS, ExportOptions
from napari_stem.io import write_h5ad, written_whole
from napari_stem.results import PROVENANCE_KEY
from napari_stem.results.empty import region_column, write_zarr
from napari_stem.spatial_analysis.store import annotate, read_domains

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import anndata
    from numpy.typing import NDArray

    from napari_stem.exporting.selection import Selection


def write_anndata(
    selection: Selection,
    path: Path,
    options: ExportOptions = DEFAULT_OPTIONS,
    *,
    genes: Sequence[str] = (),
) -> None:
    """Write ``.h5ad`` or ``.zarr``, whole or not at all; a ``.zarr`` can be opened as a prediction again.

    Spots that are not predicted yet are left out: squidpy's and scanpy's methods know no gaps. Where ``genes``
    are given they are the columns, in this order: those that are not in the selection become NaN, and are named
    in ``uns["napari_stem"]["genes_not_predicted"]``.

    OutputError: the ending is another one, or the place is taken or cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in (".h5ad", ".zarr"):
        raise OutputError(
            f"{path.name} has an ending that is not .h5ad or .zarr; choose one of these."
        )
    is_zarr = suffix == ".zarr"
    is_all = selection.is_whole and not (selection.regions or genes)
    with written_whole(path, overwrite=options.overwrite) as fresh:
        options.progress("Reading", 0, 2)
        if is_zarr and is_all and read_domains(selection.prediction) is None:
            shutil.copytree(selection.prediction.path, fresh)
        else:
            table = selected_anndata(selection)
            if genes:
                table = with_gaps(table, genes)
            options.progress("Writing", 1, 2)
            if is_zarr:
                write_zarr(table, fresh)
            else:
                write_h5ad(table, fresh)
        options.progress("Writing", 2, 2)


def selected_anndata(selection: Selection) -> anndata.AnnData:
    """Read the finished spots and chosen genes into memory, as `Prediction.to_anndata`.

    ``obs["region"]`` names the regions where there are any, and ``obs["domain"]`` the domains where they were
    found for these spots (`napari_stem.spatial_analysis.store.annotate`). PredictionError where the prediction
    is damaged, or the file of its domains.
    """
    table = selection.prediction.to_anndata()
    columns = table.var_names.get_indexer(list(selection.genes))
    draws = table.obsm["draws"] if "draws" in table.obsm else None  # noqa: SIM401 - not a dict
    chosen = table[selection.spot_indices, columns].copy()
    if draws is not None:  # per gene too, but AnnData does not know
        chosen.obsm["draws"] = draws[selection.spot_indices][:, columns]
    if selection.regions:
        chosen.obs["region"] = region_column(selection.spots, selection.regions)
    if (domains := read_domains(selection.prediction)) is not None:
        annotate(chosen, domains)
    return chosen


def with_gaps(table: anndata.AnnData, genes: Sequence[str]) -> anndata.AnnData:
    """Table with exactly these genes: what it lacks is NaN in every layer, and never zero.

    ``var["predicted"]`` tells them apart.
    """
    import anndata

    found = table.var_names.get_indexer(list(genes))
    known = found >= 0

    def widened(values: NDArray[Any]) -> NDArray[Any]:
        wide = np.full((values.shape[0], len(genes), *values.shape[2:]), np.nan, values.dtype)
        wide[:, known] = values[:, found[known]]
        return wide

    lacking = [gene for gene, is_known in zip(genes, known, strict=True) if not is_known]
    uns = dict(table.uns)
    about = dict(uns[PROVENANCE_KEY])
    about["json"] = json.dumps({**json.loads(str(about["json"])), "genes_not_predicted": lacking})
    uns[PROVENANCE_KEY] = {**about, "genes_not_predicted": np.array(lacking, dtype=str)}
    var = table.var.reindex(list(genes))  # of a gene that is lacking, the unit alone is known
    var["by_chance"] = var.index.isin(table.var_names[table.var["by_chance"].astype(bool)])
    var["gene_ids"] = var["gene_ids"].fillna("")
    var["unit"] = var["unit"].fillna(table.var["unit"].iloc[0])
    obsm = dict(table.obsm)
    if "draws" in obsm:
        obsm["draws"] = widened(obsm["draws"])
    return anndata.AnnData(
        X=widened(table.X),
        obs=table.obs,
        var=var.assign(predicted=known),
        obsm=obsm,
        layers={name: widened(values) for name, values in table.layers.items() if name is not None},
        uns=uns,
    )
