"""``predict``: where, with what, and to which file; the work is that of `PredictionJob`."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
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
from napari_stem.cli.terminal import (
    NOTICE,
    Interrupted,
    progress_bars,
    say,
    say_json,
    tell,
)
from napari_stem.errors import OutputError
from napari_stem.io import require_free, require_writable
from napari_stem.progress import stop_on_signals
from napari_stem.settings import MAX_STEPS, Patient, Quantity, SamplerName, SamplingSettings

if TYPE_CHECKING:
    from napari_stem.cli.terminal import ProgressBars
    from napari_stem.encoders.precomputed import PrecomputedEmbedder, Stated
    from napari_stem.model.bundle import Model
    from napari_stem.predict import PredictionProgress
    from napari_stem.prediction_job import PredictionJob
    from napari_stem.results import Prediction
    from napari_stem.slide.base import Slide


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
    quantity: Annotated[
        Quantity, typer.Option(help="Counts, or each gene's share of all counts (per 10,000).")
    ] = DEFAULTS.quantity,
    depth: Annotated[
        str | None,
        typer.Option(
            help="Counts per spot that the slide would be sequenced to, or a table of measured counts (.h5ad) "
            "whose median is taken; default: as deep as the training sections."
        ),
    ] = None,
    patient: Annotated[
        Patient,
        typer.Option(help="New, or the same as in training: intervals of a new patient are wider."),
    ] = DEFAULTS.patient,
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
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask, even if the slide looks unlike the training.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Predict gene expression with uncertainty on a slide."""
    looked_for = {"sensitivity": tissue_sensitivity, "min_area_mm2": min_tissue_mm2}
    looked_for = {name: value for name, value in looked_for.items() if value is not None}
    stated = {
        "encoder": encoder,
        "patch_px": patch_px,
        "coordinates": coordinates,
        "tolerance_um": tolerance,
    }
    is_stated = any(value is not None for value in stated.values())
    elsewhere = whole or any(place is not None for place in (spots, regions, embeddings))
    _refuse_if(
        sum((spots is not None, regions is not None, tissue, whole)) > 1,
        "choose one of --spots, --regions, --tissue and --all.",
    )
    _refuse_if(
        bool(looked_for) and elsewhere,
        "--tissue-sensitivity and --min-tissue-mm2 belong to --tissue.",
    )
    _refuse_if(
        is_stated and embeddings is None,
        "--encoder, --patch-px, --coordinates and --tolerance belong to --embeddings.",
    )
    _refuse_if(
        embeddings is not None and pitch is not None and spots is None,
        "--pitch does not go with --embeddings: the patches are the spots.",
    )
    _refuse_if(allow_missing_genes and genes is None, "--allow-missing-genes belongs to --genes.")
    settings = SamplingSettings(
        n_draws=draws,
        n_steps=steps,
        sampler=sampler,
        seed=seed,
        quantity=quantity,
        depth=0.0 if depth is None else _depth(depth),
        patient=patient,
        device=device,
    )
    wanted = listed(genes)
    work = out  # the Zarr folder that grows
    if out.suffix != ".zarr" or wanted:
        work = out.with_name(out.name + ".partial.zarr")
    _require_place(out, work, resume=resume)
    from napari_stem.slide import open_slide

    with progress_bars() as bars, open_slide(slide, mpp, early=True) as opened:
        # what is no slide, or of no known size, has failed: before torch is loaded and levels are made
        opened.require_mpp()
        from napari_stem.encoders.precomputed import Stated
        from napari_stem.model import load_model
        from napari_stem.prediction_job import PredictionJob
        from napari_stem.slide.scale_check import scale_record
        from napari_stem.slide.tissue import TissueSettings

        loaded = load_model(model)
        missing = _missing_genes(wanted, loaded, allowed=allow_missing_genes)
        embedder = None
        if embeddings is not None:
            embedder = _embedder(embeddings, Stated(**stated), opened, loaded)  # type: ignore[arg-type]
        opened.complete(bars)
        job = PredictionJob.planned(
            opened,
            loaded,
            settings,
            spots=spots,
            regions=regions,
            whole_slide=whole,
            tissue=TissueSettings(**looked_for),  # type: ignore[arg-type]
            pitch_um=pitch,
            embedder=embedder,
            species=species,
            tissue_type=tissue_type,
            keep_draws=keep_draws,
            tell=tell,
        )
        domain_warning = _doubted(job, bars, asks=not (yes or resume))
        prediction = run_job(job, work, bars, "with --resume added", resume=resume)
        scale_warning = scale_record(opened)["scale_check"]["warning"]
    if work != out:
        _write_table(prediction, out, wanted, missing)
        shutil.rmtree(work)
    result = {
        "out": str(out),
        "n_spots": len(prediction.spots),
        "n_genes": len(wanted or loaded.genes),
        "n_unlike_training": int(prediction.ood.sum()) if loaded.head.knows_domain else None,
        "unit": prediction.unit,
        "calibrated": loaded.config.calibrated,
        "domain": prediction.provenance["domain"],
        "model": loaded.name,
        "slide": str(slide),
        "genes_not_predicted": list(missing),
        "embeddings": None if embeddings is None else str(embeddings),
        "scale_warning": scale_warning,
        "domain_warning": domain_warning,
    }
    say_json(result) if as_json else _say(result)


def _refuse_if(is_wrong: bool, msg: str) -> None:
    if is_wrong:
        raise typer.BadParameter(msg)


def _depth(asked: str) -> float:
    """Read counts per spot, a number or the median of a table."""
    try:
        depth = float(asked)
    except ValueError:
        from napari_stem.spatial.table_files import row_blocks

        totals = [np.asarray(block.sum(axis=1)).ravel() for block in row_blocks(Path(asked))]
        return float(np.median(np.concatenate(totals)))
    _refuse_if(not 0 < depth < math.inf, "--depth takes a number above 0, or a table.")
    return depth


def _say(result: dict[str, Any]) -> None:
    say(
        f"{result['n_spots']} spots, {result['n_genes']} genes ({result['unit']}) "
        f"are in {result['out']}. {NOTICE}"
    )
    if result["n_unlike_training"]:
        say(
            f"{result['n_unlike_training']} spots look unlike the model's training data (obs 'ood')."
        )


def _doubted(job: PredictionJob, bars: ProgressBars, *, asks: bool) -> str | None:
    """Say that the slide looks unlike the training data, if it does, and ask whether to go on.

    Raises
    ------
    Interrupted
        The answer is no.
    """
    sentence = job.doubt()
    if sentence is not None:
        tell(sentence)
        if asks and not bars.ask("Predict all the same?"):
            msg = "Nothing was predicted."
            raise Interrupted(msg)
    return sentence


def run_job(
    job: PredictionJob,
    path: Path,
    bars: ProgressBars,
    how_to_resume: str,
    *,
    title: str = "Predicting spots",
    resume: bool = False,
) -> Prediction:
    """Predict, with a bar.

    Raises
    ------
    Interrupted
        By Ctrl-C; the text says what is kept, and to run the same command ``how_to_resume``.
    """

    def show(step: PredictionProgress) -> None:
        bars.show(title, step.work_done, step.n_spots, step.seconds_left)

    with stop_on_signals() as stop:
        prediction = job.run(path, resume=resume, stop=stop.is_set, watch=show)
    n_done, n_spots = int(prediction.done.sum()), len(prediction.spots)
    if n_done == 0 and n_spots:
        msg = "Interrupted before any spot was finished; nothing was written."
        raise Interrupted(msg)
    if n_done < n_spots:
        msg = (
            f"Interrupted: {n_done} of {n_spots} spots are finished and kept in {prediction.path}. "
            f"To go on, run the same command {how_to_resume}."
        )
        raise Interrupted(msg)
    return prediction


def _require_place(out: Path, work: Path, *, resume: bool) -> None:
    """Fail before the work where its result could not be written after it."""
    if out.suffix not in (".zarr", ".h5ad"):
        msg = f"{out.name} has an ending that is not .zarr or .h5ad; choose one of these."
        raise OutputError(msg)
    require_writable(out)
    if work != out:
        require_free(out)
    if work.exists() and not resume:
        msg = f"{work} exists already; add --resume to go on with it, or remove it first."
        raise OutputError(msg)


def _missing_genes(wanted: tuple[str, ...], model: Model, *, allowed: bool) -> tuple[str, ...]:
    """Refuse unknown genes; gives those that may be missing, and are, which is told."""
    from napari_stem.model.genes import missing_of, offered

    if not allowed:
        model.require_genes(wanted)
        return ()
    missing = missing_of(wanted, model.genes, model.name)
    if len(missing) == len(wanted):  # of nothing there is no prediction
        model.require_genes(wanted)
    for gene in missing:
        alike = offered(gene, model.genes)
        hint = f" (it knows {', '.join(alike)})" if alike else ""
        tell(f"Model '{model.name}' does not predict '{gene}'{hint}: its column holds no numbers.")
    return missing


def _embedder(path: Path, stated: Stated, slide: Slide, model: Model) -> PrecomputedEmbedder:
    """Read embeddings in place of the encoder; says on stderr what does not quite fit."""
    from napari_stem.model.serving import embedder_for

    embedder, notes = embedder_for(path, stated, slide.size, slide.require_mpp(), model)
    for note in notes:
        tell(note)
    return embedder


def _write_table(
    prediction: Prediction, out: Path, wanted: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    """Turn the folder that grew into the file that was asked for."""
    from napari_stem.exporting.selection import Selection
    from napari_stem.exporting.table import write_table

    known = tuple(gene for gene in wanted if gene not in missing)
    write_table(Selection.of(prediction, known), out, genes=wanted if missing else ())
