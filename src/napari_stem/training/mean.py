"""The mean of a spot's expression: ridge, partial least squares and a kernel, weighed by left-out sections."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.model.head import kernel
from napari_stem.training.domain import leading_components
from napari_stem.training.sections import groups_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_stem.training.sections import SectionArrays

    Array = NDArray[np.float64]

ALPHAS = (300.0, 1000.0, 3000.0, 10000.0, 30000.0)
N_LATENT = 8  # of partial least squares
N_TARGETS = 32  # components of the values that these explain
N_KERNEL = 64  # leading components of the embedding that a kernel compares spots by
KERNEL_PENALTY = 1.0
EVEN = 0.5  # how strongly shares are drawn to equal ones: members err alike, and data hardly tell them apart
MOST_ANCHORS = 2000  # spots that a kernel compares with: a share of a large training set


@dataclass(frozen=True)
class Mean:
    """A weighed sum of a linear function and a kernel; W embedding width, N anchors, D their coordinates.

    Attributes
    ----------
    weights, intercept
        (W, G), (G,) of the standardised embedding.
    anchors
        (N, D) training spots, by their leading components over `kernel_scale`.
    anchor_weights
        (N, G).
    """

    weights: Array
    intercept: Array
    anchors: Array
    anchor_weights: Array

    def __call__(self, z: Array, points: Array) -> Array:
        """Standardised embeddings (n, W) and their kernel coordinates (n, D) -> (n, G)."""
        linear = z @ self.weights + self.intercept
        if not len(self.anchors):
            return linear
        return linear + kernel(points, self.anchors) @ self.anchor_weights


def kernel_scale(coordinates: Array) -> float:
    """Mean city-block distance of training spots (n, D), at which likeness shall have fallen to 1/e."""
    from scipy.spatial.distance import pdist

    some = coordinates[:: -(-len(coordinates) // MOST_ANCHORS)]
    return max(float(pdist(some, "cityblock").mean()), 1e-6)


def fit_mean(
    z: Array, points: Array, y: Array, group: NDArray[np.int64]
) -> tuple[Mean, NDArray[np.float64]]:
    """Fit the mean, each part as strongly as it helps on groups left out (stacking, Breiman 1996).

    Parameters
    ----------
    z, points
        (n, W) standardised embeddings, (n, D) their kernel coordinates.
    y
        (n, G) values.
    group
        (n,) what is left out in turn.

    Returns
    -------
    Fitted on all, and (n, G) out of fold.
    """
    alpha, by_ridge = best_penalty(z, y, group)
    members = [by_ridge, _out_of_fold(_fit_latent, z, points, y, group)]
    members.append(_out_of_fold(_fit_kernel, z, points, y, group))
    shares, centre = _shares(members, y), y.mean(0)
    parts = [_fit_ridge(alpha, z, z, y), _fit_latent(z, points, y), _fit_kernel(z, points, y)]
    mean = Mean(
        sum(share * part.weights for share, part in zip(shares, parts, strict=True)),
        centre + sum(s * (p.intercept - centre) for s, p in zip(shares, parts, strict=True)),
        parts[2].anchors,
        shares[2] * parts[2].anchor_weights,
    )
    out_of_fold = centre + sum(s * (m - centre) for s, m in zip(shares, members, strict=True))
    return mean, np.asarray(out_of_fold)


def fit_ridge(
    sections: Sequence[SectionArrays],
) -> tuple[Callable[[NDArray[np.float32]], NDArray[np.float32]], NDArray[np.float64]]:
    """Fit ridge alone, to compare with; the penalty is that which is best on sections left out.

    Returns
    -------
    A function, (n, W) embeddings -> (n, G) values, and (n, G) the training spots out of fold.
    """
    x, y, group = stacked(sections)
    centre, scale = x.mean(0), np.maximum(x.std(0), 1e-6)
    z = (x - centre) / scale
    alpha, out_of_fold = best_penalty(z, y, group)
    fitted = _fit_ridge(alpha, z, z, y)

    def mean(embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        z = (embedding - centre) / scale
        return np.asarray(z @ fitted.weights + fitted.intercept, np.float32)

    return mean, out_of_fold


def out_of_fold(x: Array, y: Array, group: NDArray[np.int64]) -> Array:
    """Predict (n, G) values from (n, W) embeddings of the other groups."""
    z = (x - x.mean(0)) / np.maximum(x.std(0), 1e-6)
    points = z @ leading_components(x, N_KERNEL).T
    return fit_mean(z, points / kernel_scale(points), y, group)[1]


def stacked(sections: Sequence[SectionArrays]) -> tuple[Array, Array, NDArray[np.int64]]:
    """Embeddings (n, W), values (n, G) and groups (n,) of some sections, one below the other."""
    x = np.concatenate([s.embedding for s in sections]).astype(np.float64)
    y = np.concatenate([s.values for s in sections]).astype(np.float64)
    return x, y, np.concatenate(groups_of(sections))


def best_penalty(z: Array, y: Array, group: NDArray[np.int64]) -> tuple[float, Array]:
    """Penalty of the ridge with the smallest out-of-fold error, and the out-of-fold values it gives."""
    tried = []
    for alpha in ALPHAS:
        found = _out_of_fold(partial(_fit_ridge, alpha), z, z[:, :0], y, group)
        tried.append((float(np.mean((y - found) ** 2)), alpha, found))
    _, alpha, found = min(tried, key=lambda each: each[0])
    return alpha, found


def _out_of_fold(
    fit: Callable[[Array, Array, Array], Mean],
    z: Array,
    points: Array,
    y: Array,
    group: NDArray[np.int64],
) -> Array:
    found = np.empty_like(y)
    for held in np.unique(group):
        out = group == held
        found[out] = fit(z[~out], points[~out], y[~out])(z[out], points[out])
    return found


def _shares(members: Sequence[Array], y: Array) -> Array:
    """How much of each member's departure from the mean is taken, none negative: least squares out of fold."""
    from scipy.optimize import nnls

    about = np.stack([(member - y.mean(0)).ravel() for member in members], axis=1)
    square, product = about.T @ about, about.T @ (y - y.mean(0)).ravel()
    even = EVEN * max(np.trace(square) / len(square), 1e-9)
    root = np.linalg.cholesky(square + even * np.eye(len(square)))
    shares, _ = nnls(root.T, np.linalg.solve(root, product + even / len(square)))
    return np.asarray(shares)


def _linear(weights: Array, intercept: Array) -> Mean:
    nothing = np.zeros((0, weights.shape[1]))
    return Mean(weights, intercept, np.zeros((0, 0)), nothing)


def _fit_ridge(alpha: float, z: Array, _points: Array, y: Array) -> Mean:
    from sklearn.linear_model import Ridge

    fitted = Ridge(alpha=alpha).fit(z, y)
    # of one gene scikit-learn gives a vector and a number
    return _linear(np.atleast_2d(fitted.coef_).T, np.atleast_1d(fitted.intercept_))


def _fit_latent(z: Array, _points: Array, y: Array) -> Mean:
    """Partial least squares on the leading components of the values."""
    from sklearn.cross_decomposition import PLSRegression
    from sklearn.decomposition import PCA

    components = PCA(min(N_TARGETS, len(y) - 1, y.shape[1]), random_state=0).fit(y)
    vary = components.explained_variance_ > 1e-9
    if not vary.any():
        return _linear(np.zeros((z.shape[1], y.shape[1])), y.mean(0))
    target, back = components.transform(y)[:, vary], components.components_[vary]
    n_latent = min(N_LATENT, len(z) - 1, z.shape[1])
    fitted = PLSRegression(n_latent, scale=False).fit(z, target)
    weights = fitted.coef_.T @ back
    return _linear(weights, y.mean(0) + target.mean(0) @ back - z.mean(0) @ weights)


def _fit_kernel(z: Array, points: Array, y: Array) -> Mean:
    from sklearn.kernel_ridge import KernelRidge

    some = slice(None, None, -(-len(y) // MOST_ANCHORS))
    centre, anchors = y.mean(0), points[some]
    fitted = KernelRidge(alpha=KERNEL_PENALTY, kernel="precomputed")
    fitted.fit(kernel(anchors, anchors), y[some] - centre)
    nothing = np.zeros((z.shape[1], y.shape[1]))
    return Mean(nothing, centre, anchors, fitted.dual_coef_)
