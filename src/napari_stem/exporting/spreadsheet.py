"""A prediction as CSV, for spreadsheets and R, and a note beside it that says what its columns are."""

from __future__ import annotations

import csv
from math import isnan
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.cells import harmless
from napari_stem.errors import OutputError
from napari_stem.exporting.options import DEFAULT_OPTIONS, ExportOptions
from napari_stem.io import written_whole
from napari_stem.model.genes import BY_CHANCE
from napari_stem.results import FIELDS
from napari_stem.texts import NOTICE, count, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from napari_stem.exporting.selection import Selection

SPOTS_PER_PIECE = 1000  # so that a large prediction never exists as text in memory
DECIMALS = 2  # of coordinates
MEANINGS = {
    "name": "name of the spot, as in every export",
    "x_px": "its centre in pixels of the full-resolution image, from the left edge",
    "y_px": "the same, from the upper edge",
    "x_um": "x_px in micrometres",
    "y_um": "y_px in micrometres",
    "unlike_training": "1 where the tissue is unlike anything the model was trained on",
    "region": 'regions that the centre lies in, such as "A; B"; empty outside of all',
    "gene": "name of the gene",
    "by_chance": f"1 for genes whose prediction {BY_CHANCE}",
    "unit": "unit of the values",
    "predicted_mean": "predicted expression",
    "sd": "its standard deviation over the samples",
    "q05": "lower limit of its 90% interval",
    "q95": "upper limit of its 90% interval",
}
OF_GENES = ("gene", "by_chance", "unit")
VALUES = ("predicted_mean", "sd", "q05", "q95")  # headings of `FIELDS`


def write_csv(selection: Selection, path: Path, options: ExportOptions = DEFAULT_OPTIONS) -> None:
    """Write one row per spot (or per spot and gene), and ``NAME_README.txt`` beside it.

    Columns are those of `MEANINGS`: ``unlike_training`` where the model can tell, ``region`` where there are
    any, given here or when the prediction was made. Where a row is of a spot, each gene has its `VALUES`, as
    ``GENE_sd``; else `OF_GENES` stand before them. Text that a spreadsheet would take for a formula gets a
    leading ``'``.

    OutputError: the place is taken, by a README that is not ours too, or cannot be written.
    """
    readme = path.with_name(f"{path.stem}_README.txt")
    heading = f"{visible(path.name)}\n\n{NOTICE}\n"
    columns, n_spots = _columns_of_spots(selection), len(selection.spot_indices)
    with (
        written_whole(path, overwrite=options.overwrite) as fresh,
        written_whole(readme, overwrite=True) as fresh_readme,
    ):
        if readme.exists() and not readme.read_bytes().startswith(heading.encode()):
            raise OutputError(
                f"{readme} would be replaced by a note on the columns, and is no such note; move it, or "
                f"choose another name."
            )
        explained = _explained(selection, columns, is_long=options.is_long)
        fresh_readme.write_text(f"{heading}\n{explained}", encoding="utf-8")
        with fresh.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if options.is_long:
                writer.writerow([*columns, *OF_GENES, *VALUES])
            else:
                genes = [
                    harmless(f"{gene}_{value}") for gene in selection.genes for value in VALUES
                ]
                writer.writerow([*columns, *genes])
            spots = list(zip(*columns.values(), strict=True))
            for start in range(0, n_spots, SPOTS_PER_PIECE):
                piece = slice(start, min(start + SPOTS_PER_PIECE, n_spots))
                writer.writerows(_rows(selection, piece, spots[piece], is_long=options.is_long))
                options.progress("Writing spots", piece.stop, n_spots)


def _columns_of_spots(selection: Selection) -> dict[str, Sequence[object]]:
    """Columns that say of each spot what it is called, where it is and what it lies in."""
    spots = selection.spots
    x_um, y_um = spots.xy_um.T
    columns: dict[str, Sequence[object]] = {"name": [harmless(name) for name in spots.names]}
    centres = {"x_px": spots.x_px, "y_px": spots.y_px, "x_um": x_um, "y_um": y_um}
    for axis, places in centres.items():
        columns[axis] = [f"{place:.12g}" for place in np.round(places, DECIMALS).tolist()]
    if selection.prediction.knows_domain:
        columns["unlike_training"] = selection.ood.astype(int).tolist()
    names = selection.region_names
    if selection.regions or any(names):
        columns["region"] = [harmless(name) for name in names]
    return columns


def _rows(
    selection: Selection, piece: slice, spots: Sequence[tuple[object, ...]], *, is_long: bool
) -> Iterator[list[object]]:
    """Rows of some spots, of which ``spots`` are the first cells."""
    prediction, genes = selection.prediction, list(selection.genes)
    by_chance = prediction.gene_accuracy["by_chance"][genes].astype(int).tolist()
    unit = harmless(prediction.unit)
    of_genes = [
        (harmless(gene), chance, unit) for gene, chance in zip(genes, by_chance, strict=True)
    ]
    values = np.stack(
        [prediction.rows(selection.spot_indices[piece], field, genes) for field in FIELDS], axis=-1
    )
    for spot, of_spot in zip(spots, values, strict=True):
        if is_long:
            for of_gene, numbers in zip(of_genes, of_spot.tolist(), strict=True):
                yield [*spot, *of_gene, *map(_short, numbers)]
        else:
            yield [*spot, *map(_short, of_spot.ravel().tolist())]


def _short(value: float) -> str:
    return "" if isnan(value) else f"{value:.6g}"


def _explained(selection: Selection, columns: Iterable[str], *, is_long: bool) -> str:
    prediction = selection.prediction
    per_gene = (*OF_GENES, *VALUES) if is_long else [f"GENE_{value}" for value in VALUES]
    meanings = [f"{c}: {MEANINGS[c.removeprefix('GENE_')]}" for c in (*columns, *per_gene)]
    by_chance = prediction.gene_accuracy["by_chance"][list(selection.genes)]
    missing = count(selection.n_missing, "spot", "was", "were")
    lines = [
        *([f"{missing} not predicted yet, and left out.", ""] if selection.n_missing else ()),
        f"One row per {'spot and gene' if is_long else 'spot'}; "
        f"{count(len(selection.spot_indices), 'spot')}, {count(len(selection.genes), 'gene')}.",
        "",
        *meanings,
        "",
        f"Unit of all values: {prediction.unit}",
        f"Genes whose prediction {BY_CHANCE}: {', '.join(by_chance.index[by_chance]) or 'none'}",
        "",
        "Some spreadsheets turn gene names such as MARCH1 into dates: import them as text.",
        "",
        "How it was made",
        *(f"{key}: {value}" for key, value in prediction.provenance.items()),
        "",
    ]
    return "\n".join(lines)
