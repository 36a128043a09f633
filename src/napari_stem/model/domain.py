"""Whether tissue looks like the training data: per spot, and for a slide before it is predicted.

Embeddings of tissue fill few directions. What a spot's embedding has outside of the leading principal
components of the training spots, their tissue did not show: another focus, stain, magnification or organ.
Within them, tissue may be rare, but it is not foreign. `scripts/domain_comparison.py` measures how well this
tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_LOOKED_AT = 16  # spots of a slide, before a run
LEAST_LOOKED_AT = 3
MOST_LIKE = 0.9  # median distance of a slide; of training sections left out it is 0.87 at most


def unexplained(
    standardised: NDArray[np.floating],
    components: NDArray[np.floating],
    spread: NDArray[np.floating],
) -> NDArray[np.float32]:
    """How much components leave of standardised embeddings.

    The mean fourth power, in units of what they leave of training sections left out: a change that is strong in
    some features tells more than one that is weak in all.

    Parameters
    ----------
    standardised
        (n, W).
    components
        (D, W), orthonormal rows.
    spread
        (W,) root mean square of what is left of each feature.

    Returns
    -------
    (n,).
    """
    rest = standardised - (standardised @ components.T) @ components
    return np.asarray(np.mean((rest / spread) ** 4, axis=1, dtype=np.float64) ** 0.25, np.float32)


def evenly(n_spots: int) -> NDArray[np.intp]:
    """Choose the spots of a slide that are looked at before a run, spread over their order."""
    return np.unique(np.linspace(0, n_spots - 1, min(n_spots, N_LOOKED_AT)).round().astype(np.intp))


def doubt(distance: NDArray[np.float32], model_name: str) -> str | None:
    """Say so where the spots looked at are unlike the training data as a whole.

    Parameters
    ----------
    distance
        (n,) of these, above 1 where unlike; NaN where the model cannot tell.
    model_name
        For the sentence.
    """
    middle = float(np.median(distance)) if len(distance) >= LEAST_LOOKED_AT else 0.0
    if not middle > MOST_LIKE:
        return None
    return (
        f"The slide looks unlike the training data of model '{model_name}' (median distance of "
        f"{len(distance)} spots {middle:.2f}; up to {MOST_LIKE:g} is like it): its maps may be wrong. Check "
        f"focus, stain, tissue and pixel size."
    )
