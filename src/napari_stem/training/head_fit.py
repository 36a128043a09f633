"""Fit what comes before the denoiser: the mean, its out-of-fold residual, what the tissue looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.model.head import Head
from napari_stem.training.domain import fit_domain, leading, standards
from napari_stem.training.mean import N_KERNEL, fit_mean, kernel_scale, stacked
from napari_stem.training.residual_fit import fit_residual, patient_effects
from napari_stem.training.sections import depths_of, patient_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

    from napari_stem.training.sections import SectionArrays

N_COMPONENTS, N_MEAN_COMPONENTS = 32, 8  # of the embedding and of the mean: what a denoiser is told


@dataclass(frozen=True)
class HeadFit:
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


def fit_head(sections: Sequence[SectionArrays], normalisation: str) -> HeadFit:
    """Mean, principal components and out-of-fold residuals of some sections.

    A mean that has seen a spot leaves too small a residual there; the residual that is drawn is therefore that
    of a mean fitted on the other sections, as it will be on a new slide.

    Parameters
    ----------
    sections
        To fit on.
    normalisation
        Unit of their values. The library size, where it is known, becomes one more gene.
    """
    x, y, group = stacked(sections)
    depths = depths_of(sections, normalisation)
    y = y if depths is None else np.concatenate([y, depths], axis=1)
    centre, scale = standards(x)
    z = (x - centre) / scale
    components, variances = leading(z, N_KERNEL)
    domain_components, domain_spread, domain_limit = fit_domain(x, group, sections[0].n_fields)
    points = z @ components.T
    anchor_scale = kernel_scale(points)
    mean, out_of_fold = fit_mean(z, points / anchor_scale, y, group)
    along = mean.directions.along(out_of_fold)
    patients = [p for s in sections for p in [patient_of(s)] * len(s.spots)]
    effects = patient_effects(
        y - out_of_fold, patients, normalisation, has_depth=depths is not None
    )
    spots = [s.spots for s in sections]
    residual, scores = fit_residual(out_of_fold, y - out_of_fold, spots, effects)
    arrays: dict[str, Any] = {
        "centre": centre,
        "scale": scale,
        "weights": mean.linear.weights,
        "intercept": mean.linear.intercept + mean.by_kernel.intercept,
        "anchors": mean.by_kernel.anchors,
        "anchor_scale": anchor_scale,
        "anchor_weights": mean.by_kernel.weights,
        "components": components,
        "component_scale": _component_scale(variances[:N_COMPONENTS]),
        "mean_centre": mean.directions.centre,
        "mean_components": mean.directions.components,
        "mean_component_scale": _component_scale(along[:, :N_MEAN_COMPONENTS].var(0)),
        "domain_components": domain_components,
        "domain_spread": domain_spread,
        "domain_limit": domain_limit,
    }
    head = Head.from_arrays({**arrays, **vars(residual)})
    condition = head.condition(x.astype(np.float32), along.astype(np.float32))
    return HeadFit(head, condition, out_of_fold, scores)


def _component_scale(variance: NDArray[np.float64]) -> NDArray[np.float32]:
    """Take standard deviations; what hardly varies (a constant gene) is not blown up."""
    deviation = np.sqrt(variance)
    return np.asarray(np.maximum(deviation, 1e-3 * deviation.max() + 1e-6), np.float32)
