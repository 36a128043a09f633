"""What a model's card stands beside: ridge, and round it draws of one Gaussian."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.spatial.normalise import possible
from napari_stem.training.mean import fit_ridge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_stem.training.sections import SectionArrays

    Array = NDArray[np.float64]
    # (n, G) means, a generator -> (n, G) residuals, one draw for each spot
    Residuals = Callable[[Array, np.random.Generator], Array]
    # (n, W) embeddings, a seed -> (n, G) mean and (n, G, D) draws
    Drawn = Callable[[NDArray[np.float32], int], tuple[NDArray[np.float32], NDArray[np.float32]]]

N_DRAWS = 64


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
    fitted, out_of_fold = fit_ridge(sections)
    values = np.concatenate([s.values for s in sections]).astype(np.float64)
    draw = fit_residuals(out_of_fold, values - out_of_fold)

    def drawn(
        embedding: NDArray[np.float32], seed: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        rng, mean = np.random.default_rng(seed), fitted(embedding)
        draws = [mean + draw(mean.astype(np.float64), rng) for _ in range(N_DRAWS)]
        return mean, possible(np.stack(draws, axis=-1).astype(np.float32), normalisation)

    return drawn
