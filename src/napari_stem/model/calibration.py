"""Conformal calibration: how far draws have to be stretched about their mean for intervals that hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL = 0.90
_NARROWEST, _WIDEST = 0.25, 4.0


def calibration_factors(
    truth: NDArray[np.float32], draws: NDArray[np.float32], level: float = LEVEL
) -> NDArray[np.float32]:
    """Factor by which to stretch each gene's draws about their mean to cover the truth as often as they say.

    The score of a spot is how far the central interval would have to be stretched about the mean of the draws
    to reach the truth; the factor is the conformal quantile of the scores (Vovk et al.; eq. 2 of Angelopoulos
    and Bates 2021, arXiv 2107.07511).

    Parameters
    ----------
    truth
        (spots, genes) measured values of spots that the model has not seen.
    draws
        (spots, genes, draws) uncalibrated.
    level
        Central interval that shall hold this share of the truth.

    Returns
    -------
    (genes,) float32, kept between 0.25 and 4.
    """
    mean = draws.mean(-1)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=-1, method="weibull")
    above = (truth - mean) / np.maximum(high - mean, 1e-6)
    below = (mean - truth) / np.maximum(mean - low, 1e-6)
    scores = np.maximum(above, below)
    rank = min(len(scores), int(np.ceil((len(scores) + 1) * level)))
    factors = np.sort(scores, axis=0)[rank - 1]
    kept: NDArray[np.float32] = np.clip(factors, _NARROWEST, _WIDEST).astype(np.float32)
    return kept


def calibrate(draws: NDArray[np.float32], factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Stretch draws about their mean: (spots, genes, draws) with (genes,) -> the same shape."""
    mean = draws.mean(-1, keepdims=True)
    stretched: NDArray[np.float32] = mean + (draws - mean) * factors[None, :, None]
    return stretched
