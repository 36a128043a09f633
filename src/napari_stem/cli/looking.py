"""``demo``, ``info``, ``encoders`` and ``encoders download``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_stem.cli.app import Group, app
from napari_stem.cli.options import Json, MppOption, encoder_names
from napari_stem.commands.terminal import NOTICE, say, say_json, tell


@app.command()
def demo(
    headless: Annotated[bool, typer.Option("--headless", help="Open no window.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("demo-output"),
    as_json: Json = False,
) -> None:
    """Predict a packaged section: in a window, or to files.

    Without a display, a map, a table and figures are written to a folder.
    """
    from napari_stem.commands import demo as work
    from napari_stem.commands.tables import say_figures

    title = "Section C5, never seen by the model, at the spots that were measured"
    why_not = "it was not asked for" if headless or as_json else work.why_no_window()
    if why_not is None:
        from napari_stem.widgets.demo import show_demo

        figures, unit = work.packaged_figures()
        say_figures(figures, title, unit)
        tell("Opening the viewer; close its window to end.")
        show_demo()
        return
    tell(f"No window is opened: {why_not}.")
    result = work.run_demo(out)
    if as_json:
        say_json(result)
        return
    say_figures({"predicted": result["metrics"]}, title, result["metrics"]["unit"])
    say(f"{result['n_spots']} spots, {result['n_genes']} genes. {NOTICE}")
    say(f"Map of {result['gene']}:  {result['png']}")
    say(f"All genes:  {result['h5ad']} (AnnData)")


@app.command()
def info(
    slide: Annotated[
        str, typer.Argument(help="File, folder or URL of an OME-Zarr.", show_default=False)
    ],
    mpp: MppOption = None,
    reader: Annotated[
        str | None, typer.Option(help="Insist on a reader: tiff, openslide, ome-zarr, czi, raster.")
    ] = None,
    check_scale: Annotated[
        bool,
        typer.Option("--check-scale", help="Compare the pixel size with the width of nuclei."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Say a slide's size, levels, pixel size and readers."""
    from napari_stem.commands.tables import say_slide
    from napari_stem.geometry import Mpp
    from napari_stem.slide import describe, open_slide

    stated = None if mpp is None else Mpp.square(mpp)
    facts = describe(slide, stated, reader=reader)
    if check_scale:
        from napari_stem.slide.scale_check import check_scale as measure

        opened = open_slide(slide, stated, reader=reader)
        try:
            facts["scale_check"] = measure(opened).as_json()
        finally:
            opened.close()
    if as_json:
        say_json(facts)
    else:
        say_slide(facts)


encoding = Group(help="List the image encoders, or download one.")
app.add_typer(encoding, name="encoders")

EncoderFolder = Annotated[
    Path | None,
    typer.Option(
        "--encoder-folder",
        envvar="NAPARI_STEM_ENCODERS",
        help="Folder of encoders (FOLDER/NAME/...), where there is no internet.",
    ),
]


@encoding.callback(invoke_without_command=True)
def encoders(
    context: typer.Context, encoder_folder: EncoderFolder = None, as_json: Json = False
) -> None:
    """List the image encoders: which are ready, and what the others need."""
    from napari_stem.commands.listing import encoder_rows, say_encoders

    if context.invoked_subcommand is not None:
        return
    if as_json:
        say_json(encoder_rows(encoder_folder))
    else:
        say_encoders(encoder_folder)


@encoding.command()
def download(
    name: Annotated[
        str,
        typer.Argument(help="As 'napari-stem encoders' lists it.", autocompletion=encoder_names),
    ],
    to: Annotated[
        Path | None, typer.Option(help="Folder of encoders instead of Hugging Face's cache.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Download an encoder from Hugging Face.

    Log in with 'hf auth login' first where its terms ask for it.
    """
    from napari_stem.commands.listing import download_encoder

    done = download_encoder(name, to)
    if as_json:
        say_json(done)
        return
    for row in done:
        say(f"{row['name']}: {row['folder']}")
