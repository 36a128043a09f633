"""What a diffusion model has to beat: a linear mean, and residuals from a covariance or a hat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.evaluation.baselines.base import Forecast, Predictor, stacked
from napari_stem.spatial.normalise import possible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_stem.evaluation.baselines.base import Fitted, Task
    from napari_stem.training.sections import SectionArrays

    # (n, G) means, a generator -> (n, G) residuals, one draw for each spot
    Residuals = Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]]

N_DRAWS = 64
N_BINS = 20


def gaussian() -> Predictor:
    """Ridge, and residuals from a Gaussian whose covariance is shrunken as Ledoit and Wolf (2004) do."""
    about = f"ridge and {N_DRAWS} draws of a Gaussian residual, full covariance (Ledoit-Wolf)"
    return _with_residuals("gaussian", about, gaussian_residuals)


def bootstrap() -> Predictor:
    """Ridge, and whole residual vectors of training spots, resampled, in units of their spread."""
    about = f"ridge and {N_DRAWS} residual vectors of training spots, scaled by their spread"
    return _with_residuals("bootstrap", about, bootstrapped_residuals)


def gaussian_residuals(mean: NDArray[np.float64], residual: NDArray[np.float64]) -> Residuals:
    """Fit residuals (n, G) by one covariance, whatever the (n, G) out-of-fold mean."""
    from sklearn.covariance import LedoitWolf

    covariance = LedoitWolf(assume_centered=True).fit(residual).covariance_

    def draw(asked: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
        zero = np.zeros(asked.shape[1])
        return rng.multivariate_normal(zero, covariance, len(asked), method="cholesky")

    return draw


def bootstrapped_residuals(mean: NDArray[np.float64], residual: NDArray[np.float64]) -> Residuals:
    """Keep residuals (n, G) in units of their spread at the (n, G) out-of-fold mean."""
    edges = np.quantile(mean, np.linspace(0, 1, N_BINS + 1))
    bins = np.clip(np.searchsorted(edges, mean.ravel()) - 1, 0, N_BINS - 1)
    counted = np.maximum(np.bincount(bins, minlength=N_BINS), 1)
    centre = np.bincount(bins, mean.ravel(), N_BINS) / counted
    spread = np.sqrt(np.bincount(bins, residual.ravel() ** 2, N_BINS) / counted) + 1e-3
    unit = residual / np.interp(mean, centre, spread)

    def draw(asked: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
        return unit[rng.integers(len(unit), size=len(asked))] * np.interp(asked, centre, spread)

    return draw


def _with_residuals(
    name: str,
    about: str,
    fit_residuals: Callable[[NDArray[np.float64], NDArray[np.float64]], Residuals],
) -> Predictor:
    """Make a predictor of ridge's mean and residuals that were out of fold, as those of a new slide are."""

    def fit(train: Sequence[SectionArrays], task: Task) -> Fitted:
        from napari_stem.training.linear import fit_linear

        fitted = fit_linear(train)
        draw = fit_residuals(fitted.mean, stacked(train)[1] - fitted.mean)

        def forecast(section: SectionArrays) -> Forecast:
            rng = np.random.default_rng(task.seed)
            mean = fitted.head.mean(section.embedding).astype(np.float64)
            draws = np.stack([mean + draw(mean, rng) for _ in range(N_DRAWS)], axis=-1)
            return Forecast(
                mean.astype(np.float32), possible(draws.astype(np.float32), task.normalisation)
            )

        return forecast

    return Predictor(name, about, fit, seeded=True, settings={"n_draws": N_DRAWS})
