"""A stored prediction beside what was measured: which spots and genes belong together."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from napari_stem import metrics
from napari_stem.errors import DatasetError, PredictionError, SlideError
from napari_stem.progress import LOG_OF_FILES
from napari_stem.results import PROVENANCE_KEY, Prediction
from napari_stem.results.stored import read_exported
from napari_stem.spatial.dataset import TABLES, images_of
from napari_stem.spatial.gene_sets import with_unique_symbols
from napari_stem.spatial.normalise import normalisation, normalised
from napari_stem.spatial.table_files import read_table, repeats_allowed

if TYPE_CHECKING:
    from collections.abc import Iterable

    import anndata
    import pandas as pd
    from numpy.typing import NDArray

    Index = NDArray[np.int64]

_log = logging.getLogger(__name__)
MatchedBy = Literal["name", "position"]
LEAST_SHARE = 0.5  # of the smaller table's spots that must match
# Of spots of the same name: positions that were rounded to whole px differ by less, those of sections on arrays
# with the same names by more (HER2ST's C2 and C3: by a third of a spot's radius).
_ROUNDING_PX, _SAME_PLACE = 1.5, 0.1


def read_prediction(path: Path) -> anndata.AnnData:
    """Read what `predict` wrote, ``.zarr`` or ``.h5ad``.

    PredictionError: there is nothing, it is damaged, or it is not a prediction.
    """
    if path.suffix == ".h5ad":
        return read_exported(path)
    return Prediction.open(path).to_anndata()


def read_truth(source: anndata.AnnData | Path) -> anndata.AnnData:
    """Read raw counts, from a file or a table that is open already.

    DatasetError: there is no such file, it is damaged, its ``X`` are no raw counts, or as of `positions_of`.
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
    positions_of(table, name)
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
        There is no such truth, it holds no raw counts or states positions that are none, or it is another
        section's than the prediction.
    """
    if isinstance(prediction, (str, Path)):
        prediction = read_prediction(Path(prediction))
    elif isinstance(prediction, Prediction):
        prediction = prediction.to_anndata()
    if PROVENANCE_KEY not in prediction.uns:
        raise PredictionError(
            "The table to evaluate is not a prediction of napari-stem; give what it predicted."
        )
    path = Path(truth) if isinstance(truth, (str, Path)) else None
    truth, about = read_truth(path or truth), prediction.uns[PROVENANCE_KEY]
    require_same_section(
        str(about.get("slide", "")), str(about.get("slide_fingerprint", "")), truth, path
    )
    unit = normalisation(str(about["normalisation"]))
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
    rows, truth_rows, matched_by, doubt = pair_spots(
        done.obs_names, np.asarray(done.obsm["spatial"], float), radius_px, truth
    )
    if doubt:
        _log.warning("%s", doubt)
    if not allow_partial:
        _require_enough(len(rows), done.n_obs, truth.n_obs, matched_by)
    columns = done.var_names.get_indexer(genes)
    measured = normalised(truth, genes, unit.name)[truth_rows]
    draws = done.obsm["draws"] if "draws" in done.obsm else None  # noqa: SIM401 - not a dict
    if draws is not None and draws.shape[1] != done.n_vars:
        raise PredictionError(
            'The samples in obsm["draws"] are of other genes than X; choose genes of both, or delete these.'
        )
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


def positions_of(truth: anndata.AnnData, name: str) -> NDArray[np.float64] | None:
    """(n, 2) x and y of the spots of a table, called ``name``, in px; None where it states none.

    DatasetError: it states positions, and not of every spot.
    """
    if "spatial" not in truth.obsm:
        return None
    xy_px = np.asarray(truth.obsm["spatial"], dtype=np.float64)
    if xy_px.ndim != 2 or xy_px.shape[1] != 2 or not np.isfinite(xy_px).all():
        raise DatasetError(
            f'{name} must state a position (x, y) of every spot in obsm["spatial"]; leave out the spots that '
            f"have none."
        )
    return xy_px


def require_same_section(
    slide: str, fingerprint: str, truth: anndata.AnnData, path: Path | None
) -> None:
    """Refuse counts that were measured on another section than was predicted; warn where that is likely.

    Spots of two sections may have the same names, and lie at the same places of images of one size. Of a table
    that says not of what section it is, and lies in no data set, nothing is said.

    Parameters
    ----------
    slide, fingerprint
        File name and fingerprint of the predicted slide.
    truth
        As `read_truth` gives it.
    path
        Where it was read; of a data set's ``st/ID.h5ad`` the section and its image are known.

    Raises
    ------
    DatasetError
        The predicted slide is the image of another section of the data set.
    """
    section, other = _own_section(truth), Path(slide).stem.removesuffix(".ome")
    if path is not None and path.absolute().parent.name == TABLES:
        folder = path.absolute().parent.parent
        images = images_of(path.stem, folder)
        if _is_among(fingerprint, images):
            return
        if _is_among(fingerprint, images_of(other, folder)):
            raise DatasetError(
                f"{path} was measured on section {path.stem}, and {slide} was predicted, the image of section "
                f"{other}; choose {other}.h5ad, or predict the image of {path.stem}."
            )
        section = path.stem if images else section
    if section is None or not Path(slide).suffix:  # a pseudonym has none, and says nothing
        return
    if not (_is_word(section, other) or _is_word(other, section)):
        LOG_OF_FILES.warning(
            "The counts were measured on section %s, and the predicted slide is called %s: unless both are the "
            "same section, figures mean nothing. See that the counts are that slide's.",
            section,
            slide,
        )


def _own_section(truth: anndata.AnnData) -> str | None:
    """Section that a table is of, where one of our importers wrote it; others' names may mean anything."""
    libraries = truth.uns.get("spatial")
    if not isinstance(libraries, Mapping) or len(libraries) != 1:
        return None
    ((name, library),) = libraries.items()
    parts = library if isinstance(library, Mapping) else {}
    images, scales = parts.get("images"), parts.get("scalefactors")
    if not (isinstance(images, Mapping) and isinstance(scales, Mapping)):
        return None
    return str(name) if not images and set(scales) == {"spot_diameter_fullres"} else None


def _is_among(fingerprint: str, images: Iterable[Path]) -> bool:
    """Whether a slide of that fingerprint is one of the images, as far as they can be read."""
    from napari_stem.slide.opening import open_header

    for image in images:
        with suppress(SlideError), open_header(image) as slide:
            if slide.fingerprint == fingerprint:
                return True
    return False


def _is_word(name: str, text: str) -> bool:
    return bool(re.search(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", text, re.IGNORECASE))


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


class Pairs(NamedTuple):
    """Spots of a prediction and of a measurement that are the same."""

    rows: Index  # (n,) int64, of the prediction
    truth_rows: Index  # (n,) int64, of the truth, in the same order
    matched_by: MatchedBy  # how they were paired
    doubt: str = ""  # why they may be another section's, in a sentence; empty where nothing says so


def pair_spots(
    names: pd.Index, xy_px: NDArray[np.float64], radius_px: float, truth: anndata.AnnData
) -> Pairs:
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
        return Pairs(named, by_name[named], "name")
    truth_px = np.asarray(truth.obsm["spatial"], dtype=float)
    apart_px = np.linalg.norm(xy_px[named] - truth_px[by_name[named]], axis=1)
    same_names = len(named) == len(names) == truth.n_obs
    if len(named) and (same_names or bool((apart_px <= radius_px).all())):
        middle_px, doubt = float(np.median(apart_px)), ""
        if not same_names and middle_px > max(_ROUNDING_PX, _SAME_PLACE * radius_px):
            doubt = (
                f"The {len(named)} spots that have the same name in both tables lie {middle_px:.1f} px apart, "
                f"not at one place; see that the counts are not another section's, on an array whose spots "
                f"have the same names."
            )
        return Pairs(named, by_name[named], "name", doubt)
    rows, truth_rows = _nearest(xy_px, truth_px, radius_px)
    if not len(rows):
        raise PredictionError(
            f"No predicted spot lies within {radius_px:.0f} px of a measured one, and their names "
            f"differ; check that both belong to the same slide, in level-0 pixels, or predict the measured "
            f"spots themselves ('predict --spots')."
        )
    doubt = ""
    if 2 * len(named) > len(names):
        doubt = (
            f"{np.count_nonzero(apart_px > radius_px)} of the {len(named)} spots that have the same name in "
            f"both tables lie elsewhere (are x and y swapped, or is it another section?); spots are matched by "
            f"position."
        )
    return Pairs(rows, truth_rows, "position", doubt)


def _nearest(
    xy_px: NDArray[np.float64], truth_px: NDArray[np.float64], radius_px: float
) -> tuple[Index, Index]:
    """Pair spots that are each other's nearest, within a radius."""
    from scipy.spatial import KDTree

    distance_px, nearest = KDTree(truth_px).query(xy_px)
    _, back = KDTree(xy_px).query(truth_px)
    rows = np.flatnonzero((distance_px <= radius_px) & (back[nearest] == np.arange(len(xy_px))))
    return rows, nearest[rows]
