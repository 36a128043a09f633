"""Does predicted expression tell microsatellite instability? One figure per slide set, an AUROC.

As in later papers: the mean of each gene over a slide's predicted spots (pseudo-bulk), a random
forest, cross-validated. Folds: stratified by status, grouped by patient, so that no patient is
trained and tested on. Unit: the predictions' own. Aggregation: AUROC within each fold, mean over
folds; scores of two forests are not on one scale, so they are never pooled.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd

from napari_stem.cells import read_cells
from napari_stem.errors import DatasetError
from napari_stem.evaluation.comparison import read_prediction
from napari_stem.results import PROVENANCE_KEY
from napari_stem.texts import few, reason_of

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from napari_stem.progress import Progress

NAME = "msi"
ABOUT = "pseudo-bulk of predictions -> random forest -> AUROC of MSI status, folds by patient"
COLUMNS = ("slide", "patient", "msi")
UNSTABLE = frozenset({"1", "1.0", "true", "yes", "msi", "msi-h", "msi-high", "msih"})
STABLE = frozenset({"0", "0.0", "false", "no", "mss", "msi-l", "msi-low", "stable", "mss/msi-l"})
N_FOLDS, N_TREES = 5, 500
ENDINGS = (".h5ad", ".zarr")


def read_labels(path: Path, predicted: Container[str] = ()) -> dict[str, tuple[str, bool]]:
    """Read ``slide,patient,msi``: slide -> (patient, unstable).

    A slide's file (``A.svs``) stands for its name, where this is among the ``predicted`` ones.

    DatasetError: the file cannot be read, lacks a column, names no slide or one twice, or has a status that
    says nothing.
    """
    try:
        table = read_cells(path).fillna("")
    except FileNotFoundError:
        raise DatasetError(f"There is no table of labels {path}; check the path.") from None
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{path} cannot be read as a table of labels: {reason_of(error)}; it needs columns slide, patient "
            f"and msi."
        ) from error
    lacking = [c for c in COLUMNS if c not in table.columns]
    if lacking:
        raise DatasetError(f"{path} has no column '{lacking[0]}'; it needs slide, patient and msi.")
    labels: dict[str, tuple[str, bool]] = {}
    for named, patient, status in zip(*(table[c].str.strip() for c in COLUMNS), strict=True):
        stem = Path(named).stem.removesuffix(".ome")
        slide = stem if named not in predicted and stem in predicted else named
        if slide in labels:
            raise DatasetError(f"{path} names slide {slide} more than once; keep one line of it.")
        if status.lower() not in UNSTABLE | STABLE:
            raise DatasetError(
                f"{path} gives slide {slide} the status '{status}'; write 1 (MSI-H) or 0 (MSS)."
            )
        labels[slide] = (patient or slide, status.lower() in UNSTABLE)
    if not labels:
        raise DatasetError(f"{path} names no slide; write one a line: slide, patient, msi.")
    return labels


def read_cohort(folder: Path, labels_csv: Path, progress: Progress) -> anndata.AnnData:
    """Pseudo-bulk of every labelled prediction in a folder.

    Parameters
    ----------
    folder
        Holds ``SLIDE.h5ad`` or ``SLIDE.zarr`` as 'predict' wrote them.
    labels_csv
        See `read_labels`; slides without a prediction are an error, predictions without a label not.

    Returns
    -------
    ``X`` (slides, genes) float64: mean of each gene that every prediction has over a slide's predicted spots,
    in ``uns["unit"]``; ``obs``: ``patient`` and whether it is ``unstable``.

    Raises
    ------
    DatasetError
        A prediction is missing, units differ, no gene is common, or there are too few patients.
    """
    paths = {p.stem: p for p in sorted(folder.glob("*")) if p.suffix in ENDINGS}
    labels = read_labels(labels_csv, paths)
    absent = sorted(set(labels) - set(paths))
    if absent:
        raise DatasetError(
            f"{len(absent)} of {len(labels)} slides of {labels_csv} have no prediction in {folder} "
            f"({few(absent)}); predict them first."
        )
    bulks, units = {}, {}
    for done, slide in enumerate(labels):
        progress("Reading predictions", done, len(labels))
        bulks[slide], unit = _bulk(paths[slide])
        units[unit] = slide
    if len(units) > 1:
        (one, first), (other, second), *_ = units.items()
        raise DatasetError(
            f"Prediction {first} is in {one} and {second} in {other}; predict all with one model."
        )
    bulk = pd.concat(bulks, axis=1, join="inner").T.sort_index(axis=1)
    if bulk.empty:
        raise DatasetError(f"The predictions in {folder} have no gene in common.")
    patients, unstable = zip(*labels.values(), strict=True)
    obs = pd.DataFrame({"patient": patients, "unstable": unstable}, index=bulk.index)
    return anndata.AnnData(bulk, obs=obs, uns={"unit": next(iter(units))})


def auroc(cohort: anndata.AnnData, seeds: Sequence[int] = (0,)) -> dict[str, Any]:
    """Cross-validate a random forest on the cohort, a fold for each patient of a status, 5 at the most.

    Parameters
    ----------
    cohort
        As `read_cohort` returns it.
    seeds
        Of division and forest; each gives a whole cross-validation.

    Returns
    -------
    JSON-ready: ``auroc`` (mean over folds and seeds), ``auroc_min``, ``auroc_max``,
    ``standard_error`` (of Hanley and McNeil 1982, for as many slides), ``folds`` (seed, fold, auroc,
    n_slides), ``n_slides``, ``n_unstable``, ``n_patients``, ``n_genes``, ``unit``.

    Raises
    ------
    DatasetError
        A status has fewer than two patients.
    """
    n_patients = cohort.obs.groupby("unstable")["patient"].nunique()
    n_folds = min(N_FOLDS, *n_patients.reindex([False, True], fill_value=0))
    if n_folds < 2:
        raise DatasetError(
            "Each MSI status needs two patients or more for cross-validation; label more slides."
        )
    rows = [row for seed in seeds for row in _cross_validation(cohort, seed, n_folds)]
    values = [row["auroc"] for row in rows if row["auroc"] is not None]
    if not values:
        raise DatasetError("No fold holds both MSI statuses; label more patients.")
    mean = float(np.mean(values))
    n_unstable = int(cohort.obs["unstable"].sum())
    return {
        "auroc": mean,
        "auroc_min": min(values),
        "auroc_max": max(values),
        "standard_error": standard_error(mean, n_unstable, cohort.n_obs - n_unstable),
        "folds": rows,
        "n_slides": cohort.n_obs,
        "n_unstable": n_unstable,
        "n_patients": cohort.obs["patient"].nunique(),
        "n_genes": cohort.n_vars,
        "unit": cohort.uns["unit"],
    }


def standard_error(area: float, n_positive: int, n_negative: int) -> float:
    """Return the standard error of an AUROC, equation 1 of Hanley and McNeil 1982 (Radiology 143, 29)."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area)
    variance += (n_positive - 1) * (q1 - area**2) + (n_negative - 1) * (q2 - area**2)
    return float(np.sqrt(max(variance, 0.0) / (n_positive * n_negative)))


def _cross_validation(cohort: anndata.AnnData, seed: int, n_folds: int) -> list[dict[str, Any]]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold

    rows = []
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    x, y = cohort.X, cohort.obs["unstable"].to_numpy()
    for number, (train, test) in enumerate(folds.split(x, y, cohort.obs["patient"])):
        area = None
        if len(set(y[train])) == 2 and len(set(y[test])) == 2:
            forest = RandomForestClassifier(N_TREES, class_weight="balanced", random_state=seed)
            scores = forest.fit(x[train], y[train]).predict_proba(x[test])[:, 1]
            area = float(roc_auc_score(y[test], scores))
        rows.append({"seed": seed, "fold": number, "auroc": area, "n_slides": len(test)})
    return rows


def _bulk(path: Path) -> tuple[pd.Series, str]:
    """Mean of each gene over the finished spots of one prediction, and its unit."""
    table = read_prediction(path)
    done = np.asarray(table.obs["done"], dtype=bool)
    if not done.any():
        raise DatasetError(f"{path} has no finished spot; resume it first.")
    means = np.asarray(table.X)[done].mean(axis=0, dtype=np.float64)
    return pd.Series(means, index=table.var_names), str(table.uns[PROVENANCE_KEY]["unit"])
