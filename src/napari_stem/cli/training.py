"""``train`` and ``evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from napari_stem.cli.app import app
from napari_stem.cli.options import Device, Json, Seed, listed
from napari_stem.commands.terminal import say, say_json


@app.command()
def train(
    dataset: Annotated[Path, typer.Argument(help="Folder in HEST layout.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Model folder to write.", show_default=False)],
    hold_out: Annotated[
        str | None, typer.Option(help="Sections never trained on, separated by commas; reported.")
    ] = None,
    genes: Annotated[
        str, typer.Option(help="hmhvg:N, hvg:N or a file, one gene a line.")
    ] = "hmhvg:200",
    encoder: Annotated[str, typer.Option(help="See 'encoders'.")] = "bundled",
    objective: Annotated[Literal["edm", "published"], typer.Option(help="Kind of model.")] = "edm",
    normalisation: Annotated[
        Literal["log2_counts", "log1p_cp10k"], typer.Option(help="Unit of the values.")
    ] = "log2_counts",
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Limit for training.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps at the most.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    name: Annotated[str | None, typer.Option(help="Of the model; default: the folder's.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model.")] = False,
    as_json: Json = False,
) -> None:
    """Train a model on measured sections and report it on those held out."""
    if minutes is not None and steps is not None:
        msg = "choose one of --minutes and --steps."
        raise typer.BadParameter(msg)
    from napari_stem.commands.tables import say_figures
    from napari_stem.commands.training import run_train

    result = run_train(
        dataset,
        out,
        overwrite=overwrite,
        hold_out=listed(hold_out),
        genes=genes,
        encoder=encoder,
        objective=objective,
        normalisation=normalisation,
        minutes=minutes,
        steps=steps,
        seed=seed,
        device=device,
        name=name,
    )
    if as_json:
        say_json(result)
        return
    for section, columns in result["metrics"].items():
        say_figures(columns, f"Held-out section {section}")
    trained_on = ", ".join(result["sections"])
    say(f"Model '{result['name']}', {result['n_genes']} genes, trained on {trained_on}: {out}")


@app.command()
def evaluate(
    prediction: Annotated[Path, typer.Argument(help="What 'predict' wrote.", show_default=False)],
    truth: Annotated[Path, typer.Option(help=".h5ad with raw counts.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Compare a prediction with measured counts of the same section."""
    from napari_stem.commands.tables import say_figures
    from napari_stem.commands.training import run_evaluate

    figures = run_evaluate(prediction, truth)
    if as_json:
        say_json(figures)
    else:
        say_figures({"predicted": figures}, f"{prediction.name} against {truth.name}")
