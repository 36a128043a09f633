"""Which spots are neighbours, and how alike neighbours are: Moran's I of every gene."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import PredictionError
from napari_stem.spatial_analysis.reading import predicted_means

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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


def neighbour_graph(spots: Spots) -> csr_matrix:
    """Graph of neighbouring spots, by squidpy.

    Neighbours are the four beside a spot on a square lattice, else the six nearest.

    Returns
    -------
    (n, n) CSR of zeros and ones; a spot without neighbours has an empty row.
    """
    import anndata

    sq = squidpy_without_chatter()
    table = anndata.AnnData(obsm={"spatial": np.column_stack([spots.x_px, spots.y_px])})
    if is_square(spots):
        # in steps of the lattice, where neighbours lie exactly one apart
        table.obsm["spatial"] = np.column_stack([spots.array_col, spots.array_row]).astype(float)
        sq.gr.spatial_neighbors_radius(table, radius=1.01)
    else:
        sq.gr.spatial_neighbors_knn(table, n_neighs=min(N_NEIGHBOURS_OTHER, len(spots) - 1))
    return table.obsp["spatial_connectivities"]


def is_square(spots: Spots) -> bool:
    """Whether rows and columns of the lattice are equally far apart and at right angles."""
    design = np.column_stack([spots.array_col, spots.array_row, np.ones(len(spots))])
    fit_x, *_ = np.linalg.lstsq(design, spots.x_px, rcond=None)
    fit_y, *_ = np.linalg.lstsq(design, spots.y_px, rcond=None)
    col_step, row_step = (fit_x[0], fit_y[0]), (fit_x[1], fit_y[1])
    lengths = float(np.hypot(*col_step)), float(np.hypot(*row_step))
    slant = abs(col_step[0] * row_step[0] + col_step[1] * row_step[1])
    return (
        min(lengths) > 0
        and abs(lengths[0] / lengths[1] - 1) < SQUARENESS
        and slant < SQUARENESS * lengths[0] * lengths[1]
    )


GENES_PER_STEP = 256  # between two looks at whether to stop
FEWEST_SPOTS = 10  # for which spatial autocorrelation says anything


def morans_i(
    prediction: Prediction,
    genes: Sequence[str] | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> pd.DataFrame | None:
    """Moran's I of predicted means, by squidpy.

    Parameters
    ----------
    prediction
        Spots that are not done are left out.
    genes
        Which; None: all.
    is_stopped
        Asked every few hundred genes.

    Returns
    -------
    Indexed by gene, in the order given: ``I``; ``p``, one-sided and under normality; ``fdr``,
    Benjamini-Hochberg over these genes. NaN for a gene that is the same everywhere. None where it was
    stopped. The predictions of neighbouring spots share tissue within the model's field of view, so they
    are alike to begin with: a small ``p`` says little, the order of genes says more.

    Raises
    ------
    PredictionError
        Fewer than ten spots are done, a gene is not predicted, or the prediction is damaged.
    """
    import pandas as pd

    chosen = tuple(prediction.genes if genes is None else genes)
    done = np.flatnonzero(prediction.done)
    if len(done) < FEWEST_SPOTS:
        raise PredictionError(
            f"Spatial autocorrelation needs {FEWEST_SPOTS} predicted spots; there are {len(done)}."
        )
    means = predicted_means(prediction, chosen)
    found = morans_of(means, neighbour_graph(prediction.spots.take(done)), is_stopped)
    if found is None:
        return None
    return pd.DataFrame(
        {"I": found[0], "p": found[1], "fdr": _fdr(found[1])}, index=pd.Index(chosen, name="gene")
    )


def morans_of(
    values: NDArray[np.float32], graph: csr_matrix, is_stopped: Callable[[], bool] = lambda: False
) -> NDArray[np.float64] | None:
    """Moran's I and its p-value; weights of a spot's neighbours add up to one.

    Parameters
    ----------
    values
        (spots, genes), finite.
    graph
        As `neighbour_graph` returns it.
    is_stopped
        Asked every few hundred genes.

    Returns
    -------
    (2, genes) float64, NaN for genes that are the same everywhere; None where it was stopped.
    """
    import anndata

    sq = squidpy_without_chatter()
    n_genes = values.shape[1]
    found = np.full((2, n_genes), np.nan)
    for start in range(0, n_genes, GENES_PER_STEP):
        if is_stopped():
            return None
        block = values[:, start : start + GENES_PER_STEP]
        varying = np.flatnonzero(np.ptp(block, axis=0) > 0)
        if not len(varying):
            continue
        table = anndata.AnnData(
            X=np.ascontiguousarray(block[:, varying], dtype=np.float64),
            obsp={"spatial_connectivities": graph},
        )
        morans = sq.gr.spatial_autocorr(
            table, mode="moran", corr_method=None, copy=True, show_progress_bar=False
        ).reindex(table.var_names)
        found[:, start + varying] = morans[["I", "pval_norm"]].to_numpy().T
    return found


def _fdr(p: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.stats import false_discovery_control

    known = np.isfinite(p)
    fdr = np.full(len(p), np.nan)
    if known.any():
        fdr[known] = false_discovery_control(np.clip(p[known], 0, 1))
    return fdr
