"""``convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from napari_stem.cli.app import app
from napari_stem.cli.options import Json, encoder_names
from napari_stem.commands.terminal import say, say_json


def _sides_um(words: str) -> tuple[float, ...]:
    try:
        sides = tuple(float(word) for word in words.split(","))
    except ValueError:
        sides = ()
    if not sides or not all(0 < side < 1e5 for side in sides):
        msg = f"'{words}' is no side of a patch in um; write 112, or 150,300,600 for several."
        raise typer.BadParameter(msg)
    return sides


@app.command()
def convert(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="Published Stem's .pt, or safetensors.", show_default=False),
    ],
    genes: Annotated[
        Path,
        typer.Option(help="Genes in the order of training, one a line.", show_default=False),
    ],
    encoder: Annotated[
        str,
        typer.Option(
            help="Encoder of its training, such as uni+conch.",
            show_default=False,
            autocompletion=encoder_names,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Model folder to write.", show_default=False)],
    patch_um: Annotated[
        str | None,
        typer.Option(help="Side of its training's patches in um; several: 150,300,600."),
    ] = None,
    pitch: Annotated[
        float | None, typer.Option(min=1, help="Distance between spots in um; default: the patch.")
    ] = None,
    tissue: Annotated[str | None, typer.Option(help="Tissue of its training.")] = None,
    species: Annotated[str | None, typer.Option(help="Species of its training.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the model; default: the folder's.")
    ] = None,
    weights: Annotated[
        Literal["ema", "model"], typer.Option(help="Averaged weights (as published), or the last.")
    ] = "ema",
    heads: Annotated[
        int | None, typer.Option(min=1, help="Attention heads; default: one per 64 of width.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model.")] = False,
    as_json: Json = False,
) -> None:
    """Turn a checkpoint of published Stem into a model that predicts."""
    sides_um = None if patch_um is None else _sides_um(patch_um)
    from napari_stem.commands.converting import ConvertRequest, run_convert

    result = run_convert(
        ConvertRequest(
            checkpoint=checkpoint,
            genes=genes,
            encoder=encoder,
            out=out,
            patch_um=sides_um,
            pitch_um=pitch,
            tissue=tissue,
            species=species,
            name=name,
            weights=weights,
            heads=heads,
            overwrite=overwrite,
        )
    )
    if as_json:
        say_json(result)
        return
    say(
        f"Model '{result['name']}', {result['n_genes']} genes ({result['unit']}), from '{result['weights']}' "
        f"in {checkpoint.name}: {result['out']}. Its intervals are not calibrated."
    )
