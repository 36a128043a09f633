"""Moran's I: how much more alike neighbouring spots are than any two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import PredictionError
from napari_stem.spatial_analysis.neighbours import neighbour_graph
from napari_stem.spatial_analysis.quiet import squidpy_without_chatter
from napari_stem.spatial_analysis.reading import predicted_means

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from napari_stem.results import Prediction

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
