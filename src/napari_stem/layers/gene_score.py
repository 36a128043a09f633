"""The score of a gene set: one value per spot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import PredictionError
from napari_stem.layers.colours import NARROWEST

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


@dataclass(frozen=True)
class GeneScore:
    """A score, and what it rests on.

    Attributes
    ----------
    values
        (n_spots,) float32, NaN where nothing is predicted.
    n_used
        Genes that vary over the slide, whose z-scores were averaged.
    """

    values: NDArray[np.float32]
    n_used: int


def mean_z_score(genes: Iterable[NDArray[np.float32]]) -> GeneScore:
    """Mean over genes of how many standard deviations a spot lies above the slide's mean.

    Parameters
    ----------
    genes
        Values of one gene after the other, each (n_spots,) float; NaN where nothing is predicted.

    Raises
    ------
    PredictionError
        No gene of the set varies over the slide.
    """
    total, n_used = np.zeros(0), 0
    for values in genes:
        exact = values.astype(np.float64)
        known = exact[np.isfinite(exact)]
        spread = float(known.std()) if known.size else 0.0
        if spread < NARROWEST:
            continue
        z_score = (exact - known.mean()) / spread
        total = z_score if n_used == 0 else total + z_score
        n_used += 1
    if not n_used:
        raise PredictionError(
            "None of these genes varies over the predicted spots, so they have no score; choose others."
        )
    return GeneScore((total / n_used).astype(np.float32), n_used)
