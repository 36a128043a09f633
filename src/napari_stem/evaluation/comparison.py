"""A stored prediction beside what was measured: which spots and genes belong together."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_stem import metrics
from napari_stem.errors import DatasetError, PredictionError
from napari_stem.results import PROVENANCE_KEY, Prediction
from napari_stem.results.stored import read_exported
from napari_stem.spatial.gene_sets import with_unique_symbols
from napari_stem.spatial.normalise import normalisation, normalised
from napari_stem.spatial.table_files import read_table, repeats_allowed

if TYPE_CHECKING:
    import anndata
    import pandas as pd
    from numpy.typing import NDArray

    Index = NDArray[np.int64]

_log = logging.getLogger(__name__)
MatchedBy = Literal["name", "position"]
LEAST_SHARE = 0.5  # of the smaller table's spots that must match


def read_prediction(path: Path) -> anndata.AnnData:
    """Read what `predict` wrote, ``.zarr`` or ``.h5ad``.

    PredictionError: there is nothing, it is damaged, or it is not a prediction.
    """
    if path.suffix == ".h5ad":
        return read_exported(path)
    return Prediction.open(path).to_anndata()


def read_truth(source: anndata.AnnData | Path) -> anndata.AnnData:
    """Read raw counts, from a file or a table that is open already.

    DatasetError: there is no such file, it is damaged, or its ``X`` are no raw counts.
    """
    if isinstance(source, Path):
        table, name = read_table(source), str(source)
    else:
        table, name = source.to_memory() if source.isbacked else source, "The table of the truth"
    from scipy.sparse import csr_matrix

    counts = np.array([np.nan]) if table.X is None else csr_matrix(table.X).data
    if not np.isfinite(counts).all() or (counts < 0).any() or (counts != np.rint(counts)).any():
        raise DatasetError(
            f"{name} must hold raw counts in X, not normalised values; put the counts there."
        )
    with repeats_allowed():
        return with_unique_symbols(table)[0]


def evaluate(
    prediction: Prediction | anndata.AnnData | str | Path,
    truth: anndata.AnnData | str | Path,
    *,
    allow_partial: bool = False,
) -> dict[str, Any]:
    """Compare a prediction with raw counts of the same section, in the prediction's own unit.

    At least half of the smaller table's spots must match. A prediction of one region of a section, or of a
    whole slide around what was measured, matches in full by that; two lattices that meet here and there by
    chance do not, and give figures that look good over a handful of spots.

    Parameters
    ----------
    prediction
        A path (``.zarr``, ``.h5ad``), an open one, or its table; spots that are not done are left out.
    truth
        Raw counts in ``X``, gene names in ``var_names``; an ``.h5ad`` or its table.
    allow_partial
        Compare however few spots match.

    Returns
    -------
    JSON-ready: every metric, as `napari_stem.metrics.all_metrics` names them; ``unit``, of the
    errors; ``matched_by`` (``name`` or ``position``), ``n_matched`` of ``n_predicted`` and ``n_truth`` spots;
    ``genes_left_out`` (predicted, but not measured).

    Raises
    ------
    PredictionError
        There is no such prediction, no spot is done, no spot or gene of the two belongs together, or too few
        spots do.
    DatasetError
        There is no such truth, or it holds no raw counts.
    """
    if isinstance(prediction, (str, Path)):
        prediction = read_prediction(Path(prediction))
    elif isinstance(prediction, Prediction):
        prediction = prediction.to_anndata()
    if PROVENANCE_KEY not in prediction.uns:
        raise PredictionError(
            "The table to evaluate is not a prediction of napari-stem; give what it predicted."
        )
    truth = read_truth(Path(truth) if isinstance(truth, str) else truth)
    unit = normalisation(str(prediction.uns[PROVENANCE_KEY]["normalisation"]))
    done = prediction[np.asarray(prediction.obs["done"], dtype=bool)]
    if done.n_obs == 0:
        raise PredictionError("The prediction has no finished spot; resume it first.")
    asked = done.var_names
    if "predicted" in done.var:  # genes that a user asked for and the model lacks are NaN
        asked = asked[done.var["predicted"].to_numpy(dtype=bool)]
    genes = [gene for gene in asked if gene in truth.var_names]
    if not genes:
        raise PredictionError(
            "None of the predicted genes was measured; compare tables with the same gene names."
        )
    library = next(iter(done.uns["spatial"].values()))
    radius_px = float(library["scalefactors"]["spot_diameter_fullres"]) / 2
    rows, truth_rows, matched_by = pair_spots(
        done.obs_names, np.asarray(done.obsm["spatial"], float), radius_px, truth
    )
    if not allow_partial:
        _require_enough(len(rows), done.n_obs, truth.n_obs, matched_by)
    columns = done.var_names.get_indexer(genes)
    measured = normalised(truth, genes, unit.name)[truth_rows]
    draws = done.obsm["draws"] if "draws" in done.obsm else None  # noqa: SIM401 - not a dict
    figures = metrics.all_metrics(
        measured,
        np.asarray(done.X)[rows][:, columns],
        None if draws is None else np.asarray(draws)[rows][:, columns],
    )
    return {
        **figures,
        "unit": unit.label,
        "matched_by": matched_by,
        "n_matched": len(rows),
        "n_predicted": done.n_obs,
        "n_truth": truth.n_obs,
        "genes_left_out": [str(gene) for gene in asked if gene not in truth.var_names],
    }


def is_too_few(n_matched: int, n_predicted: int, n_truth: int) -> bool:
    """Whether less than half of the smaller table's spots match."""
    return n_matched < LEAST_SHARE * min(n_predicted, n_truth)


def _require_enough(n_matched: int, n_predicted: int, n_truth: int, matched_by: MatchedBy) -> None:
    if not is_too_few(n_matched, n_predicted, n_truth):
        return
    why = {
        "name": "the others go by other names, and the tables state no positions to match by",
        "position": "the others lie further apart than half a spot: another lattice, another slide, or pixels "
        "of another level or scale",
    }[matched_by]
    raise PredictionError(
        f"Only {n_matched} of {n_predicted} predicted and {n_truth} measured spots match by {matched_by}; "
        f"{why}. Figures over so few mislead: predict at the measured spots ('predict --spots' takes the "
        f"truth's .h5ad), or compare them all the same (--allow-partial, allow_partial=True)."
    )


def pair_spots(
    names: pd.Index, xy_px: NDArray[np.float64], radius_px: float, truth: anndata.AnnData
) -> tuple[Index, Index, MatchedBy]:
    """Rows of a prediction and of a measurement that are the same spot.

    By name where names mean the same place. Names of two lattices ("3x4") may agree by chance: they
    count where the two tables have the very same names, where the truth states no positions, or where
    the positions agree as well. Otherwise spots are paired that are each other's nearest.

    Parameters
    ----------
    names
        Of the predicted spots.
    xy_px
        (n, 2) their centres (x, y) in level-0 px.
    radius_px
        How far apart two centres of the same spot may be.
    truth
        The measurement.

    Returns
    -------
    Rows of the prediction, rows of the truth in the same order, and how they were paired.

    Raises
    ------
    PredictionError
        No spot of the two belongs together.
    """
    by_name = np.full(len(names), -1)
    if truth.obs_names.is_unique:  # those of several sections in one table may repeat
        by_name = truth.obs_names.get_indexer(names)
    named = np.flatnonzero(by_name >= 0)
    if "spatial" not in truth.obsm:
        if not len(named):
            raise PredictionError(
                'The tables share no spot name, and the truth has no obsm["spatial"] to go by.'
            )
        return named, by_name[named], "name"
    truth_px = np.asarray(truth.obsm["spatial"], dtype=float)
    apart_px = np.linalg.norm(xy_px[named] - truth_px[by_name[named]], axis=1)
    same_names = len(named) == len(names) == truth.n_obs
    if len(named) and (same_names or bool((apart_px <= radius_px).all())):
        return named, by_name[named], "name"
    rows, truth_rows = _nearest(xy_px, truth_px, radius_px)
    if len(rows) and 2 * len(named) > len(names):
        _log.warning(
            "%d of the %d spots that have the same name in both tables lie elsewhere (are x and y swapped, or "
            "is it another section?); spots are matched by position.",
            int((apart_px > radius_px).sum()),
            len(named),
        )
    if not len(rows):
        raise PredictionError(
            f"No predicted spot lies within {radius_px:.0f} px of a measured one, and their names "
            f"differ; check that both belong to the same slide, in level-0 pixels, or predict the measured "
            f"spots themselves ('predict --spots')."
        )
    return rows, truth_rows, "position"


def _nearest(
    xy_px: NDArray[np.float64], truth_px: NDArray[np.float64], radius_px: float
) -> tuple[Index, Index]:
    """Pair spots that are each other's nearest, within a radius."""
    from scipy.spatial import KDTree

    distance_px, nearest = KDTree(truth_px).query(xy_px)
    _, back = KDTree(xy_px).query(truth_px)
    rows = np.flatnonzero((distance_px <= radius_px) & (back[nearest] == np.arange(len(xy_px))))
    return rows, nearest[rows]
