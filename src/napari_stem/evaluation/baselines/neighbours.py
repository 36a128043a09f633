"""Retrieval: what was measured where the tissue looked most alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.evaluation.baselines.base import Forecast, Predictor, stacked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.evaluation.baselines.base import Fitted, Task
    from napari_stem.training.sections import SectionArrays

CHOICES_OF_K = (5, 10, 20, 40, 80)


def knn() -> Predictor:
    """Mean of the k most alike training spots; the neighbours' own values are its draws.

    Embeddings are standardised, distances Euclidean. k has the smallest squared error when one
    training section at a time (or strip of a single one) is retrieved from the others.
    """
    about = "mean of the k most alike training spots, k chosen by leaving out training sections"
    return Predictor("knn", about, fit)


def fit(train: Sequence[SectionArrays], _task: Task) -> Fitted:
    """Choose k, then keep the training spots."""
    from napari_stem.training.sections import groups_of

    x, y = stacked(train)
    k = best_k(x, y, np.concatenate(groups_of(train)))

    def forecast(section: SectionArrays) -> Forecast:
        draws = np.moveaxis(y[_nearest(x, section.embedding, k)], 1, 2)  # (n, G, k)
        return Forecast(draws.mean(-1), draws if k > 1 else None, is_sampled=False)

    return forecast


def best_k(x: NDArray[np.float32], y: NDArray[np.float32], group: NDArray[np.int64]) -> int:
    """Choose k by the squared error of each group's spots, retrieved from the other groups.

    Parameters
    ----------
    x, y
        (n, W) embeddings and (n, G) values.
    group
        (n,) whose spots never answer for each other.
    """
    held = np.unique(group)
    fewest = min(int((group != g).sum()) for g in held)
    choices = [k for k in CHOICES_OF_K if k <= fewest] or [fewest]
    errors = np.zeros(len(choices))
    for g in held:
        rest, out = group != g, group == g
        found = y[rest][_nearest(x[rest], x[out], choices[-1])]  # (n, k, G), nearest first
        for i, k in enumerate(choices):
            errors[i] += np.sum((found[:, :k].mean(axis=1) - y[out]) ** 2, dtype=np.float64)
    return choices[int(np.argmin(errors))]


def _nearest(x: NDArray[np.float32], asked: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """(n, k) rows of ``x`` most alike each of ``asked``, the nearest first."""
    from sklearn.neighbors import NearestNeighbors

    centre, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    known = NearestNeighbors(n_neighbors=k).fit((x - centre) / scale)
    return np.asarray(known.kneighbors((asked - centre) / scale, return_distance=False))
