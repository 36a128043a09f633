"""Whether tissue looks like the training data: per spot, and for a slide before it is predicted.

Embeddings of tissue fill few directions. What a spot's embedding has outside of the leading principal
components of the training spots, their tissue did not show: another focus, stain, magnification or organ.
Within them, tissue may be rare, but it is not foreign. Each field of view has components of its own, so that a
common sight in one does not excuse a foreign one in another. `scripts/domain_comparison.py` measures how well
this tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_LOOKED_AT = 16  # spots of a slide, before a run
ENOUGH_OF_FEW = 9  # of those round a click, which are alike and wait for it
LEAST_LOOKED_AT = 3
MOST_LIKE = 0.85  # median distance of a slide; of training sections left out it is 0.80 at most


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
        (n, W), W = F w: one field of view after the other.
    components
        (F, D, w), orthonormal rows for each field of view.
    spread
        (W,) root mean square of what is left of each feature.

    Returns
    -------
    (n,).
    """
    rest = beyond(components, standardised) / spread
    return np.asarray(np.mean(rest**4, axis=1, dtype=np.float64) ** 0.25, np.float32)


def beyond(
    components: NDArray[np.floating], standardised: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Take from (n, F w) standardised embeddings what (F, D, w) components explain: (n, F w)."""
    n_fields, _, width = components.shape
    by_field = standardised.reshape(-1, n_fields, width).swapaxes(0, 1)
    rest = by_field - (by_field @ components.swapaxes(1, 2)) @ components
    return np.asarray(rest.swapaxes(0, 1).reshape(standardised.shape))


def evenly(n_spots: int) -> NDArray[np.intp]:
    """Choose the spots of a slide that are looked at before a run, spread over their order; a third of few."""
    n = min(n_spots, N_LOOKED_AT, max(ENOUGH_OF_FEW, n_spots // 3))
    return np.unique(np.linspace(0, n_spots - 1, n).round().astype(np.intp))


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
