"""A prediction, or some genes of it, as a table: AnnData for other programs, or CSV with a note beside it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.cells import harmless_table
from napari_stem.errors import OutputError
from napari_stem.exporting.kinds import USUAL, ExportOptions
from napari_stem.exporting.selection import NOTICE, Selection
from napari_stem.io import write_h5ad, written_whole
from napari_stem.model.genes import BY_CHANCE
from napari_stem.results import FIELDS, PROVENANCE_KEY
from napari_stem.results.empty import region_column, write_zarr
from napari_stem.spatial_analysis.store import annotate, read_domains
from napari_stem.texts import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import anndata
    import pandas as pd
    from numpy.typing import NDArray


SPOTS_PER_PIECE = 1000
COLUMNS = {"mean": "predicted_mean", "sd": "sd", "q05": "q05", "q95": "q95"}


def write_table(
    selection: Selection,
    path: Path,
    options: ExportOptions = USUAL,
    *,
    genes: Sequence[str] = (),
) -> None:
    """Write ``.h5ad`` or ``.zarr``, whole or not at all; a ``.zarr`` can be opened as a prediction again.

    Spots that are not predicted yet are left out: squidpy's and scanpy's methods know no gaps. Where ``genes``
    are given they are the columns, in this order: those that are not in the selection become NaN, and are named
    in ``uns["napari_stem"]["genes_not_predicted"]``.

    Raises
    ------
    OutputError
        The ending is another one, or the place is taken or cannot be written.
    """
    if path.suffix not in (".h5ad", ".zarr"):
        raise OutputError(
            f"{path.name} has an ending that is not .h5ad or .zarr; choose one of these."
        )
    if path.resolve() == selection.prediction.path.resolve():
        raise OutputError(f"{path} is the prediction itself; choose another name for the copy.")
    is_zarr = path.suffix == ".zarr"
    is_all = selection.is_whole and not (selection.regions or genes)
    with written_whole(path, overwrite=options.overwrite) as fresh:
        options.progress("Reading", 0, 2)
        if is_zarr and is_all and read_domains(selection.prediction) is None:
            shutil.copytree(selection.prediction.path, fresh)
        else:
            table = selected_table(selection)
            if genes:
                table = with_gaps(table, genes)
            options.progress("Writing", 1, 2)
            if is_zarr:
                write_zarr(table, fresh)
            else:
                write_h5ad(table, fresh)
        options.progress("Writing", 2, 2)


def selected_table(selection: Selection) -> anndata.AnnData:
    """Read the finished spots and chosen genes into memory, as `Prediction.to_anndata`.

    ``obs["region"]`` names the regions where there are any, and ``obs["domain"]`` the domains where they were
    found for these spots (`napari_stem.spatial_analysis.store.annotate`). PredictionError where the prediction
    is damaged, or the file of its domains.
    """
    table = selection.prediction.to_anndata()
    columns = table.var_names.get_indexer(list(selection.genes))
    draws = table.obsm["draws"] if "draws" in table.obsm else None  # noqa: SIM401 - not a dict
    chosen = table[selection.rows, columns].copy()
    if draws is not None:  # per gene too, but AnnData does not know
        chosen.obsm["draws"] = draws[selection.rows][:, columns]
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


def write_csv(selection: Selection, path: Path, options: ExportOptions = USUAL) -> None:
    """Write one row per spot (or per spot and gene), and ``NAME_README.txt`` beside it.

    Columns: name, x_px, y_px (level-0 px), x_um, y_um, unlike_training (where the model can tell), region
    (where there are any), then per gene ``GENE_predicted_mean``, ``GENE_sd``, ``GENE_q05``, ``GENE_q95``.
    Long: gene, by_chance, unit, predicted_mean, sd, q05, q95 instead. Text that a spreadsheet would take for a
    formula gets a leading ``'``.
    """
    readme = path.with_name(f"{path.stem}_README.txt")
    n_spots, is_long = len(selection.rows), options.is_long
    with (
        written_whole(path, overwrite=options.overwrite) as fresh,
        written_whole(readme, overwrite=options.overwrite) as fresh_readme,
    ):
        fresh_readme.write_text(
            _explained(selection, visible(path.name), is_long=is_long), encoding="utf-8"
        )
        with fresh.open("w", encoding="utf-8", newline="") as file:
            written = 0
            for piece in _pieces(selection, is_long=is_long):
                harmless_table(piece).to_csv(
                    file, index=False, header=written == 0, float_format="%.6g", lineterminator="\n"
                )
                written = min(n_spots, written + SPOTS_PER_PIECE)
                options.progress("Writing spots", written, n_spots)


def _pieces(selection: Selection, *, is_long: bool) -> Iterator[pd.DataFrame]:
    """Tables of some spots each, so that a large prediction never exists as text in memory."""
    import pandas as pd

    sites = _sites(selection)
    for start in range(0, len(sites), SPOTS_PER_PIECE):
        rows = slice(start, start + SPOTS_PER_PIECE)
        here = sites.iloc[rows].reset_index(drop=True)
        columns = {
            (gene, field): selection.values(gene, field)[rows]
            for gene in selection.genes
            for field in FIELDS
        }
        if not is_long:
            named = {f"{gene}_{COLUMNS[field]}": v for (gene, field), v in columns.items()}
            yield pd.concat([here, pd.DataFrame(named)], axis=1)
            continue
        n_genes = len(selection.genes)
        long = here.loc[here.index.repeat(n_genes)].reset_index(drop=True)
        long["gene"] = np.tile(np.array(selection.genes, dtype=object), len(here))
        by_chance = selection.prediction.gene_accuracy["by_chance"][list(selection.genes)]
        long["by_chance"] = np.tile(by_chance.to_numpy(int), len(here))
        long["unit"] = selection.prediction.unit
        for field in FIELDS:
            stacked = np.column_stack([columns[gene, field] for gene in selection.genes])
            long[COLUMNS[field]] = stacked.ravel()
        yield long


def _sites(selection: Selection) -> pd.DataFrame:
    import pandas as pd

    spots = selection.spots
    sites = pd.DataFrame({"name": spots.names, "x_px": spots.x_px, "y_px": spots.y_px})
    sites[["x_um", "y_um"]] = spots.xy_um
    if selection.knows_domain:
        sites["unlike_training"] = selection.ood.astype(int)
    if selection.regions:
        sites["region"] = selection.region_names()
    return sites


def _explained(selection: Selection, name: str, *, is_long: bool) -> str:
    prediction = selection.prediction
    row = "spot and gene" if is_long else "spot"
    per_gene = "" if is_long else "GENE_"
    missing = f"{selection.n_missing} spots were not predicted yet and are missing.\n\n"
    by_chance = prediction.gene_accuracy["by_chance"][list(selection.genes)]
    marked = "by_chance: 1 for genes" if is_long else "Genes"
    names = ", ".join(by_chance.index[by_chance]) or "none"
    facts = "\n".join(f"{key}: {value}" for key, value in prediction.provenance.items())
    return (
        f"{name}\n\n{NOTICE}\n\n{missing if selection.n_missing else ''}"
        f"One row per {row}; {len(selection.rows)} spots, {len(selection.genes)} genes.\n\n"
        f"x_px, y_px: centre in pixels of the full-resolution image, from its top-left corner\n"
        f"x_um, y_um: the same in micrometres\n"
        f"unlike_training: 1 where the tissue is unlike anything the model was trained on\n"
        f"{per_gene}predicted_mean: predicted expression, in {prediction.unit}\n"
        f"{per_gene}sd: its standard deviation over the samples\n"
        f"{per_gene}q05, {per_gene}q95: limits of its 90% interval\n"
        f"{marked} whose prediction {BY_CHANCE}: {names}\n\n"
        f"Some spreadsheets turn gene names such as MARCH1 into dates: import them as text.\n\n"
        f"How it was made\n{facts}\n"
    )
