"""``info``: what a slide says of itself."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

from napari_stem.cli.app import MppOption, app
from napari_stem.cli.terminal import MANNER, answer


@app.command()
def info(
    slide: Annotated[str, Argument(help="File, folder or URL of an OME-Zarr.", show_default=False)],
    mpp: MppOption = None,
    reader: Annotated[
        str | None, Option(help="Insist on a reader: tiff, openslide, ome-zarr, czi, raster.")
    ] = None,
    check_scale: Annotated[
        bool,
        Option("--check-scale", help="Compare the pixel size with the width of nuclei."),
    ] = False,
) -> None:
    """Say a slide's size, levels, pixel size and readers."""
    from napari_stem.cli.tables import say_slide
    from napari_stem.geometry import Mpp
    from napari_stem.slide import describe, open_slide

    MANNER.keep_slides_private(slide)
    stated = None if mpp is None else Mpp.square(mpp)
    facts = describe(slide, stated, reader=reader)
    if check_scale:
        from napari_stem.slide.scale_check import check_scale as measure

        with open_slide(slide, stated, reader=reader) as opened:
            facts["scale_check"] = measure(opened).as_json()
    answer(facts, say_slide)
