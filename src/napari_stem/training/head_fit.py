"""Fit what comes before the denoiser: the mean, what the tissue looks like, how residuals are distributed.

Residuals are described by quantiles given the mean, and the shrunken covariance of their normal scores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.model.head import Head, beyond, unexplained
from napari_stem.model.residual import DEPTH_PRIOR, PATIENT_PRIOR, SCORES, Residual
from napari_stem.spatial.normalise import in_unit, normalisation
from napari_stem.training.mean import N_KERNEL, fit_mean, kernel_scale, leading, stacked, standards
from napari_stem.training.sections import SectionArrays, depths_of, patients_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.geometry import Spots

    Array = NDArray[np.float64]

N_COMPONENTS, N_MEAN_COMPONENTS = 32, 8  # of the embedding and of the mean: what a denoiser is told
N_DOMAIN = 64  # components of each field of view
DOMAIN_QUANTILE = 0.995  # of spots of left-out sections
LEAST_SPREAD = 0.05  # of a standardised feature: what is hardly ever left is not blown up
N_MEANS, N_DIRECTIONS = 8, 64
N_DISTANCES, MOST_SPOTS, MOST_SHARED = 16, 2000, 0.9  # pitches apart; of a section; of the variance


@dataclass(frozen=True)
class HeadFit:
    """A fitted head and its training spots seen out of fold."""

    head: Head  # fitted on all spots
    # (n, C) what the denoiser is told of each training spot, its mean out of fold
    condition: NDArray[np.float32]
    mean: NDArray[np.float64]  # (n, genes) out of fold
    # (n, K) what was measured less that mean, along the directions of ``head.residual``
    scores: NDArray[np.float32]


def fit_head(sections: Sequence[SectionArrays], unit: str) -> HeadFit:
    """Mean, principal components and out-of-fold residuals of some sections.

    A mean that has seen a spot leaves too small a residual there; the residual that is drawn is therefore that
    of a mean fitted on the other sections, as it will be on a new slide.

    Parameters
    ----------
    sections
        To fit on.
    unit
        Normalisation of their values. The library size, where it is known, becomes one more gene.
    """
    x, y, group = stacked(sections)
    depths = depths_of(sections, unit)
    if depths is not None:
        y = np.concatenate([y, in_unit(depths[:, None], unit, lambda: depths)], axis=1)
    centre, scale = standards(x)
    z = (x - centre) / scale
    components, variances = leading(z, N_KERNEL)
    domain_components, domain_spread, domain_limit = fit_domain(x, group, sections[0].n_fields)
    points = z @ components.T
    anchor_scale = kernel_scale(points)
    linear, by_kernel, directions, out_of_fold = fit_mean(z, points / anchor_scale, y, group)
    along = directions.along(out_of_fold)
    whose = patients_of(sections) or [""] * len(sections)  # as if of one, which tells of no others
    patients = [p for p, s in zip(whose, sections, strict=True) for _ in range(len(s.spots))]
    effects = patient_effects(y - out_of_fold, patients, unit, has_depth=depths is not None)
    spots = [s.spots for s in sections]
    residual, scores = fit_residual(out_of_fold, y - out_of_fold, spots, effects)
    arrays: dict[str, Any] = {
        "centre": centre,
        "scale": scale,
        "weights": linear.weights,
        "intercept": linear.intercept + by_kernel.intercept,
        "anchors": by_kernel.anchors,
        "anchor_scale": anchor_scale,
        "anchor_weights": by_kernel.weights,
        "components": components,
        "component_scale": _component_scale(variances[:N_COMPONENTS]),
        "mean_centre": directions.centre,
        "mean_components": directions.components,
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
        (`DOMAIN_QUANTILE` of them).
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
    limit = np.quantile(unexplained(left, none, spread), DOMAIN_QUANTILE)
    centre, scale = standards(x)
    return (
        _by_field((x - centre) / scale, n_fields).astype(np.float32),
        spread.astype(np.float32),
        np.array(limit, np.float32),
    )


def _by_field(z: NDArray[np.float64], n_fields: int) -> NDArray[np.float64]:
    """(F, D, W / F) components; of few spots or features half as many, so that something is left."""
    most = min(N_DOMAIN, len(z) // 2, z.shape[1] // n_fields // 2)
    return np.stack([leading(part, most)[0] for part in np.split(z, n_fields, axis=1)])


def fit_residual(
    mean: Array, residual: Array, spots: Sequence[Spots], patient_effect: Array
) -> tuple[Residual, NDArray[np.float32]]:
    """Fit the distribution of out-of-fold residuals.

    Parameters
    ----------
    mean, residual
        (n, G) out-of-fold mean, and what was measured less that.
    spots
        The n spots, by section.
    patient_effect
        (G,) as `patient_effects`.

    Returns
    -------
    The distribution, and (n, K) each spot's scores along its directions, of unit variance.
    """
    marginal = _marginal(mean, residual)
    scores = marginal.scores_of(mean, residual)
    variance, vectors = _correlation(scores)
    deviation = np.sqrt(variance)
    directions = (vectors * deviation).T
    own = np.sqrt(np.maximum(1 - (directions**2).sum(0), 0))
    found = replace(
        marginal,
        directions=directions.astype(np.float32),
        own=own.astype(np.float32),
        shared=_shared(scores, spots),
        patient_effect=patient_effect.astype(np.float32),
    )
    return found, (scores @ vectors / deviation).astype(np.float32)


def patient_effects(
    residual: Array, patients: Sequence[str], unit: str, *, has_depth: bool
) -> Array:
    """(G,) standard deviation over patients of how much more of each gene they have than was predicted.

    What was seen between the patients of training, left out one by one, is added to a prior that counts as much
    as two of them.

    Parameters
    ----------
    residual
        (n, G) out of fold.
    patients
        The n spots' patients.
    unit
        Normalisation of the values.
    has_depth
        Whether the last of the genes is the library size.
    """
    octave = np.log(2) / np.log(normalisation(unit).log_base)  # a factor of two in the unit
    prior = np.full(residual.shape[1], PATIENT_PRIOR * octave)
    if has_depth:
        prior[-1] = DEPTH_PRIOR * octave
    names, place = np.unique(patients, return_inverse=True)
    means = np.array([residual[place == i].mean(0) for i in range(len(names))])
    between = ((means - means.mean(0)) ** 2).sum(0)
    return np.asarray(np.sqrt((2 * prior**2 + between) / (1 + len(names))))


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
            "patient_effect": np.zeros(mean.shape[1]),
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


def _correlation(scores: Array) -> tuple[Array, Array]:
    """Leading variances (K,) and directions (G, K) of the correlation, shrunk as Ledoit and Wolf (2004) do.

    Of standardised scores the shrunk covariance is a correlation, and has their singular vectors: no table of
    genes by genes is needed.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    z = scores - scores.mean(0)
    z /= np.maximum(z.std(0), 1e-6)
    shrinkage = ledoit_wolf_shrinkage(z, assume_centered=True)
    _, singular, vectors = np.linalg.svd(z / np.sqrt(len(z)), full_matrices=False)
    n = min(N_DIRECTIONS, len(singular))
    return (1 - shrinkage) * singular[:n] ** 2 + shrinkage, vectors[:n].T
