"""``import``: published data into data set folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_stem.cli.app import importing
from napari_stem.cli.options import Json
from napari_stem.commands.terminal import say, say_json


@importing.command()
def her2st(
    source: Annotated[
        Path, typer.Argument(help="Zenodo record 4751624, unpacked.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Data set folder to write.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Import HER2-positive breast cancer sections (Andersson et al. 2021)."""
    from napari_stem.commands.training import run_import

    result = run_import(source, out)
    if as_json:
        say_json(result)
    else:
        say(f"{len(result['sections'])} sections are in {out}: {', '.join(result['sections'])}.")
