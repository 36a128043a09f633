"""Measured counts laid beside a prediction: gene by gene, spot by spot, in the prediction's own unit.

Where `comparison` condenses a whole section into figures, this keeps every matched spot, for maps and plots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import DatasetError, PredictionError
from napari_stem.evaluation.comparison import MatchedBy, pair_spots, read_truth
from napari_stem.evaluation.metrics import pcc
from napari_stem.geometry import Spots
from napari_stem.spatial.dataset import HEIGHT_KEY, METADATA, TABLES, WIDTH_KEY, Section
from napari_stem.spatial.gene_names import with_symbols
from napari_stem.spatial.lattice import array_positions, nearest_distance_px
from napari_stem.spatial.normalise import normalised
from napari_stem.spatial.table_files import repeats_allowed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import anndata
    import pandas as pd
    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp, SizePx
    from napari_stem.results import Prediction

    Index = NDArray[np.int64]

GENES_PER_STEP = 512  # between two looks at whether to stop
SPOTS_PER_READ = 4096
_SIZE_TOLERANCE = 0.01  # of a reduced image's sides: rounding, not another image
_ODD_STORE = (OSError, LookupError, ValueError, RuntimeError)


@dataclass(frozen=True)
class Beside:
    """A prediction and what was measured at the same spots.

    Attributes
    ----------
    genes
        Predicted and measured, in the prediction's order.
    rows
        (n,) int64: spots of the prediction that were measured, all of them done.
    spots
        Where was measured, whether predicted there or not.
    values
        (n_measured, genes) float32 at ``spots``, in the prediction's unit.
    measured_rows
        (n,) int64: which of ``spots`` belong to ``rows``.
    pcc
        (genes,) float64, NaN where a gene is the same everywhere.
    coverage
        (genes,) float64: share of matched spots whose measured value the 90% interval holds.
    difference
        (genes,) float64: mean of predicted minus measured.
    matched_by
        How spots were paired.
    apart_um
        Median distance between the two centres of a pair.
    n_predicted
        Finished spots of the prediction.
    n_genes_left_out
        Predicted, but not measured.
    unit
        Of all values, as users read it.
    """

    genes: tuple[str, ...]
    rows: Index
    spots: Spots
    values: NDArray[np.float32]
    measured_rows: Index
    pcc: NDArray[np.float64]
    coverage: NDArray[np.float64]
    difference: NDArray[np.float64]
    matched_by: MatchedBy
    apart_um: float
    n_predicted: int
    n_genes_left_out: int
    unit: str

    def measured(self, gene: str) -> NDArray[np.float32]:
        """(n_measured,) what was measured of one gene, at ``spots``.

        Raises
        ------
        DatasetError
            The gene was not measured.
        """
        return self.values[:, self.column(gene)]

    def matched(self, gene: str) -> NDArray[np.float32]:
        """(n,) what was measured of one gene, at the prediction's ``rows``."""
        return self.measured(gene)[self.measured_rows]

    def error(self, gene: str, predicted: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predicted minus measured.

        Parameters
        ----------
        gene
            Its name.
        predicted
            (n_spots,) of the same gene, over all spots of the prediction.

        Returns
        -------
        (n_spots,) float32, NaN where nothing was measured.
        """
        error = np.full(len(predicted), np.nan, dtype=np.float32)
        error[self.rows] = predicted[self.rows] - self.matched(gene)
        return error

    def column(self, gene: str) -> int:
        """Return the place of a gene in ``genes``.

        Raises
        ------
        DatasetError
            The gene was not measured.
        """
        if gene not in self.genes:
            raise DatasetError(f"'{gene}' was not measured here; choose another gene.")
        return self.genes.index(gene)

    def table(self) -> pd.DataFrame:
        """Agreement by gene: columns ``pcc``, ``coverage_90``, ``mean_difference``."""
        import pandas as pd

        return pd.DataFrame(
            {"pcc": self.pcc, "coverage_90": self.coverage, "mean_difference": self.difference},
            index=pd.Index(self.genes, name="gene"),
        )


def read_measured(path: Path, size: SizePx) -> anndata.AnnData:
    """Read raw counts measured on a slide.

    Parameters
    ----------
    path
        A table (``.h5ad``; ``st/ID.h5ad`` of a data set in HEST layout is one), or a folder of Space
        Ranger (Visium), its ``outs`` or the one that holds it.
    size
        Of the slide's level 0, to which positions refer.

    Raises
    ------
    DatasetError
        It cannot be read, holds no raw counts, or belongs to another image.
    """
    _require_same_size(path, size)
    with repeats_allowed():
        table = _read_visium(path, size) if path.is_dir() else read_truth(path)
        named, _ = with_symbols(table)
    _require_inside(named, size, path)
    return named


def lay_beside(
    prediction: Prediction,
    truth: anndata.AnnData,
    mpp: Mpp,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Beside | None:
    """Match a prediction with a measurement of the same slide.

    Two lattices rarely coincide: spots are paired up to half a cell's diagonal apart, and ``apart_um``
    says how far they are.

    Parameters
    ----------
    prediction
        Spots that are not done are left out.
    truth
        As `read_measured` returns it.
    mpp
        The slide's pixel size.
    is_stopped
        Asked every few hundred genes.

    Returns
    -------
    None where it was stopped.

    Raises
    ------
    PredictionError
        No spot is done, no spot or gene of the two belongs together, or the prediction is damaged.
    """
    done = np.flatnonzero(prediction.done)
    if not len(done):
        raise PredictionError("The prediction has no finished spot yet; wait for it, or resume it.")
    genes = tuple(gene for gene in prediction.genes if gene in truth.var_names)
    if not genes:
        raise PredictionError(
            f"None of the {len(prediction.genes)} predicted genes was measured; check that both use "
            f"gene symbols of the same species."
        )
    rows, measured_rows, matched_by = _paired(prediction, done, truth, mpp)
    values = normalised(truth, genes, str(prediction.provenance["normalisation"]))
    figures = _agreement(prediction, genes, rows, values[measured_rows], is_stopped)
    if figures is None:
        return None
    return Beside(
        genes=genes,
        rows=rows,
        spots=_measured_spots(truth, prediction.spots, rows, mpp),
        values=values if "spatial" in truth.obsm else values[measured_rows],
        measured_rows=measured_rows if "spatial" in truth.obsm else np.arange(len(rows)),
        pcc=figures[0],
        coverage=figures[1],
        difference=figures[2],
        matched_by=matched_by,
        apart_um=_apart_um(prediction.spots.take(rows), truth, measured_rows, mpp),
        n_predicted=len(done),
        n_genes_left_out=len(prediction.genes) - len(genes),
        unit=prediction.unit,
    )


def _paired(
    prediction: Prediction, done: Index, truth: anndata.AnnData, mpp: Mpp
) -> tuple[Index, Index, MatchedBy]:
    import pandas as pd

    spots = prediction.spots
    names = pd.Index(spots.names)[done]
    xy_px = np.column_stack([spots.x_px, spots.y_px])[done]
    reach_um = max(spots.diameter_um / 2, spots.pitch_um / np.sqrt(2))
    rows, measured_rows, matched_by = pair_spots(names, xy_px, reach_um / mpp.x_um, truth)
    return done[rows], measured_rows, matched_by


def _apart_um(predicted: Spots, truth: anndata.AnnData, measured_rows: Index, mpp: Mpp) -> float:
    if "spatial" not in truth.obsm:
        return 0.0
    xy_px = np.asarray(truth.obsm["spatial"], dtype=np.float64)[measured_rows]
    off_x_um = (predicted.x_px - xy_px[:, 0]) * mpp.x_um
    off_y_um = (predicted.y_px - xy_px[:, 1]) * mpp.y_um
    return float(np.median(np.hypot(off_x_um, off_y_um)))


def _agreement(
    prediction: Prediction,
    genes: tuple[str, ...],
    rows: Index,
    measured: NDArray[np.float32],
    is_stopped: Callable[[], bool],
) -> tuple[NDArray[np.float64], ...] | None:
    """Correlation, coverage and mean difference of every gene; None where it was stopped."""
    columns = {gene: i for i, gene in enumerate(prediction.genes)}
    mean, low, high = (
        _stored(prediction, field, rows, np.array([columns[gene] for gene in genes]))
        for field in ("mean", "q05", "q95")
    )
    figures = np.full((3, len(genes)), np.nan)
    for start in range(0, len(genes), GENES_PER_STEP):
        if is_stopped():
            return None
        some = slice(start, start + GENES_PER_STEP)
        truth, predicted = measured[:, some].astype(float), mean[:, some].astype(float)
        figures[0, some] = pcc(truth, predicted)
        held = (low[:, some] <= measured[:, some]) & (measured[:, some] <= high[:, some])
        figures[1, some] = held.mean(axis=0)
        figures[2, some] = (predicted - truth).mean(axis=0)
    return figures[0], figures[1], figures[2]


def _stored(prediction: Prediction, field: str, rows: Index, columns: Index) -> NDArray[np.float32]:
    """(rows, columns) float32 of one field; never the draws, which may be a hundred times as many."""
    import zarr

    try:
        group = zarr.open_group(prediction.path, mode="r", use_consolidated=False)
        stored = group["X"] if field == "mean" else group["layers"][field]
        found = np.empty((len(rows), len(columns)), dtype=np.float32)
        for start in range(0, stored.shape[0], SPOTS_PER_READ):
            here = np.flatnonzero((rows >= start) & (rows < start + SPOTS_PER_READ))
            if len(here):
                block = np.asarray(stored[start : start + SPOTS_PER_READ])
                found[here] = block[rows[here] - start][:, columns]
    except _ODD_STORE as error:
        raise PredictionError(
            f"{prediction.path} is gone or damaged; run the prediction again."
        ) from error
    return found


def _measured_spots(truth: anndata.AnnData, predicted: Spots, rows: Index, mpp: Mpp) -> Spots:
    """Where was measured; without positions, where the spots of the same names were predicted."""
    if "spatial" not in truth.obsm:
        return predicted.take(rows)
    xy_px = np.asarray(truth.obsm["spatial"], dtype=np.float64)
    apart_px = nearest_distance_px(xy_px)
    pitch_um = predicted.pitch_um if not apart_px else apart_px * mpp.x_um
    nodes = array_positions(truth.obs)
    if nodes is None:
        steps = np.rint((xy_px - xy_px.min(axis=0)) * mpp.x_um / pitch_um).astype(np.int64)
        nodes = steps[:, 1], steps[:, 0]
    return Spots(
        x_px=xy_px[:, 0],
        y_px=xy_px[:, 1],
        array_row=nodes[0],
        array_col=nodes[1],
        pitch_um=pitch_um,
        diameter_um=_diameter_px(truth, predicted.diameter_um / mpp.x_um) * mpp.x_um,
        names=tuple(str(name) for name in truth.obs_names),
    )


def _diameter_px(truth: anndata.AnnData, otherwise_px: float) -> float:
    for library in truth.uns.get("spatial", {}).values():
        if not isinstance(library, dict):  # spatialdata keeps a flag beside the libraries
            continue
        stated = library.get("scalefactors", {}).get("spot_diameter_fullres")
        if stated is not None:
            return float(stated)
    return otherwise_px


def _require_same_size(path: Path, size: SizePx) -> None:
    """Refuse a table in HEST layout whose metadata state another image's size."""
    about = path.parent.parent / METADATA / f"{path.stem}.json"
    if path.parent.name != TABLES or not about.is_file():
        return
    section = Section(path.parent.parent, path.stem)
    stated = [section.metadata.get(key) for key in (WIDTH_KEY, HEIGHT_KEY)]
    if None not in stated and tuple(stated) != (size.width_px, size.height_px):
        raise DatasetError(
            f"{path.name} was measured on an image of {stated[0]} x {stated[1]} px, but this slide has "
            f"{size.width_px} x {size.height_px} px; choose the counts that belong to it."
        )


def _require_inside(truth: anndata.AnnData, size: SizePx, path: Path) -> None:
    """Refuse positions that are none, or that lie off the slide."""
    if "spatial" not in truth.obsm:
        return
    xy_px = np.asarray(truth.obsm["spatial"], dtype=np.float64)
    if xy_px.ndim != 2 or xy_px.shape[1] != 2 or not np.isfinite(xy_px).all():
        raise DatasetError(f'{path} must state a position (x, y) of every spot in obsm["spatial"].')
    outside = ((xy_px < 0) | (xy_px > (size.width_px, size.height_px))).any(axis=1)
    if outside.any():
        raise DatasetError(
            f"{int(outside.sum())} of {len(xy_px)} measured spots of {path.name} lie outside this slide "
            f"of {size.width_px} x {size.height_px} px; choose the counts that belong to it, with "
            f"positions in its level-0 pixels."
        )


def _read_visium(path: Path, size: SizePx) -> anndata.AnnData:
    """Spots under tissue of one Visium folder, refused where it was run on another image."""
    from napari_stem.spatial.visium import read_visium, visium_folders

    (section_id, folder), *others = visium_folders([path]).items()
    if others:
        raise DatasetError(
            f"{path} holds {len(others) + 1} Visium sections; choose the folder of one of them."
        )
    table = read_visium(folder, section_id)
    library = table.uns["spatial"][section_id]
    hires, scale = library["images"].get("hires"), library["scalefactors"]["tissue_hires_scalef"]
    if hires is not None:
        expected = np.array(hires.shape[:2]) / float(scale)
        slack = np.maximum(_SIZE_TOLERANCE * expected, 2 / float(scale))
        if (np.abs(expected - (size.height_px, size.width_px)) > slack).any():
            raise DatasetError(
                f"{path} was measured on an image of about {expected[1]:.0f} x {expected[0]:.0f} px, but "
                f"this slide has {size.width_px} x {size.height_px} px; open the image that Space "
                f"Ranger was run on."
            )
    in_tissue = table.obs["in_tissue"].fillna(0).astype(int).to_numpy() == 1
    if not in_tissue.any():
        raise DatasetError(f"No spot of {path} is under tissue; choose another folder.")
    return table[in_tissue].copy()
