"""``export`` and ``evaluate``: a prediction for other programs and people, and against what was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from napari_stem.cli.app import app, listed, refuse_if
from napari_stem.cli.tables import say_figures
from napari_stem.cli.terminal import MANNER, answer, progress_bars, tell
from napari_stem.exporting.drawing import Limits, Look
from napari_stem.exporting.options import ExportOptions
from napari_stem.settings import ExportKind
from napari_stem.texts import NOTICE, count

if TYPE_CHECKING:
    from napari_stem.exporting.selection import Selection


# of fields of `ExportOptions`
OPTION_NAMES = {
    "file_format": "--format",
    "um_per_mm": "--scale-um",
    "is_long": "--long",
    "look": "--limits",
}
MADE_HERE = ("slide", "look", "seen", "progress")


@app.command()
def export(
    prediction: Annotated[
        Path, Argument(help="What 'predict' wrote; may still be growing.", show_default=False)
    ],
    *,
    to: Annotated[ExportKind, Option(help="What to write.", show_default=False)],
    out: Annotated[Path, Option(help="File or folder to write.", show_default=False)],
    genes: Annotated[
        str | None,
        Option(
            help="Separated by commas, or 'all'. Default: all for data, the most reliable ones for figure "
            "(1), report (6) and geojson (20)."
        ),
    ] = None,
    regions: Annotated[
        Path | None,
        Option(
            help="GeoJSON in level-0 px: names, outlines and means of regions; crops a figure to them. All "
            "spots are exported all the same."
        ),
    ] = None,
    slide: Annotated[
        Path | None,
        Option(help="The slide that was predicted, for a sharper image than the overview."),
    ] = None,
    limits: Annotated[
        str | None,
        Option(help="Colour limits of a map: percentiles p2,p98 or values 0,4.5; default: p1,p99."),
    ] = None,
    options: Annotated[ExportOptions, {**OPTION_NAMES, **dict.fromkeys(MADE_HERE)}],
) -> None:
    """Export a prediction: tables, figures, a report."""
    from napari_stem.exporting import kinds

    try:
        look = Look() if limits is None else Look(Limits.parse(limits))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--limits") from error
    refuse_if(
        genes is not None and not listed(genes),
        "--genes names no gene; name some, or leave it out.",
    )
    MANNER.keep_slides_private(prediction, *([] if slide is None else [slide]))
    kinds.require_place(to, out, overwrite=options.overwrite, file_format=options.file_format)
    used = (*kinds.KINDS[to].options, "overwrite", "progress")
    for name, value in {**vars(options), "slide": slide, "look": limits}.items():
        option = OPTION_NAMES.get(name, f"--{name.replace('_', '-')}")
        refuse_if(
            value not in (None, False) and name not in used,
            f"--to {to} does not use {option}; leave it out.",
        )
    with progress_bars() as bars:
        selection = kinds.export_selection(
            prediction,
            to,
            out,
            genes=listed(genes),
            regions=regions,
            slide=slide,
            options=replace(options, look=look, progress=bars),
        )
    _answer(selection, to, out)


def _answer(selection: Selection, kind: ExportKind, out: Path) -> None:
    unit = selection.prediction.unit
    n_spots, n_genes = len(selection.spot_indices), len(selection.genes)
    told = f"{count(n_spots, 'spot')}, {count(n_genes, 'gene')} ({unit}): {out}. {NOTICE}"
    if selection.n_missing:
        told += f"\nNot predicted yet, and missing: {count(selection.n_missing, 'spot')}."
    result = {
        "out": str(out),
        "kind": kind,
        "n_spots": n_spots,
        "n_missing": selection.n_missing,
        "n_genes": n_genes,
        "genes": list(selection.genes),
        "n_regions": len(selection.regions),
        "unit": unit,
    }
    answer(result, told)


@app.command()
def evaluate(
    prediction: Annotated[Path, Argument(help="What 'predict' wrote.", show_default=False)],
    truth: Annotated[Path, Option(help=".h5ad with raw counts.", show_default=False)],
    allow_partial: Annotated[
        bool,
        Option(help="Even if less than half of the spots match in place or name."),
    ] = False,
) -> None:
    """Compare a prediction with measured counts of the same section."""
    from napari_stem.evaluation import comparison

    figures = comparison.evaluate(prediction, truth, allow_partial=allow_partial)
    tell(
        f"{count(figures['n_spots'], 'spot')} matched by {figures['matched_by']}, of "
        f"{figures['n_predicted']} predicted and {figures['n_truth']} measured."
    )
    if comparison.is_too_few(figures["n_matched"], figures["n_predicted"], figures["n_truth"]):
        tell("These are less than half of either table: the figures say little of the section.")
    if left_out := figures["genes_left_out"]:
        tell(
            f"Not measured, and left out: {count(len(left_out), 'predicted gene')}, "
            f"{', '.join(left_out[:5])}{' …' if len(left_out) > 5 else ''}."
        )
    if figures["interval_width_90"] is None:
        tell("What needs the samples is left out; predict with --keep-draws to have it.")
    elif figures["crps"] is None:
        tell("Two samples have no CRPS and energy score; predict with more --draws to have them.")
    title = f"{prediction.name} against {truth.name}"
    answer(figures, lambda _: say_figures({"predicted": figures}, title, figures["unit"]))
