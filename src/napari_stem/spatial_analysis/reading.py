"""Values of the finished spots, read from disk by row: never more than what is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import PredictionError, UnknownGeneError
from napari_stem.io import DAMAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.results import Prediction

SPOTS_PER_READ = 1024
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
    stored = _stored(prediction, "X")
    return _rows(prediction, stored, _columns(prediction, genes))


def n_kept_draws(prediction: Prediction) -> int:
    """How many draws the prediction keeps of every spot and gene."""
    stored = _stored(prediction, "obsm/draws")
    return 0 if stored is None else int(stored.shape[2])


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
    stored = _stored(prediction, "obsm/draws")
    if stored is None:
        raise PredictionError(
            f"{prediction.path} keeps no single samples; predict again and keep them."
        )
    n_fitting = MOST_BYTES // max(1, 2 * int(prediction.done.sum()) * len(prediction.genes))
    n_draws = min(most, (stored.shape[2] + 1) // 2, max(2, n_fitting))
    return _rows(prediction, stored, (slice(None), slice(0, 2 * n_draws, 2)))


def _columns(prediction: Prediction, genes: Sequence[str] | None) -> tuple[Any, ...]:
    if genes is None:
        return (slice(None),)
    place = {gene: i for i, gene in enumerate(prediction.genes)}
    absent = [gene for gene in genes if gene not in place]
    if absent:
        raise UnknownGeneError(f"This prediction has no gene '{absent[0]}'.")
    return (np.array([place[gene] for gene in genes], dtype=np.int64),)


def _stored(prediction: Prediction, name: str) -> Any:
    import zarr

    try:
        group = zarr.open_group(prediction.path, mode="r", use_consolidated=False)
        return group.get(name)
    except DAMAGE as error:
        raise _damaged(prediction) from error


def _rows(prediction: Prediction, stored: Any, columns: tuple[Any, ...]) -> NDArray[Any]:
    """Finished rows of an array, block by block."""
    blocks = []
    try:
        for start in range(0, len(prediction.spots), SPOTS_PER_READ):
            done = prediction.done[start : start + SPOTS_PER_READ]
            if done.any():
                block = np.asarray(stored[start : start + SPOTS_PER_READ])
                blocks.append(block[done][:, *columns])
        return np.concatenate(blocks)
    except DAMAGE as error:
        raise _damaged(prediction) from error


def _damaged(prediction: Prediction) -> PredictionError:
    return PredictionError(f"{prediction.path} is gone or damaged; run the prediction again.")
