"""Fit how residuals are distributed: quantiles given the mean, and the shrunken covariance of normal scores."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.model.residual import SCORES, Residual

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.geometry import Spots

    Array = NDArray[np.float64]

N_MEANS, N_DIRECTIONS = 8, 64
N_DISTANCES, MOST_SPOTS, MOST_SHARED = 16, 2000, 0.9  # pitches apart; of a section; of the variance


def fit_residual(
    mean: Array, residual: Array, spots: Sequence[Spots]
) -> tuple[Residual, NDArray[np.float32]]:
    """Fit the distribution of out-of-fold residuals.

    Parameters
    ----------
    mean, residual
        (n, G) out-of-fold mean, and what was measured less that.
    spots
        The n spots, by section.

    Returns
    -------
    The distribution, and (n, K) each spot's scores along its directions, of unit variance.
    """
    marginal = _marginal(mean, residual)
    scores = marginal.scores_of(mean, residual)
    variance, vectors = np.linalg.eigh(_correlation(scores))
    leading = slice(None, -1 - min(N_DIRECTIONS, len(variance)), -1)
    deviation, vectors = np.sqrt(np.maximum(variance[leading], 1e-9)), vectors[:, leading]
    directions = (vectors * deviation).T
    own = np.sqrt(np.maximum(1 - (directions**2).sum(0), 0))
    found = replace(
        marginal,
        directions=directions.astype(np.float32),
        own=own.astype(np.float32),
        shared=_shared(scores, spots),
    )
    return found, (scores @ vectors / deviation).astype(np.float32)


def _marginal(mean: Array, residual: Array) -> Residual:
    """Quantiles of the residuals of all genes in ranges of the mean, each gene's by a factor of its own."""
    from scipy.special import ndtr

    varies = np.ptp(residual, axis=0) > 0
    varies |= not varies.any()
    edges = np.unique(np.quantile(mean[:, varies], np.arange(1, N_MEANS) / N_MEANS, method="lower"))
    number = np.searchsorted(edges, mean, side="right")
    known = np.unique(number[:, varies])
    inside = [(number == i) & varies for i in known]
    spread = np.zeros(N_MEANS)
    spread[known] = [np.sqrt(np.mean(residual[each] ** 2)) for each in inside]
    factor = np.sqrt(np.mean((residual / np.maximum(spread, 1e-6)[number]) ** 2, axis=0))
    scaled = residual / np.maximum(factor, 1e-6)
    quantiles = [np.quantile(scaled[each], ndtr(SCORES)) for each in inside]
    nothing = np.zeros((0, mean.shape[1]))
    return Residual.from_arrays(
        {
            "factor": factor,
            "mean_at": np.array([mean[each].mean() for each in inside]),
            "quantiles": np.array(quantiles),
            "directions": nothing,
            "own": np.ones(mean.shape[1]),
            "shared": np.array([0, 0, 1]),
        }
    )


def _shared(scores: Array, spots: Sequence[Spots]) -> NDArray[np.float32]:
    """Fit (3,) `Residual.shared` by least squares to the mean product of two spots' scores at each distance."""
    from scipy.optimize import nnls
    from scipy.spatial.distance import pdist

    pitch_um = spots[0].pitch_um
    products, counts = np.zeros(N_DISTANCES), np.zeros(N_DISTANCES)
    starts = np.cumsum([0, *map(len, spots)])
    for first, section in zip(starts, spots, strict=False):
        kept = slice(None, None, -(-len(section) // MOST_SPOTS))
        own = scores[first : first + len(section)][kept]
        apart = np.rint(pdist(section.xy_um[kept]) / pitch_um).astype(int)
        product = (own @ own.T / own.shape[1])[np.triu_indices(len(own), 1)]
        near = apart < N_DISTANCES
        products += np.bincount(apart[near], product[near], N_DISTANCES)
        counts += np.bincount(apart[near], minlength=N_DISTANCES)
    known = np.flatnonzero(counts)
    if not len(known):
        return np.array([0, 0, pitch_um], np.float32)
    weight, distance = np.sqrt(counts[known]), known * pitch_um
    fits = []
    for length_um in pitch_um * np.geomspace(0.5, 8, 25):
        terms = np.stack([np.ones(len(known)), np.exp(-distance / length_um)], axis=1)
        shares, error = nnls(terms * weight[:, None], products[known] / weight)
        fits.append((error, *shares, length_um))
    _, far, near, length_um = min(fits)
    scale = min(1.0, MOST_SHARED / max(far + near, 1e-9))
    return np.array([far * scale, near * scale, length_um], np.float32)


def _correlation(scores: Array) -> Array:
    """(G, G) correlation of genes, shrunk as Ledoit and Wolf (2004) do; a gene without variance has none."""
    from sklearn.covariance import LedoitWolf

    covariance = LedoitWolf().fit(scores).covariance_
    deviation = np.sqrt(np.maximum(np.diag(covariance), 1e-9))
    return np.asarray(covariance / deviation / deviation[:, None])
