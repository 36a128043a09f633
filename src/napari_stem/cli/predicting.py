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
    Embeddings,
    Json,
    MppOption,
    PatchPx,
    Seed,
    SlideArgument,
    ToleranceUm,
    encoder_names,
    listed,
    model_names,
)
from napari_stem.commands.terminal import NOTICE, say, say_json
from napari_stem.settings import MAX_STEPS, SamplerName, SamplingSettings


@app.command()
def predict(
    slide: SlideArgument,
    out: Annotated[Path, typer.Option(help="Result to write, .zarr or .h5ad.", show_default=False)],
    model: Annotated[
        str,
        typer.Option(
            help="Name (see 'models'), folder, .zip, or org/name on Hugging Face.",
            autocompletion=model_names,
        ),
    ] = DEFAULT_MODEL,
    spots: Annotated[
        Path | None,
        typer.Option(
            help="Predict at these spots: .csv (x_px,y_px[,name]) or .h5ad (obsm spatial)."
        ),
    ] = None,
    regions: Annotated[
        Path | None,
        typer.Option(
            help="Predict inside these regions: GeoJSON in level-0 px, or LazySlide store."
        ),
    ] = None,
    tissue: Annotated[bool, typer.Option("--tissue", help="Predict all tissue (default).")] = False,
    whole: Annotated[
        bool, typer.Option("--all", help="Predict the whole slide, glass too.")
    ] = False,
    tissue_sensitivity: Annotated[
        int | None,
        typer.Option(
            min=0, max=100, help="Higher counts fainter parts as tissue too; default: 50."
        ),
    ] = None,
    min_tissue_mm2: Annotated[
        float | None,
        typer.Option(min=0, help="Leave out pieces of tissue smaller than this; default: 0.05."),
    ] = None,
    pitch: Annotated[
        float | None,
        typer.Option(min=1, help="Distance between spots in um; default: the model's."),
    ] = None,
    draws: Annotated[int, typer.Option(min=2, help="Samples per spot.")] = DEFAULTS.n_draws,
    steps: Annotated[
        int, typer.Option(min=1, max=MAX_STEPS, help="Denoising steps per sample.")
    ] = DEFAULTS.n_steps,
    sampler: Annotated[SamplerName, typer.Option(help="How samples are drawn.")] = DEFAULTS.sampler,
    seed: Seed = 0,
    device: Device = "auto",
    mpp: MppOption = None,
    genes: Annotated[
        str | None, typer.Option(help="Write only these genes, separated by commas.")
    ] = None,
    allow_missing_genes: Annotated[
        bool,
        typer.Option(
            "--allow-missing-genes", help="Genes that the model lacks become NaN, not an error."
        ),
    ] = False,
    embeddings: Embeddings = None,
    coordinates: Annotated[
        Path | None,
        typer.Option(
            help="Positions of the embeddings' patches, if the file has none: .h5, .npz, .npy."
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Encoder that made the embeddings, if the file does not say.",
            autocompletion=encoder_names,
        ),
    ] = None,
    patch_px: PatchPx = None,
    tolerance: ToleranceUm = None,
    species: Annotated[
        str | None, typer.Option(help="Species of the slide; a model of another one is refused.")
    ] = None,
    tissue_type: Annotated[
        str | None,
        typer.Option(help="Tissue of the slide, such as breast; a model of another one warns."),
    ] = None,
    keep_draws: Annotated[
        bool, typer.Option("--keep-draws", help="Store every sample, not only their summary.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the same command stopped.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Predict gene expression with uncertainty on a slide."""
    if sum((spots is not None, regions is not None, tissue, whole)) > 1:
        msg = "choose one of --spots, --regions, --tissue and --all."
        raise typer.BadParameter(msg)
    looked_for = {"sensitivity": tissue_sensitivity, "min_area_mm2": min_tissue_mm2}
    looked_for = {name: value for name, value in looked_for.items() if value is not None}
    if looked_for and (whole or any(x is not None for x in (spots, regions, embeddings))):
        msg = "--tissue-sensitivity and --min-tissue-mm2 belong to --tissue."
        raise typer.BadParameter(msg)
    stated = {
        "encoder": encoder,
        "patch_px": patch_px,
        "coordinates": coordinates,
        "tolerance_um": tolerance,
    }
    if embeddings is None and any(value is not None for value in stated.values()):
        msg = "--encoder, --patch-px, --coordinates and --tolerance belong to --embeddings."
        raise typer.BadParameter(msg)
    if embeddings is not None and (pitch is not None and spots is None):
        msg = "--pitch does not go with --embeddings: the patches are the spots."
        raise typer.BadParameter(msg)
    if allow_missing_genes and genes is None:
        msg = "--allow-missing-genes belongs to --genes."
        raise typer.BadParameter(msg)
    from napari_stem.commands.predicting import PredictRequest, run_predict
    from napari_stem.encoders.precomputed import Stated
    from napari_stem.slide.tissue import TissueSettings

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
            tissue=TissueSettings(**looked_for),  # type: ignore[arg-type]
            pitch_um=pitch,
            mpp_um=mpp,
            genes=listed(genes),
            allow_missing_genes=allow_missing_genes,
            embeddings=embeddings,
            stated=Stated(**stated),  # type: ignore[arg-type]
            species=species,
            tissue_type=tissue_type,
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
