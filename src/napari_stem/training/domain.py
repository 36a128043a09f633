"""Fit what tells spots that look unlike the training data; see `napari_stem.model.domain`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.model.domain import beyond, unexplained

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_COMPONENTS = 64  # of each field of view
QUANTILE = 0.995
LEAST_SPREAD = 0.05  # of a standardised feature: what is hardly ever left is not blown up


def fit_domain(
    x: NDArray[np.float64], group: NDArray[np.int64], n_fields: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Leading directions of training embeddings, and how much of a spot they may leave.

    Parameters
    ----------
    x
        (n, W) embeddings.
    group
        (n,) section of each, left out in turn to tell what spots of another section look like at most
        (`QUANTILE` of them).
    n_fields
        F equal parts of the embedding, each of a field of view.

    Returns
    -------
    components
        (F, D, W / F) orthonormal, of each part of the standardised embedding.
    spread
        (W,) what they leave of each feature of left-out sections, root mean square.
    limit
        () of `unexplained`.
    """
    left = np.empty_like(x)
    for held in np.unique(group):
        out, rest = group == held, x[group != held]
        centre, scale = standards(rest)
        left[out] = beyond(_by_field((rest - centre) / scale, n_fields), (x[out] - centre) / scale)
    spread = np.maximum(np.sqrt(np.mean(left**2, axis=0)), LEAST_SPREAD)
    none = np.zeros((1, 0, x.shape[1]))  # what is left is taken as it is
    limit = np.quantile(unexplained(left, none, spread), QUANTILE)
    centre, scale = standards(x)
    return (
        _by_field((x - centre) / scale, n_fields).astype(np.float32),
        spread.astype(np.float32),
        np.array(limit, np.float32),
    )


def standards(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and standard deviations (W,) of embeddings (n, W); what hardly varies is not blown up."""
    return x.mean(0), np.asarray(np.maximum(x.std(0), 1e-6))


def leading(z: NDArray[np.float64], most: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Principal components (D, W) of standardised embeddings and the variances along them (D,)."""
    from sklearn.decomposition import PCA

    n_most = len(z) - 1  # a centred table has no more components than this
    found = PCA(min(most, n_most, z.shape[1]), svd_solver="full").fit(z)
    return np.asarray(found.components_), np.asarray(found.explained_variance_)


def _by_field(z: NDArray[np.float64], n_fields: int) -> NDArray[np.float64]:
    """(F, D, W / F) components; of few spots or features half as many, so that something is left."""
    most = min(N_COMPONENTS, len(z) // 2, z.shape[1] // n_fields // 2)
    return np.stack([leading(part, most)[0] for part in np.split(z, n_fields, axis=1)])
