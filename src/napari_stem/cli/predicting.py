"""``predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_stem.cli.app import app
from napari_stem.cli.options import (
    DEFAULT_MODEL,
    DEFAULTS,
    Device,
    Json,
    MppOption,
    Seed,
    SlideArgument,
    listed,
)
from napari_stem.commands.terminal import NOTICE, say, say_json
from napari_stem.settings import SamplerName, SamplingSettings


@app.command()
def predict(
    slide: SlideArgument,
    out: Annotated[Path, typer.Option(help="Result, .zarr or .h5ad.", show_default=False)],
    model: Annotated[
        str, typer.Option(help="Name (see 'models') or model folder.")
    ] = DEFAULT_MODEL,
    spots: Annotated[
        Path | None,
        typer.Option(
            help="Predict at these spots: .csv (x_px,y_px[,name]) or .h5ad (obsm spatial)."
        ),
    ] = None,
    regions: Annotated[
        Path | None, typer.Option(help="Predict inside these regions: GeoJSON in level-0 px.")
    ] = None,
    tissue: Annotated[bool, typer.Option("--tissue", help="Predict all tissue (default).")] = False,
    whole: Annotated[
        bool, typer.Option("--all", help="Predict the whole slide, glass too.")
    ] = False,
    pitch: Annotated[
        float | None,
        typer.Option(min=1, help="Distance between spots in um; default: the model's."),
    ] = None,
    draws: Annotated[int, typer.Option(min=2, help="Samples per spot.")] = DEFAULTS.n_draws,
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps.")] = DEFAULTS.n_steps,
    sampler: Annotated[SamplerName, typer.Option(help="How samples are drawn.")] = DEFAULTS.sampler,
    seed: Seed = 0,
    device: Device = "auto",
    mpp: MppOption = None,
    genes: Annotated[
        str | None, typer.Option(help="Write only these genes, separated by commas.")
    ] = None,
    keep_draws: Annotated[bool, typer.Option("--keep-draws", help="Keep every sample.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it stopped.")] = False,
    as_json: Json = False,
) -> None:
    """Predict gene expression with uncertainty on a slide."""
    if sum((spots is not None, regions is not None, tissue, whole)) > 1:
        msg = "choose one of --spots, --regions, --tissue and --all."
        raise typer.BadParameter(msg)
    from napari_stem.commands.predicting import PredictRequest, run_predict

    settings = SamplingSettings(
        n_draws=draws, n_steps=steps, sampler=sampler, seed=seed, device=device
    )
    result = run_predict(
        PredictRequest(
            slide=slide,
            out=out,
            model=model,
            settings=settings,
            spots_file=spots,
            regions_file=regions,
            whole_slide=whole,
            pitch_um=pitch,
            mpp_um=mpp,
            genes=listed(genes),
            keep_draws=keep_draws,
            resume=resume,
        )
    )
    if as_json:
        say_json(result)
        return
    say(
        f"{result['n_spots']} spots, {result['n_genes']} genes ({result['unit']}) "
        f"are in {result['out']}. {NOTICE}"
    )
    if result["n_unlike_training"]:
        say(
            f"{result['n_unlike_training']} spots look unlike the model's training data (obs 'ood')."
        )
