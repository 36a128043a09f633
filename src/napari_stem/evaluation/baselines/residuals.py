"""What a diffusion model has to beat: a linear mean, and residuals from a covariance or a hat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.evaluation.baselines.base import Forecast, Predictor
from napari_stem.training.rival import N_DRAWS, gaussian_residuals, round_ridge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_stem.evaluation.baselines.base import Fitted, Task
    from napari_stem.training.rival import Array, Residuals
    from napari_stem.training.sections import SectionArrays

N_BINS = 20


def gaussian() -> Predictor:
    """Ridge, and residuals from a Gaussian whose covariance is shrunken as Ledoit and Wolf (2004) do."""
    about = f"ridge and {N_DRAWS} draws of a Gaussian residual, full covariance (Ledoit-Wolf)"
    return _with_residuals("gaussian", about, gaussian_residuals)


def bootstrap() -> Predictor:
    """Ridge, and whole residual vectors of training spots, resampled, in units of their spread."""
    about = f"ridge and {N_DRAWS} residual vectors of training spots, scaled by their spread"
    return _with_residuals("bootstrap", about, bootstrapped_residuals)


def bootstrapped_residuals(mean: Array, residual: Array) -> Residuals:
    """Keep residuals (n, G) in units of their spread at the (n, G) out-of-fold mean."""
    edges = np.quantile(mean, np.linspace(0, 1, N_BINS + 1))
    bins = np.clip(np.searchsorted(edges, mean.ravel()) - 1, 0, N_BINS - 1)
    counted = np.maximum(np.bincount(bins, minlength=N_BINS), 1)
    centre = np.bincount(bins, mean.ravel(), N_BINS) / counted
    spread = np.sqrt(np.bincount(bins, residual.ravel() ** 2, N_BINS) / counted) + 1e-3
    unit = residual / np.interp(mean, centre, spread)

    def draw(asked: Array, rng: np.random.Generator) -> Array:
        return unit[rng.integers(len(unit), size=len(asked))] * np.interp(asked, centre, spread)

    return draw


def _with_residuals(
    name: str, about: str, fit_residuals: Callable[[Array, Array], Residuals]
) -> Predictor:
    def fit(train: Sequence[SectionArrays], task: Task) -> Fitted:
        drawn = round_ridge(train, task.normalisation, fit_residuals)
        return lambda section: Forecast(*drawn(section.embedding, task.seed))

    return Predictor(name, about, fit, seeded=True, settings={"n_draws": N_DRAWS})
