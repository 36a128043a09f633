"""A prediction as CSV, with a note beside it that says what the columns are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.cells import harmless_table
from napari_stem.exporting.options import USUAL, ExportOptions
from napari_stem.exporting.selection import NOTICE
from napari_stem.io import written_whole
from napari_stem.model.genes import BY_CHANCE
from napari_stem.results import FIELDS
from napari_stem.texts import visible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

    from napari_stem.exporting.selection import Selection

SPOTS_PER_PIECE = 1000
COLUMNS = {"mean": "predicted_mean", "sd": "sd", "q05": "q05", "q95": "q95"}


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
