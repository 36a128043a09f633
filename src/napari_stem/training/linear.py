"""Fit the linear part of a model, and what each section looks like to the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.model.head import Head
from napari_stem.training.domain import fit_domain
from napari_stem.training.residual_fit import fit_residual
from napari_stem.training.sections import groups_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.training.sections import SectionArrays

ALPHAS = (300.0, 1000.0, 3000.0, 10000.0, 30000.0)
N_COMPONENTS, N_MEAN_COMPONENTS = 32, 8


@dataclass(frozen=True)
class LinearFit:
    """A fitted head and its training spots seen out of fold.

    Attributes
    ----------
    head
        Fitted on all spots.
    condition
        (n, C) what the denoiser is told of each training spot, its mean out of fold.
    mean
        (n, genes) out of fold.
    scores
        (n, K) what was measured less that mean, along the directions of ``head.residual``.
    """

    head: Head
    condition: NDArray[np.float32]
    mean: NDArray[np.float64]
    scores: NDArray[np.float32]


def fit_linear(sections: Sequence[SectionArrays]) -> LinearFit:
    """Ridge mean, principal components and out-of-fold residuals of some sections.

    A mean that has seen a spot leaves too small a residual there; the residual that the diffusion learns is
    therefore that of a mean fitted on the other sections, as it will be on a new slide.
    """
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    x = np.concatenate([s.embedding for s in sections]).astype(np.float64)
    y = np.concatenate([s.values for s in sections]).astype(np.float64)
    group = np.concatenate(groups_of(sections))
    scaler = StandardScaler().fit(x)
    scale = np.maximum(scaler.scale_, 1e-6)
    z = (x - scaler.mean_) / scale
    alpha, out_of_fold = _best_alpha(z, y, group)
    weights, intercept = _ridge(z, y, alpha)
    n_most = len(z) - 1  # a centred table has no more components than this
    look = PCA(min(N_COMPONENTS, n_most, z.shape[1]), random_state=0).fit(z)
    guess = PCA(min(N_MEAN_COMPONENTS, n_most, y.shape[1]), random_state=0).fit(out_of_fold)
    residual, scores = fit_residual(out_of_fold, y - out_of_fold, [s.spots for s in sections])
    domain_components, domain_spread, domain_limit = fit_domain(x, group)
    head = Head(
        centre=scaler.mean_.astype(np.float32),
        scale=scale.astype(np.float32),
        weights=weights.astype(np.float32),
        intercept=intercept.astype(np.float32),
        components=look.components_.astype(np.float32),
        component_scale=_component_scale(look.explained_variance_),
        mean_centre=guess.mean_.astype(np.float32),
        mean_components=guess.components_.astype(np.float32),
        mean_component_scale=_component_scale(guess.explained_variance_),
        domain_components=domain_components,
        domain_spread=domain_spread,
        domain_limit=domain_limit,
        residual=residual,
    )
    condition = head.condition(x.astype(np.float32), out_of_fold.astype(np.float32))
    return LinearFit(head, condition, out_of_fold, scores)


def _component_scale(variance: NDArray[np.float64]) -> NDArray[np.float32]:
    """Take standard deviations; what hardly varies (a constant gene) is not blown up."""
    deviation = np.sqrt(variance)
    return np.asarray(np.maximum(deviation, 1e-3 * deviation.max() + 1e-6), np.float32)


def _ridge(
    z: NDArray[np.float64], y: NDArray[np.float64], alpha: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from sklearn.linear_model import Ridge

    fitted = Ridge(alpha=alpha).fit(z, y)
    return fitted.coef_.T, fitted.intercept_


def _best_alpha(
    z: NDArray[np.float64], y: NDArray[np.float64], group: NDArray[np.int64]
) -> tuple[float, NDArray[np.float64]]:
    """Penalty with the smallest out-of-fold error, and the out-of-fold prediction it gives."""
    errors, predictions = [], []
    for alpha in ALPHAS:
        predicted = np.empty_like(y)
        for held in np.unique(group):
            weights, intercept = _ridge(z[group != held], y[group != held], alpha)
            predicted[group == held] = z[group == held] @ weights + intercept
        errors.append(np.mean((y - predicted) ** 2))
        predictions.append(predicted)
    best = int(np.argmin(errors))
    return ALPHAS[best], predictions[best]
