"""Slide, spots and model -> prediction. The command line and the viewer both drive this generator."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_stem.encoders.embed import Embedder
from napari_stem.encoders.registry import load_encoder
from napari_stem.errors import EncoderError, RegionError
from napari_stem.geometry import lattice, spots_in_regions
from napari_stem.results import Prediction
from napari_stem.settings import SamplingSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

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
        Estimate from the spots finished in this run; None before the first.
    """

    stage: Literal["embedding", "sampling"]
    n_done: int
    n_spots: int
    seconds_left: float | None


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
    stop: Callable[[], bool] | None = None,
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
    stop
        Polled within blocks; once true the generator ends. Finished blocks stay on disk.

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
    clock = _Clock(prediction, len(spots))
    yield clock.progress("embedding")
    encoder = load_encoder(model.encoder_name, torch_device(settings.device))
    if encoder.version != model.config.encoder_version:
        raise EncoderError(
            f"Model '{model.name}' was trained with version {model.config.encoder_version} of encoder "
            f"'{encoder.name}', this is version {encoder.version}; train the model again."
        )
    embedder = Embedder(slide, encoder)

    def check(*_: Any) -> None:
        if stop is not None and stop():
            raise _Stopped

    for index in _open_blocks(prediction.done, settings.spots_per_block):
        block = spots.take(index)
        try:
            check()
            embedding = embedder.embed(block, check)
            draws = model.sample(embedding, block, settings, check)
        except _Stopped:
            return
        prediction.write_block(
            index, ood_distance=model.head.distance(embedding), **summary(draws, prediction)
        )
        yield clock.progress("sampling")


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
    prediction = Prediction.create(path, slide=slide, spots=spots, model=model, settings=settings)
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
    """Time left, from the spots finished since the start of this run."""

    def __init__(self, prediction: Prediction, n_spots: int) -> None:
        self._prediction = prediction
        self._n_spots = n_spots
        self._n_before = int(prediction.done.sum())
        self._start = time.monotonic()

    def progress(self, stage: Literal["embedding", "sampling"]) -> PredictionProgress:
        n_done = int(self._prediction.done.sum())
        fresh = n_done - self._n_before
        per_spot = (time.monotonic() - self._start) / fresh if fresh else None
        left = None if per_spot is None else per_spot * (self._n_spots - n_done)
        return PredictionProgress(stage, n_done, self._n_spots, left)


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
