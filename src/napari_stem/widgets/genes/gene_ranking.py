"""What genes are sorted by: mean, spread and spatial autocorrelation over the predicted spots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.layers.gene_values import fits_in_memory, open_stored, read_by_gene

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_stem.geometry import Spots
    from napari_stem.results import Prediction

SPOTS_PER_READ = 4096
FEWEST_SPOTS = 10  # for which spatial autocorrelation says anything
MOST_VALUES_UNASKED = 50_000_000  # spots times genes; about a minute of one core


@dataclass(frozen=True)
class GeneMoments:
    """Mean and standard deviation of every gene over the predicted spots.

    Attributes
    ----------
    mean, spread
        (genes,) float64 in the prediction's unit, NaN where nothing is predicted.
    """

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """What one reading of a prediction yields.

    Attributes
    ----------
    moments
        Of every gene.
    by_gene
        (genes, spots) float32 of the mean, or None where it would not fit in memory.
    """

    moments: GeneMoments
    by_gene: NDArray[np.float32] | None


def measure(prediction: Prediction, is_stopped: Callable[[], bool]) -> Measured | None:
    """Read the predicted means once, for the columns of the list and for swift maps.

    Returns
    -------
    None where it was stopped.

    Raises
    ------
    PredictionError
        The prediction is gone, or damaged.
    """
    if not fits_in_memory(prediction):
        moments = _moments_from_disk(prediction, is_stopped)
        return None if moments is None else Measured(moments, None)
    by_gene = read_by_gene(prediction, "mean", is_stopped)
    if by_gene is None:
        return None
    done = prediction.done
    if not done.any():
        nothing = np.full(len(by_gene), np.nan)
        return Measured(GeneMoments(nothing, nothing), by_gene)
    known = by_gene if done.all() else by_gene[:, done]
    moments = GeneMoments(known.mean(axis=1, dtype=np.float64), known.std(axis=1, dtype=np.float64))
    return Measured(moments, by_gene)


def is_quick(prediction: Prediction) -> bool:
    """Whether spatial autocorrelation of all genes may be computed without being asked for."""
    return len(prediction.spots) * len(prediction.genes) <= MOST_VALUES_UNASKED


def spatial_autocorrelation(
    by_gene: NDArray[np.float32],
    spots: Spots,
    done: NDArray[np.bool_],
    is_stopped: Callable[[], bool],
) -> NDArray[np.float64] | None:
    """Moran's I of every gene over the predicted spots.

    Parameters
    ----------
    by_gene
        (genes, spots) float32.
    spots
        Where they lie.
    done
        (spots,) which of them are predicted.
    is_stopped
        Asked every few hundred genes.

    Returns
    -------
    (genes,) float64, NaN for genes that are the same everywhere and where spots are too few; None where
    it was stopped.
    """
    if int(done.sum()) < FEWEST_SPOTS:
        return np.full(len(by_gene), np.nan)
    from napari_stem.spatial_analysis.autocorrelation import morans_of, neighbour_graph

    graph = neighbour_graph(spots.take(np.flatnonzero(done)))
    found = morans_of(by_gene[:, done].T, graph, is_stopped)
    return None if found is None else np.asarray(found[0])


def _moments_from_disk(
    prediction: Prediction, is_stopped: Callable[[], bool]
) -> GeneMoments | None:
    """Add up block by block what does not fit in memory."""
    stored = open_stored(prediction)["X"]
    n, total, squares = 0, np.zeros(stored.shape[1]), np.zeros(stored.shape[1])
    for start in range(0, stored.shape[0], SPOTS_PER_READ):
        if is_stopped():
            return None
        block = stored[start : start + SPOTS_PER_READ].astype(np.float64)
        block = block[np.isfinite(block).all(axis=1)]
        n += len(block)
        total += block.sum(axis=0)
        squares += np.square(block).sum(axis=0)
    if not n:
        return GeneMoments(np.full(len(total), np.nan), np.full(len(total), np.nan))
    mean = total / n
    return GeneMoments(mean, np.sqrt(np.maximum(squares / n - mean**2, 0)))
