"""What stands out at one spot: every gene against the slide's background, with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_stem.results import Prediction

    Array = NDArray[np.float64]

SPOTS_PER_READ = 2048


@dataclass(frozen=True)
class Background:
    """The slide that a spot is compared with."""

    n_spots: int  # finished spots that it was taken from
    # mean, sd: (genes,) float64 over those spots' predicted means
    mean: Array
    sd: Array


@dataclass(frozen=True)
class SpotProfile:
    """One spot against the background, gene by gene; all arrays (genes,) float64."""

    mean: Array  # predicted, in the prediction's unit
    # z, z_low, z_high: the same and its 90% interval, in standard deviations of the slide's spots from the
    # slide's mean; NaN for a gene that is the same everywhere
    z: Array
    z_low: Array
    z_high: Array


def background(
    prediction: Prediction, is_stopped: Callable[[], bool] = lambda: False
) -> Background | None:
    """Mean and standard deviation of every gene over the finished spots; None where it was stopped.

    PredictionError: the prediction is damaged.
    """
    done = np.flatnonzero(prediction.done)
    total, squares = np.zeros((2, len(prediction.genes)))
    shift = prediction.rows(done[:1])[0].astype(np.float64) if len(done) else 0.0
    for start in range(0, len(done), SPOTS_PER_READ):
        if is_stopped():
            return None
        values = prediction.rows(done[start : start + SPOTS_PER_READ]) - shift  # keeps digits
        total += values.sum(axis=0)
        squares += (values**2).sum(axis=0)
    n = max(1, len(done))
    variance = np.maximum(squares / n - (total / n) ** 2, 0.0)
    return Background(len(done), shift + total / n, np.sqrt(variance))


def spot_profile(prediction: Prediction, spot: int, ground: Background) -> SpotProfile:
    """Compare one finished spot with the background.

    PredictionError: the prediction is damaged.
    """
    row = np.array([spot])
    mean, low, high = (
        prediction.rows(row, field)[0].astype(np.float64) for field in ("mean", "q05", "q95")
    )
    spread = np.where(ground.sd > 1e-6, ground.sd, np.nan)
    z, z_low, z_high = ((values - ground.mean) / spread for values in (mean, low, high))
    return SpotProfile(mean, z, z_low, z_high)
