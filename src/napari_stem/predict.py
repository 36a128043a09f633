"""Slide, spots and model -> prediction. The command line and the viewer both drive this generator."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_stem.encoders.base import same_features
from napari_stem.encoders.embed import Embedder
from napari_stem.encoders.registry import load_encoder
from napari_stem.errors import EncoderError, RegionError
from napari_stem.geometry import lattice, spots_in_regions
from napari_stem.model.serving import require_resolution
from napari_stem.results import Prediction
from napari_stem.settings import SamplingSettings
from napari_stem.slide.scale_check import scale_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_stem.encoders.base import EmbedsSpots, Encoder
    from napari_stem.geometry import Region, Spots
    from napari_stem.model.bundle import Model
    from napari_stem.slide.base import Slide

_FIRST_BLOCK = 4


@dataclass(frozen=True)
class PredictionProgress:
    """How far a prediction is.

    Attributes
    ----------
    stage
        ``embedding`` (looking at the tissue) or ``sampling``.
    n_done, n_spots
        Spots finished, and all.
    seconds_left
        Estimate from the work done in this run; None before there is any.
    work_done
        ``n_done``, and what is done of the spots under way: their share of denoising steps.
    """

    stage: Literal["embedding", "sampling"]
    n_done: int
    n_spots: int
    seconds_left: float | None
    work_done: float


class _Stopped(Exception):
    """Raised inside a block when the caller asked to stop; never leaves this module."""


def choose_spots(
    slide: Slide,
    *,
    pitch_um: float,
    regions: Sequence[Region] | None = None,
    whole_slide: bool = False,
) -> Spots:
    """Spots of the slide's lattice inside regions, over the whole slide, or (neither given) over the tissue.

    Raises
    ------
    MissingMppError
        The slide's pixel size is unknown.
    RegionError
        No spot lies in the regions, or there is no tissue.
    SpotError
        The pitch is not possible.
    """
    spots = lattice(slide.size, slide.require_mpp(), pitch_um)
    if whole_slide:
        return spots
    if regions is None:
        from napari_stem.slide.tissue import tissue_regions

        regions = tissue_regions(slide)
    elif not regions:
        raise RegionError("No region is given; draw one, or choose the whole tissue.")
    return spots_in_regions(spots, regions)


def predict(
    slide: Slide,
    spots: Spots,
    model: Model,
    prediction: Prediction,
    settings: SamplingSettings | None = None,
    *,
    embedder: EmbedsSpots | None = None,
    stop: Callable[[], bool] | None = None,
    watch: Callable[[PredictionProgress], None] | None = None,
) -> Iterator[PredictionProgress]:
    """Fill a prediction, block by block; spots that are done already are left as they are.

    Parameters
    ----------
    slide, spots, model
        What to predict, where and with what; ``spots`` are the prediction's.
    prediction
        From `Prediction.create`.
    settings
        How draws are taken.
    embedder
        Where embeddings come from; None: the model's encoder looks at the slide.
    stop
        Polled within blocks; once true the generator ends. Finished blocks stay on disk.
    watch
        Told after every denoising step: with 1000 of them a block may take long.

    Yields
    ------
    After every block, and once before the first.

    Raises
    ------
    SlideError, EncoderError, ModelError, OutputError
        With what was finished kept.
    """
    from napari_stem.model.sampling import torch_device

    settings = settings or SamplingSettings()
    model.require_sampler(settings)
    clock = _Clock(prediction, len(spots))
    yield clock.progress("embedding")
    if embedder is None:
        encoder = encoder_of(model, torch_device(settings.device))
        require_resolution(model.config, encoder.patch, slide.require_mpp())
        embedder = Embedder(slide, encoder)

    def check(*_: Any) -> None:
        if stop is not None and stop():
            raise _Stopped

    for index in _open_blocks(prediction.done, settings.spots_per_block):
        block = spots.take(index)

        def on_step(step: int, n_steps: int, _: Any, n_block: int = len(index)) -> None:
            check()
            if watch is not None:
                watch(clock.progress("sampling", n_block * step / n_steps))

        try:
            check()
            embedding = embedder.embed(block, check)
            draws = model.sample(embedding, block, settings, on_step, check)
        except _Stopped:
            return
        prediction.write_block(
            index, ood_distance=model.head.distance(embedding), **summary(draws, prediction)
        )
        yield clock.progress("sampling")


def encoder_of(model: Model, device: str) -> Encoder:
    """Load the encoder that a model needs, looking at the patches that it was trained with.

    Raises
    ------
    EncoderError
        It is not ready, or its numbers are other ones than in training.
    """
    try:
        encoder = load_encoder(model.encoder_name, device, model.config.fields_of_view_um)
    except EncoderError as error:
        if model.card.get("embeddings") is None:
            raise
        raise EncoderError(
            f"{error} Model '{model.name}' was trained on embeddings from files: give those of this slide with "
            f"--embeddings."
        ) from error
    wanted = model.config.encoder_version
    if wanted is not None and not same_features(encoder.version, wanted):
        raise EncoderError(
            f"Model '{model.name}' was trained with version {wanted} of encoder '{encoder.name}', this is "
            f"version {encoder.version}; train the model again."
        )
    return encoder


def predict_slide(
    slide: Slide,
    path: Path,
    *,
    model: Model | None = None,
    regions: Sequence[Region] | None = None,
    settings: SamplingSettings | None = None,
) -> Prediction:
    """Predict a slide's tissue, or some regions of it, in one call; see `predict` for the parts.

    Returns
    -------
    The finished prediction at ``path`` (a ``.zarr`` folder).
    """
    from napari_stem.model import load_model

    model, settings = model or load_model(), settings or SamplingSettings()
    spots = choose_spots(slide, pitch_um=model.pitch_um, regions=regions)
    prediction = Prediction.create(
        path, slide=slide, spots=spots, model=model, settings=settings, noted=scale_record(slide)
    )
    for _ in predict(slide, spots, model, prediction, settings):
        pass
    return prediction


def quantiles(draws: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(n, genes, draws) -> 5% and 95% quantile, (n, genes) each.

    ``weibull`` plotting positions give intervals of few draws their nominal coverage in expectation (Hyndman
    and Fan 1996, type 6).
    """
    q05, q95 = np.quantile(draws, [0.05, 0.95], axis=-1, method="weibull").astype(np.float32)
    return q05, q95


def summary(draws: NDArray[np.float32], prediction: Prediction) -> dict[str, Any]:
    """(n, genes, draws) -> mean, sd, q05, q95, and the draws themselves where they are kept."""
    q05, q95 = quantiles(draws)
    return {
        "mean": draws.mean(-1),
        "sd": draws.std(-1),  # mirrored pairs: their mean takes no degree of freedom
        "q05": q05,
        "q95": q95,
        "draws": draws.astype(np.float16) if prediction.provenance.get("draws_kept") else None,
    }


class _Clock:
    """Time left, from the work done since the start of this run."""

    def __init__(self, prediction: Prediction, n_spots: int) -> None:
        self._prediction = prediction
        self._n_spots = n_spots
        self._n_before = int(prediction.done.sum())
        self._start = time.monotonic()

    def progress(
        self, stage: Literal["embedding", "sampling"], under_way: float = 0.0
    ) -> PredictionProgress:
        n_done = int(self._prediction.done.sum())
        work_done = n_done + under_way
        fresh = work_done - self._n_before
        per_spot = (time.monotonic() - self._start) / fresh if fresh else None
        left = None if per_spot is None else per_spot * (self._n_spots - work_done)
        return PredictionProgress(stage, n_done, self._n_spots, left, work_done)


def _open_blocks(done: NDArray[np.bool_], size: int) -> Iterator[NDArray[np.int64]]:
    """Yield runs of adjacent spots that are not done, at most ``size`` long.

    The first is short, so that something is to be seen soon.
    """
    todo = np.flatnonzero(~done)
    blocks = [min(size, _FIRST_BLOCK)]
    for run in np.split(todo, np.flatnonzero(np.diff(todo) != 1) + 1):
        start = 0
        while start < len(run):
            length = blocks.pop() if blocks else size
            yield run[start : start + length]
            start += length
