"""``demo``, ``info``, ``models`` and ``encoders``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_stem.cli.app import app
from napari_stem.cli.options import Json, MppOption, SlideArgument
from napari_stem.commands.terminal import NOTICE, say, say_json, tell


@app.command()
def demo(
    headless: Annotated[bool, typer.Option("--headless", help="Open no window.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("demo-output"),
    as_json: Json = False,
) -> None:
    """Predict the packaged breast cancer section: in the viewer, or, without a display, to files."""
    from napari_stem.commands import demo as work
    from napari_stem.commands.tables import say_figures

    title = "Section C5, never seen by the model, at the spots that were measured"
    why_not = "it was not asked for" if headless or as_json else work.why_no_window()
    if why_not is None:
        from napari_stem.widgets.demo import show_demo

        say_figures(work.packaged_figures(), title)
        tell("Opening the viewer; close its window to end.")
        show_demo()
        return
    tell(f"No window is opened: {why_not}.")
    result = work.run_demo(out)
    if as_json:
        say_json(result)
        return
    say_figures({"predicted": result["metrics"]}, title)
    say(f"{result['n_spots']} spots, {result['n_genes']} genes. {NOTICE}")
    say(f"Map of {result['gene']}:  {result['png']}")
    say(f"All genes:  {result['h5ad']} (AnnData)")


@app.command()
def info(slide: SlideArgument, mpp: MppOption = None, as_json: Json = False) -> None:
    """Tell a slide's size, levels, pixel size and which readers can open it."""
    from napari_stem.commands.tables import say_slide
    from napari_stem.geometry import Mpp
    from napari_stem.slide.opening import describe

    facts = describe(slide, None if mpp is None else Mpp.square(mpp))
    if as_json:
        say_json(facts)
    else:
        say_slide(facts)


@app.command()
def models(
    genes: Annotated[
        str | None, typer.Option(help="Print the genes of this model, one a line.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the models that can be used."""
    from napari_stem.commands.listing import model_rows, panel_of, say_models

    if genes is not None:
        panel = panel_of(genes)
        say_json({"name": genes, "genes": panel}) if as_json else say("\n".join(panel))
    elif as_json:
        say_json(model_rows())
    else:
        say_models()


@app.command()
def encoders(as_json: Json = False) -> None:
    """List the image encoders that can be used, and why not."""
    from napari_stem.commands.listing import encoder_rows, say_encoders

    if as_json:
        say_json(encoder_rows())
    else:
        say_encoders()
