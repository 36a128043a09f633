"""Which spots are neighbours, and how alike neighbours are: Moran's I of every gene."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import PredictionError
from napari_stem.geometry import Mpp
from napari_stem.metrics import central_interval
from napari_stem.progress import Poll, Progress, go_on, silent
from napari_stem.spatial.lattice import HEXAGONAL_ROW

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from napari_stem.geometry import Spots
    from napari_stem.results import Prediction

_LOGGER = "spatialdata._logging"  # through which squidpy speaks too


def squidpy_without_chatter() -> Any:
    """Import squidpy, and let it speak of nothing less than a warning from now on."""
    import squidpy

    logging.getLogger(_LOGGER).setLevel(logging.WARNING)
    return squidpy


N_NEIGHBOURS_OTHER = 6
SQUARENESS = 0.1  # how far rows and columns may be from equal steps at right angles
# median distance from its node, in pitches, beyond which spots lie on another lattice
MISFIT = 0.25
THINNED = 0.75  # of the spots' pitch, below which a step leads to a place that is left out
# of a column and a row, in pitches: square, and hexagonal as Visium's
STEPS = ((1.0, 1.0), (0.5, HEXAGONAL_ROW))


def neighbour_graph(spots: Spots) -> csr_matrix:
    """Graph of neighbouring spots, by squidpy.

    Neighbours are the four beside a spot on a square lattice, the six on a hexagonal one, else the six nearest.
    (n, n) CSR of zeros and ones; a spot without neighbours has an empty row.
    """
    import anndata

    sq = squidpy_without_chatter()
    xy_um = (spots if spots.mpp else replace(spots, mpp=Mpp.square(1.0))).xy_um
    table = anndata.AnnData(obsm={"spatial": xy_um})
    found = (_nodes(spots, xy_um, steps) for steps in STEPS)
    nodes = next((nodes for nodes in found if nodes is not None), None)
    if nodes is not None:
        table.obsm["spatial"] = nodes
        sq.gr.spatial_neighbors_radius(table, radius=1.01)
    else:
        sq.gr.spatial_neighbors_knn(table, n_neighs=min(N_NEIGHBOURS_OTHER, len(spots) - 1))
    return table.obsp["spatial_connectivities"]


def _nodes(
    spots: Spots, xy_um: NDArray[np.float64], steps: tuple[float, float]
) -> NDArray[np.float64] | None:
    """(n, 2) where spots lie on a lattice, neighbours exactly one apart; None where they lie on another.

    ``steps`` are those of its columns and rows, which must be as long as that on the slide and at right angles,
    and not so short that spots were left out between any two.
    """
    nodes = np.column_stack([spots.array_col, spots.array_row]) * np.array(steps)
    design = np.column_stack([nodes, np.ones(len(spots))])
    fitted, *_ = np.linalg.lstsq(design, xy_um, rcond=None)
    col_um, row_um, _ = fitted
    lengths = float(np.hypot(*col_um)), float(np.hypot(*row_um))
    stray_um = np.linalg.norm(design @ fitted - xy_um, axis=1)
    fits = (
        min(lengths) > THINNED * spots.pitch_um
        and abs(lengths[0] / lengths[1] - 1) < SQUARENESS
        and abs(float(col_um @ row_um)) < SQUARENESS * lengths[0] * lengths[1]
        and float(np.median(stray_um)) < MISFIT * min(lengths)
        and len(np.unique(nodes, axis=0)) == len(spots)
    )
    return nodes if fits else None


COLUMNS_PER_STEP = 4096  # between two looks at whether to stop
MOST_VALUES = 30_000_000  # of draws held at a time
FEWEST_SPOTS = 10  # of which spatial analysis says anything


def require_spots(n_done: int) -> None:
    """Refuse to analyse a prediction of too few spots.

    PredictionError: fewer than ten are done.
    """
    if not n_done:
        raise PredictionError("The prediction has no finished spot yet; wait for it, or resume it.")
    if n_done < FEWEST_SPOTS:
        raise PredictionError(
            f"Spatial analysis needs {FEWEST_SPOTS} predicted spots; there are {n_done}: finish the run, or "
            f"predict a larger region."
        )


def morans_i(
    prediction: Prediction, genes: Sequence[str] | None = None, progress: Progress = silent
) -> pd.DataFrame:
    """Moran's I of samples, as a measurement would have it, and of their mean, which is smoother than any.

    Spots of the prediction that are not done, or have no neighbour that is, are left out. Without ``genes``:
    all. What ``progress`` raises ends the work.

    Returned is a table by gene, in the order given. ``I``: mean over the samples. ``I_q05``, ``I_q95``: ends of
    their 90% interval (`central_interval`). ``I_of_mean``: of the predicted mean. ``n_samples``: how many were
    kept; where none were, ``I`` is that of the mean and there is no interval. ``p``: one-sided and under
    normality (Cliff and Ord 1981), of the median sample; ``fdr``: Benjamini-Hochberg over these genes. NaN for
    what is the same everywhere. The predictions of neighbouring spots share tissue within the model's field of
    view, so they are alike to begin with: a small ``p`` says little, the order of genes says more.

    PredictionError: fewer than ten spots are done, or lie side by side; a gene is not predicted, or the
    prediction is damaged.
    """
    import pandas as pd
    from scipy.stats import false_discovery_control

    chosen = tuple(prediction.genes if genes is None else genes)
    done = np.flatnonzero(prediction.done)
    require_spots(len(done))
    with_neighbours, weights = _weights(neighbour_graph(prediction.spots.take(done)))
    if len(with_neighbours) < FEWEST_SPOTS:
        raise PredictionError(
            f"Spatial autocorrelation needs {FEWEST_SPOTS} predicted spots side by side; there are "
            f"{len(with_neighbours) or 'none'} yet: finish the run."
        )
    done = done[with_neighbours]
    of_mean = _morans(prediction.rows(done, genes=chosen), weights)
    n_samples = prediction.n_kept_draws
    samples = of_mean[:, np.newaxis]
    if n_samples:
        step = max(1, MOST_VALUES // (len(done) * n_samples))
        parts = []
        for start in range(0, len(chosen), step):
            progress("Computing Moran's I", start, len(chosen))
            draws = prediction.draws(done, chosen[start : start + step]).astype(np.float32)
            parts.append(_morans(draws.reshape(len(done), -1), weights).reshape(-1, n_samples))
        samples = np.concatenate(parts)
    table = _summed_up(samples, has_interval=n_samples > 0)
    table.insert(3, "I_of_mean", of_mean)
    table.insert(4, "n_samples", n_samples)
    table["p"] = _p_values(table.pop("median").to_numpy(), weights)
    known = table["p"].notna()
    table["fdr"] = np.nan
    if known.any():
        table.loc[known, "fdr"] = false_discovery_control(table.loc[known, "p"].clip(0, 1))
    return table.set_index(pd.Index(chosen, name="gene"))


def predicted_means(
    prediction: Prediction, genes: Sequence[str] | None = None
) -> NDArray[np.float32]:
    """(n_done, genes) predicted means; of all genes in the prediction's order where none are given.

    UnknownGeneError: a gene is not predicted. PredictionError: the prediction is gone, or damaged.
    """
    return prediction.rows(np.flatnonzero(prediction.done), genes=genes)


def _summed_up(samples: NDArray[np.float64], *, has_interval: bool) -> pd.DataFrame:
    """Mean, interval and median of (genes, samples), of which those without variation are left out."""
    import pandas as pd

    rows = [row[np.isfinite(row)] for row in samples]
    ends = [
        central_interval(row, 0.9) if has_interval and len(row) else (np.nan, np.nan)
        for row in rows
    ]
    q05, q95 = np.array(ends, dtype=float).reshape(-1, 2).T
    told = pd.DataFrame(np.where(np.isfinite(samples), samples, np.nan))
    mean, median = told.mean(axis=1), told.median(axis=1)
    return pd.DataFrame({"I": mean, "I_q05": q05, "I_q95": q95, "median": median})


def morans_of(
    values: NDArray[np.float32], graph: csr_matrix, poll: Poll = go_on
) -> NDArray[np.float64]:
    """Moran's I of spots that have neighbours, whose weights add up to one.

    Values are (spots, columns), finite; the graph is as of `neighbour_graph`. ``poll`` is called every few
    thousand columns, and may raise to stop.

    Returns (columns,) float64, NaN for those that are the same everywhere, and for all where no spots are
    neighbours.
    """
    with_neighbours, weights = _weights(graph)
    found = []
    for start in range(0, values.shape[1], COLUMNS_PER_STEP):
        poll()
        part = values[with_neighbours, start : start + COLUMNS_PER_STEP]
        found.append(_morans(part, weights))
    return np.concatenate(found) if found else np.empty(0)


def _weights(graph: csr_matrix) -> tuple[NDArray[np.int64], csr_matrix]:
    """Spots that have neighbours, and the weights of these neighbours, 1 in all for each spot.

    Spots without any say nothing of how alike neighbours are; counted in, they lift Moran's I, even above 1.
    """
    from scipy.sparse import csr_matrix

    spots = np.flatnonzero(np.diff(graph.indptr))
    among = graph[spots][:, spots]
    n_neighbours = np.diff(among.indptr)
    shared = np.repeat(1 / n_neighbours, n_neighbours)
    return spots, csr_matrix((shared, among.indices, among.indptr), shape=among.shape)


def _morans(values: NDArray[np.float32], weights: csr_matrix) -> NDArray[np.float64]:
    import scanpy

    found = np.full(values.shape[1], np.nan)
    varying = np.flatnonzero(np.ptp(values, axis=0) > 0) if weights.nnz else ()
    if len(varying):
        by_column = np.ascontiguousarray(values[:, varying].T, dtype=np.float64)
        found[varying] = scanpy.metrics.morans_i(weights, by_column)
    return found


def _p_values(found: NDArray[np.float64], weights: csr_matrix) -> NDArray[np.float64]:
    """One-sided p-values under normality of values that are not alike among neighbours (Cliff and Ord 1981)."""
    from scipy.stats import norm

    n, s0 = weights.shape[0], weights.sum()
    s1 = (weights + weights.T).power(2).sum() / 2
    s2 = np.square(
        np.asarray(weights.sum(axis=1)).ravel() + np.asarray(weights.sum(axis=0)).ravel()
    ).sum()
    expected = -1 / (n - 1)
    variance = (n**2 * s1 - n * s2 + 3 * s0**2) / ((n**2 - 1) * s0**2) - expected**2
    return np.asarray(norm.sf((found - expected) / np.sqrt(variance)))
