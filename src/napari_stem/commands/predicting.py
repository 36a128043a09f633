"""``predict``: where, with what, and to which file; the work is `napari_stem.predict`'s."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_stem.commands.terminal import Interrupted, progress_bars, stop_on_interrupt, tell
from napari_stem.errors import MissingMppError, OutputError
from napari_stem.outputs import require_free, require_writable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_stem.commands.terminal import ProgressBars
    from napari_stem.encoders.precomputed import PrecomputedEmbedder, Stated
    from napari_stem.geometry import Mpp, Spots
    from napari_stem.model.bundle import Model
    from napari_stem.predict import PredictionProgress
    from napari_stem.results import Prediction
    from napari_stem.settings import SamplingSettings
    from napari_stem.slide.base import Slide
    from napari_stem.slide.tissue import TissueSettings


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """What ``predict`` was asked for; see the command's options."""

    slide: Path
    out: Path
    model: str
    settings: SamplingSettings
    spots_file: Path | None = None
    regions_file: Path | None = None
    whole_slide: bool = False
    tissue: TissueSettings | None = None
    pitch_um: float | None = None
    mpp_um: float | None = None
    genes: tuple[str, ...] = ()
    allow_missing_genes: bool = False
    embeddings: Path | None = None
    stated: Stated | None = None
    species: str | None = None
    tissue_type: str | None = None
    keep_draws: bool = False
    resume: bool = False

    @property
    def work(self) -> Path:
        """Zarr folder that grows: the output itself, or one beside it while that is not finished."""
        if self.out.suffix == ".zarr" and not self.genes:
            return self.out
        return self.out.with_name(self.out.name + ".partial.zarr")


def run_predict(request: PredictRequest) -> dict[str, Any]:
    """Predict a slide and write the result.

    Returns
    -------
    JSON-ready: ``out, n_spots, n_genes, n_unlike_training (null where the model cannot tell), unit,
    calibrated, domain, model, slide, genes_not_predicted, embeddings (null where the encoder looked),
    scale_warning (null where the nuclei fit the pixel size)``.

    Raises
    ------
    StemError
        Anything that the user can mend; what was finished is kept.
    Interrupted
        Stopped by Ctrl-C, likewise.
    """
    from napari_stem.slide import open_slide

    _check_output(request)
    # what is no slide, or of no known size, fails here: before torch is loaded and levels are made
    mpp = _stated_mpp(request)
    from napari_stem.model import load_model
    from napari_stem.model.sampling import torch_device
    from napari_stem.predict import choose_spots
    from napari_stem.slide.scale_check import scale_record
    from napari_stem.spatial.region_files import read_regions

    model = load_model(request.model)
    missing = _require_servable(request, model)
    model.require_sampler(request.settings)
    for warning in _warnings(model, request.tissue_type, missing):
        tell(warning)
    torch_device(request.settings.device)
    with progress_bars() as bars:
        slide = open_slide(request.slide, mpp, progress=bars)
        try:
            scale = scale_record(slide)
            if scale["scale_check"]["warning"] is not None:
                tell(scale["scale_check"]["warning"])
            embedder = _embedder(request, slide, model)
            regions = None if request.regions_file is None else read_regions(request.regions_file)
            spots = choose_spots(
                slide,
                pitch_um=request.pitch_um or model.pitch_um,
                spots=_given_spots(request, embedder),
                regions=regions,
                whole_slide=request.whole_slide,
                tissue=request.tissue,
                tell=tell,
            )
            prediction = predicted(
                slide,
                spots,
                model,
                request.work,
                request.settings,
                bars,
                "with --resume added",
                embedder=embedder,
                regions=regions or (),
                keep_draws=request.keep_draws,
                resume=request.resume,
                also={} if embedder is None else embedder.patches.provenance,
                noted=scale,
            )
        finally:
            slide.close()
    _finish(request, prediction, missing)
    return {
        "out": str(request.out),
        "n_spots": len(spots),
        "n_genes": len(request.genes or model.genes),
        "n_unlike_training": int(prediction.ood.sum()) if model.head.knows_domain else None,
        "unit": prediction.unit,
        "calibrated": model.config.calibrated,
        "domain": prediction.provenance["domain"],
        "model": model.name,
        "slide": str(request.slide),
        "genes_not_predicted": list(missing),
        "embeddings": None if request.embeddings is None else str(request.embeddings),
        "scale_warning": scale["scale_check"]["warning"],
    }


def _stated_mpp(request: PredictRequest) -> Mpp | None:
    """Pixel size that the user states; MissingMppError if neither they nor the slide do."""
    from napari_stem.geometry import Mpp
    from napari_stem.slide.opening import describe

    mpp = None if request.mpp_um is None else Mpp.square(request.mpp_um)
    if describe(request.slide, mpp)["mpp"] is None:
        msg = (
            f"{request.slide.name} does not say how large its pixels are; state it in micrometres "
            f"per pixel, such as --mpp 0.5."
        )
        raise MissingMppError(msg)
    return mpp


def predicted(
    slide: Slide,
    spots: Spots,
    model: Model,
    path: Path,
    settings: SamplingSettings,
    bars: ProgressBars,
    how_to_resume: str,
    title: str = "Predicting spots",
    **options: Any,
) -> Prediction:
    """Predict, with a bar; ``options`` as of `napari_stem.predict.carry_out`.

    Raises
    ------
    Interrupted
        By Ctrl-C; the text says what is kept, and to run the same command ``how_to_resume``.
    """
    from napari_stem.predict import carry_out

    def show(step: PredictionProgress) -> None:
        bars.show(title, step.work_done, step.n_spots, step.seconds_left)

    with stop_on_interrupt() as stop:
        prediction = carry_out(
            slide, spots, model, path, settings, stop=stop.is_set, watch=show, **options
        )
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


def _require_servable(request: PredictRequest, model: Model) -> tuple[str, ...]:
    """Refuse another species and unknown genes; returns the genes that may be missing, and are."""
    from napari_stem.model.genes import missing_of
    from napari_stem.model.serving import require_species

    require_species(model.config, request.species)
    if not request.allow_missing_genes:
        model.require_genes(request.genes)
        return ()
    missing = missing_of(request.genes, model.genes, model.name)
    if len(missing) == len(request.genes):  # of nothing there is no prediction
        model.require_genes(request.genes)
    return missing


def _warnings(model: Model, tissue: str | None, missing: tuple[str, ...]) -> Iterator[str]:
    """Say what the user should know of the model before trusting its figures."""
    from napari_stem.model.genes import offered
    from napari_stem.model.serving import tissue_warning

    if (warning := tissue_warning(model.config, tissue)) is not None:
        yield warning
    for gene in missing:
        alike = offered(gene, model.genes)
        hint = f" (it knows {', '.join(alike)})" if alike else ""
        yield f"Model '{model.name}' does not predict '{gene}'{hint}: its column holds no numbers."
    yield from model.warnings


def _check_output(request: PredictRequest) -> None:
    """Fail before the work where its result could not be written after it."""
    out = request.out
    if out.suffix not in (".zarr", ".h5ad"):
        msg = f"{out.name} has an ending that is not .zarr or .h5ad; choose one of these."
        raise OutputError(msg)
    require_writable(out)
    if request.work != out:
        require_free(out)
    if request.work.exists() and not request.resume:
        msg = f"{request.work} exists already; add --resume to go on with it, or remove it first."
        raise OutputError(msg)


def _embedder(request: PredictRequest, slide: Slide, model: Model) -> PrecomputedEmbedder | None:
    if request.embeddings is None:
        return None
    from napari_stem.commands.embeddings import embedder_from
    from napari_stem.encoders.precomputed import Stated

    return embedder_from(request.embeddings, request.stated or Stated(), slide, model)


def _given_spots(
    request: PredictRequest, embedder: PrecomputedEmbedder | None
) -> Path | Spots | None:
    """Those of a file, else the patches of embeddings; None: the slide's lattice."""
    if request.spots_file is not None or embedder is None:
        return request.spots_file
    return embedder.patches.spots()


def _finish(request: PredictRequest, prediction: Prediction, missing: tuple[str, ...]) -> None:
    """Turn the folder that grew into the file that was asked for."""
    if request.work == request.out:
        return
    from napari_stem.exporting.selection import Selection
    from napari_stem.exporting.table import write_table

    known = tuple(gene for gene in request.genes if gene not in missing)
    selection = Selection.of(prediction, known)
    write_table(selection, request.out, genes=request.genes if missing else ())
    shutil.rmtree(request.work)
