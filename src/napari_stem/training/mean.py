"""The mean of a spot's expression: ridge and a kernel along the leading directions of the values.

And what a model's card stands beside: ridge alone, and round it draws of one Gaussian.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.model.head import kernel
from napari_stem.spatial.normalise import possible
from napari_stem.training.sections import SectionArrays, groups_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    # (n, G) means, a generator -> (n, G) residuals, one draw for each spot
    Residuals = Callable[[Array, np.random.Generator], Array]
    # (n, W) embeddings, a seed -> (n, G) mean and (n, G, D) draws
    Drawn = Callable[[NDArray[np.float32], int], tuple[NDArray[np.float32], NDArray[np.float32]]]

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # where a spot's likeness to itself is 1
N_DIRECTIONS = 32  # of the values: what is beyond them is noise
N_KERNEL = 64  # leading components of the embedding that a kernel compares spots by
EVEN = 0.5  # how strongly shares are drawn to equal ones: members err alike, and data hardly tell them apart
N_DRAWS = 64  # round ridge
MOST_ANCHORS = 2000  # spots that a kernel compares with: a share of a large training set


@dataclass(frozen=True)
class Regression:
    """A linear function of N inputs, or of likeness to N anchors with D coordinates; R outputs."""

    # weights, intercept: (N, R), (R,)
    weights: Array
    intercept: Array
    anchors: Array | None = None  # (N, D); None where the inputs themselves are weighed

    def __call__(self, x: Array) -> Array:
        """(n, N) or, with anchors, (n, D) -> (n, R)."""
        inputs = x if self.anchors is None else kernel(x, self.anchors)
        return inputs @ self.weights + self.intercept


@dataclass(frozen=True)
class Directions:
    """R leading directions of values about a centre (G,), to which genes that vary much count more."""

    centre: Array
    # components, onto: (R, G), (G, R): from places along the directions to values, and back
    components: Array
    onto: Array

    @classmethod
    def of(cls, y: Array, most: int = N_DIRECTIONS) -> Directions:
        """Find those of (n, G) values: principal components, each gene weighed by its spread."""
        from sklearn.decomposition import PCA

        spread = np.maximum(y.std(0), 1e-6)
        found = PCA(min(most, len(y) - 1, y.shape[1]), random_state=0).fit(y * spread)
        return cls(y.mean(0), found.components_ / spread, found.components_.T * spread[:, None])

    def along(self, y: Array) -> Array:
        """(n, G) -> (n, R)."""
        return (y - self.centre) @ self.onto

    def back(self, along: Array) -> Array:
        """Places along the first of them, (n, R or fewer) -> (n, G)."""
        return self.centre + along @ self.components[: along.shape[1]]


def kernel_scale(coordinates: Array) -> float:
    """Mean distance of training spots (n, D), at which likeness shall have fallen to 1/e."""
    from scipy.spatial.distance import pdist

    some = coordinates[:: -(-len(coordinates) // MOST_ANCHORS)]
    return max(float(pdist(some).mean()), 1e-6)


def fit_mean(
    z: Array, points: Array, y: Array, group: NDArray[np.int64]
) -> tuple[Regression, Regression, Directions, Array]:
    """Fit the mean: ridge and kernel along the leading directions of the values, each with its own penalty.

    Few directions can be told from an image, the first of them far better than the others: one penalty for
    all holds the first back or lets noise into the rest. Penalties, and how much is taken of ridge and of
    kernel (stacking, Breiman 1996), are those that help on groups left out.

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
    Functions of the standardised embedding and of its kernel coordinates, whose sum is a spot's place along the
    directions, and these; fitted on all. And (n, G) each group by what the others fit.
    """
    left_out = [_LeftOut.of((z, points), y, group == held) for held in np.unique(group)]
    best = [_best(left_out, part) for part in range(len(_PARTS))]
    column = np.arange(len(best[0]))
    guesses = [
        [each.guesses[part][best[part], :, column].T for each in left_out]
        for part in range(len(_PARTS))
    ]
    truth = np.concatenate([each.truth[:, column] for each in left_out])
    shares = _shares([np.concatenate(parts) for parts in guesses], truth)
    out_of_fold = np.empty_like(y)
    for each, *parts in zip(left_out, *guesses, strict=True):
        along = sum(share * part for share, part in zip(shares, parts, strict=True))
        out_of_fold[each.rows] = each.directions.back(np.asarray(along))
    directions = Directions.of(y, len(column))
    places = directions.along(y)
    linear, by_kernel = (
        _picked(fit, x, places, which, share)
        for fit, x, which, share in zip(_PARTS, (z, points), best, shares, strict=True)
    )
    return linear, by_kernel, directions, out_of_fold


def fit_ridge(
    sections: Sequence[SectionArrays],
) -> tuple[Callable[[NDArray[np.float32]], NDArray[np.float32]], NDArray[np.float64]]:
    """Fit ridge alone, to compare with; the penalty is that which is best on sections left out.

    Returns
    -------
    A function, (n, W) embeddings -> (n, G) values, and (n, G) the training spots out of fold.
    """
    x, y, group = stacked(sections)
    centre, scale = standards(x)
    z = (x - centre) / scale
    penalty, out_of_fold = best_penalty(z, y, group)
    fitted = _fit_ridge(penalty, z, y)

    def mean(embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(fitted((embedding - centre) / scale), np.float32)

    return mean, out_of_fold


def gaussian_residuals(_mean: Array, residual: Array) -> Residuals:
    """Fit residuals (n, G) by one covariance, shrunken as Ledoit and Wolf (2004) do, whatever the mean."""
    from sklearn.covariance import LedoitWolf

    covariance = LedoitWolf(assume_centered=True).fit(residual).covariance_
    root = np.linalg.cholesky(covariance + 1e-9 * np.eye(len(covariance)))
    return lambda asked, rng: rng.standard_normal(asked.shape) @ root.T


def round_ridge(
    sections: Sequence[SectionArrays],
    normalisation: str,
    fit_residuals: Callable[[Array, Array], Residuals] = gaussian_residuals,
) -> Drawn:
    """Fit ridge, and what is drawn round it on its residuals out of fold, as those of a new slide are.

    ``fit_residuals`` makes of (n, G) out-of-fold means and residuals what draws them; draws are such as a
    measurement in this normalisation could give.
    """
    fitted, guessed = fit_ridge(sections)
    draw = fit_residuals(guessed, stacked(sections)[1] - guessed)

    def drawn(
        embedding: NDArray[np.float32], seed: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        rng, mean = np.random.default_rng(seed), fitted(embedding)
        draws = [mean + draw(mean.astype(np.float64), rng) for _ in range(N_DRAWS)]
        return mean, possible(np.stack(draws, axis=-1).astype(np.float32), normalisation)

    return drawn


def out_of_fold(x: Array, y: Array, group: NDArray[np.int64]) -> Array:
    """Predict (n, G) values from (n, W) embeddings of the other groups."""
    centre, scale = standards(x)
    z = (x - centre) / scale
    points = z @ leading(z, N_KERNEL)[0].T
    return fit_mean(z, points / kernel_scale(points), y, group)[-1]


def standards(x: NDArray[np.floating]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Means and standard deviations (W,) of embeddings (n, W); what hardly varies is not blown up."""
    return x.mean(0), np.asarray(np.maximum(x.std(0), 1e-6))


def leading(z: NDArray[np.float64], most: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Principal components (D, W) of standardised embeddings and the variances along them (D,)."""
    from sklearn.decomposition import PCA

    n_most = len(z) - 1  # a centred table has no more components than this
    found = PCA(min(most, n_most, z.shape[1]), svd_solver="full").fit(z)
    return np.asarray(found.components_), np.asarray(found.explained_variance_)


def stacked(sections: Sequence[SectionArrays]) -> tuple[Array, Array, NDArray[np.int64]]:
    """Embeddings (n, W), values (n, G) and groups (n,) of some sections, one below the other."""
    x = np.concatenate([s.embedding for s in sections]).astype(np.float64)
    y = np.concatenate([s.values for s in sections]).astype(np.float64)
    return x, y, np.concatenate(groups_of(sections))


def best_penalty(z: Array, y: Array, group: NDArray[np.int64]) -> tuple[float, Array]:
    """Penalty of the ridge with the smallest out-of-fold error, and the out-of-fold values it gives."""
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

    folds = {"groups": group, "cv": LeaveOneGroupOut()}
    found = {
        # of one gene scikit-learn gives a vector
        penalty: cross_val_predict(_ridge(penalty, z), z, y, **folds).reshape(y.shape)
        for penalty in PENALTIES
    }
    penalty = min(found, key=lambda each: float(np.mean((y - found[each]) ** 2)))
    return penalty, found[penalty]


def _shares(members: Sequence[Array], truth: Array) -> Array:
    """How much of each member is taken, none negative: least squares out of fold."""
    from scipy.optimize import nnls

    about = np.stack([member.ravel() for member in members], axis=1)
    square, product = about.T @ about, about.T @ truth.ravel()
    even = EVEN * max(np.trace(square) / len(square), 1e-9)
    root = np.linalg.cholesky(square + even * np.eye(len(square)))
    shares, _ = nnls(root.T, np.linalg.solve(root, product + even / len(square)))
    return np.asarray(shares)


def _ridge(penalty: float, z: Array) -> Any:
    """Ridge of (n, W) standardised embeddings, whose likeness is their product over W."""
    from sklearn.linear_model import Ridge

    return Ridge(alpha=penalty * z.shape[1])


def _fit_ridge(penalty: float, z: Array, y: Array) -> Regression:
    fitted = _ridge(penalty, z).fit(z, y)
    # of one gene scikit-learn gives a vector and a number
    return Regression(np.atleast_2d(fitted.coef_).T, np.atleast_1d(fitted.intercept_))


def _fit_kernel(penalty: float, points: Array, y: Array) -> Regression:
    from sklearn.kernel_ridge import KernelRidge

    some = slice(None, None, -(-len(y) // MOST_ANCHORS))
    centre, anchors = y.mean(0), points[some]
    fitted = KernelRidge(alpha=penalty, kernel="precomputed")
    fitted.fit(kernel(anchors, anchors), y[some] - centre)
    return Regression(fitted.dual_coef_, centre, anchors)


_PARTS = (_fit_ridge, _fit_kernel)


@dataclass(frozen=True)
class _LeftOut:
    """A group as the others fit it; directions are theirs too: those that saw a spot flatter its genes."""

    rows: NDArray[np.bool_]  # (n,) which spots it is
    directions: Directions  # R of them
    truth: Array  # (m, R) places of its m spots along them
    guesses: tuple[Array, ...]  # (penalties, m, R) for each of `_PARTS`

    @classmethod
    def of(cls, inputs: Sequence[Array], y: Array, rows: NDArray[np.bool_]) -> _LeftOut:
        """Fit the others with every penalty."""
        directions = Directions.of(y[~rows])
        along = directions.along(y[~rows])
        guesses = tuple(
            np.stack([fit(penalty, x[~rows], along)(x[rows]) for penalty in PENALTIES])
            for fit, x in zip(_PARTS, inputs, strict=True)
        )
        return cls(rows, directions, directions.along(y[rows]), guesses)


def _best(left_out: Sequence[_LeftOut], part: int) -> NDArray[np.intp]:
    """(R,) which penalty makes the smallest error along each direction."""
    n = min(len(each.directions.components) for each in left_out)
    errors = [((each.guesses[part] - each.truth)[..., :n] ** 2).sum(1) for each in left_out]
    return np.asarray(np.argmin(sum(errors), axis=0))


def _picked(
    fit: Callable[[float, Array, Array], Regression],
    x: Array,
    along: Array,
    which: NDArray[np.intp],
    share: float,
) -> Regression:
    """Fit each direction with its penalty, and take a share of it."""
    fitted, column = [fit(penalty, x, along) for penalty in PENALTIES], np.arange(len(which))
    return replace(
        fitted[0],
        weights=share * np.stack([each.weights for each in fitted])[which, :, column].T,
        intercept=share * np.stack([each.intercept for each in fitted])[which, column],
    )
