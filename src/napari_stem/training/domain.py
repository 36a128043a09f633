"""Fit what tells spots that look unlike the training data; see `napari_stem.model.domain`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.model.domain import unexplained

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_COMPONENTS = 96
QUANTILE = 0.99
LEAST_SPREAD = 0.05  # of a standardised feature: what is hardly ever left is not blown up


def fit_domain(
    x: NDArray[np.float64], group: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Leading directions of training embeddings, and how much of a spot they may leave.

    Parameters
    ----------
    x
        (n, W) embeddings.
    group
        (n,) section of each, left out in turn to tell what spots of another section look like at most (99%).

    Returns
    -------
    components
        (D, W) orthonormal, of the standardised embedding.
    spread
        (W,) what they leave of each feature of left-out sections, root mean square.
    limit
        () of `unexplained`.
    """
    left = np.empty_like(x)
    for held in np.unique(group):
        out, rest = group == held, x[group != held]
        z, components = (x[out] - rest.mean(0)) / _scale(rest), leading_components(rest)
        left[out] = z - (z @ components.T) @ components
    spread = np.maximum(np.sqrt(np.mean(left**2, axis=0)), LEAST_SPREAD)
    none = np.zeros((0, x.shape[1]))  # what is left is taken as it is
    limit = np.quantile(unexplained(left, none, spread), QUANTILE)
    return (
        leading_components(x).astype(np.float32),
        spread.astype(np.float32),
        np.array(limit, np.float32),
    )


def _scale(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.maximum(x.std(0), 1e-6))


def leading_components(x: NDArray[np.float64], most: int = N_COMPONENTS) -> NDArray[np.float64]:
    """(D, W) of standardised embeddings; of few spots or features half as many, so that something is left."""
    from sklearn.decomposition import PCA

    n_components = min(most, len(x) // 2, x.shape[1] // 2)
    z = (x - x.mean(0)) / _scale(x)
    return np.asarray(PCA(n_components, svd_solver="full").fit(z).components_)
