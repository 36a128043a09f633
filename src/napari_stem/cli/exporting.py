"""``export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from napari_stem.cli.app import app
from napari_stem.cli.options import Json, listed
from napari_stem.commands.terminal import NOTICE, say, say_json
from napari_stem.settings import ExportKind

FormatName = Literal["png", "svg", "pdf"]


@app.command()
def export(
    prediction: Annotated[
        Path, typer.Argument(help="What 'predict' wrote; may still be growing.", show_default=False)
    ],
    to: Annotated[ExportKind, typer.Option(help="What to write.", show_default=False)],
    out: Annotated[Path, typer.Option(help="File or folder to write.", show_default=False)],
    genes: Annotated[
        str | None,
        typer.Option(
            help="Separated by commas, or 'all'. Default: all for data, the most reliable ones for figure "
            "(1), report (6) and geojson (20)."
        ),
    ] = None,
    regions: Annotated[
        Path | None,
        typer.Option(help="GeoJSON in level-0 px: adds means per region; crops a figure to them."),
    ] = None,
    slide: Annotated[
        Path | None,
        typer.Option(help="The slide that was predicted, for a sharper image than the overview."),
    ] = None,
    file_format: Annotated[
        FormatName | None,
        typer.Option("--format", help="File type of a figure; default: the ending of --out."),
    ] = None,
    scale_um: Annotated[
        float | None,
        typer.Option(
            min=0.01, help="Scale of a figure: um of tissue per mm on paper; default: fits."
        ),
    ] = None,
    limits: Annotated[
        str, typer.Option(help="Colour limits of a map: percentiles p2,p98 or values 0,4.5.")
    ] = "p1,p99",
    image_max_px: Annotated[
        int | None,
        typer.Option(min=1, help="Longer side of SpatialData's image; default: 16384."),
    ] = None,
    long: Annotated[
        bool, typer.Option("--long", help="CSV with one row per spot and gene.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: Json = False,
) -> None:
    """Export a prediction: tables, figures, a report."""
    from napari_stem.commands.exporting import ExportRequest, run_export
    from napari_stem.exporting.limits import Limits

    try:
        chosen_limits = Limits.parse(limits)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--limits") from error
    result = run_export(
        ExportRequest(
            prediction=prediction,
            kind=to,
            out=out,
            limits=chosen_limits,
            genes=listed(genes),
            regions_file=regions,
            slide=slide,
            file_format=file_format,
            um_per_mm=scale_um,
            image_max_px=image_max_px,
            is_long=long,
            overwrite=overwrite,
        )
    )
    if as_json:
        say_json(result)
        return
    held = f"{result['n_spots']} spots, {result['n_genes']} genes ({result['unit']})"
    say(f"{held}: {result['out']}. {NOTICE}")
    if result["n_missing"]:
        say(f"{result['n_missing']} spots are not predicted yet and are missing.")
