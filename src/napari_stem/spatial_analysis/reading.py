"""What analyses read of a prediction's finished spots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.results import Prediction

MOST_BYTES = 1_000_000_000  # of draws held at a time


def predicted_means(
    prediction: Prediction, genes: Sequence[str] | None = None
) -> NDArray[np.float32]:
    """(n_done, genes) predicted means; of all genes in the prediction's order where none are given.

    Raises
    ------
    UnknownGeneError
        A gene is not predicted.
    PredictionError
        The prediction is gone, or damaged.
    """
    return prediction.rows(np.flatnonzero(prediction.done), genes=genes)


def independent_draws(prediction: Prediction, most: int) -> NDArray[np.float16]:
    """Read single draws that do not depend on each other: every second one, as the others mirror them.

    Parameters
    ----------
    prediction
        One that keeps draws.
    most
        How many at most; fewer where they would not fit in memory.

    Returns
    -------
    (n_done, genes, draws) float16.

    Raises
    ------
    PredictionError
        No draws were kept, or the prediction is damaged.
    """
    done = np.flatnonzero(prediction.done)
    n_fitting = MOST_BYTES // max(1, 2 * len(done) * len(prediction.genes))
    n_draws = min(most, (prediction.n_kept_draws + 1) // 2, max(2, n_fitting))
    return prediction.draws(done, which=slice(0, 2 * n_draws, 2))
