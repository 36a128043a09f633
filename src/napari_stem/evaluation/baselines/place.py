"""Place alone, no image: what stood there in the other sections of the block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.evaluation.baselines.base import Forecast, Predictor, stacked
from napari_stem.spatial.lattice import nearest_distance_px

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.evaluation.baselines.base import Fitted, Task
    from napari_stem.training.sections import SectionArrays

BANDWIDTHS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0)  # in distances between spots


def place() -> Predictor:
    """Kernel regression (Nadaraya 1964, Watson 1964) of expression on place, sections laid centre on centre.

    It knows nothing of the tissue. Where it does well, sections left out are nearly copies of those trained on,
    and a model's figures say little of another patient. The bandwidth has the smallest squared error when one
    training section at a time (or strip of a single one) is predicted from the others.
    """
    about = "kernel regression on place in the section, no image; bandwidth chosen by leaving out sections"
    return Predictor("place", about, fit)


def fit(train: Sequence[SectionArrays], _task: Task) -> Fitted:
    """Choose the bandwidth, then keep the training spots."""
    from napari_stem.training.sections import groups_of

    xy, group = np.concatenate([_places(s) for s in train]), np.concatenate(groups_of(train))
    y = stacked(train)[1].astype(np.float64)
    errors = dict.fromkeys(BANDWIDTHS, 0.0)
    for held in np.unique(group):
        out, rest = group == held, group != held
        for bandwidth in BANDWIDTHS:
            predicted = smoothed(xy[rest], y[rest], xy[out], bandwidth)
            errors[bandwidth] += float(np.sum((predicted - y[out]) ** 2))
    best = min(errors, key=errors.__getitem__)
    return lambda section: Forecast(smoothed(xy, y, _places(section), best).astype(np.float32))


def smoothed(
    xy: NDArray[np.float64], y: NDArray[np.float64], asked: NDArray[np.float64], bandwidth: float
) -> NDArray[np.float64]:
    """Mean of values (n, G) at (n, 2) round each of (m, 2), with Gaussian weights: (m, G)."""
    from scipy.spatial.distance import cdist
    from scipy.special import softmax

    weights = softmax(-cdist(asked, xy, "sqeuclidean") / (2 * bandwidth**2), axis=1)
    return np.asarray(weights @ y)


def _places(section: SectionArrays) -> NDArray[np.float64]:
    """(n, 2) in distances between spots from the middle of the section's spots."""
    xy_px = np.column_stack([section.spots.x_px, section.spots.y_px]).astype(np.float64)
    return np.asarray((xy_px - xy_px.mean(0)) / (nearest_distance_px(xy_px) or 1.0))
