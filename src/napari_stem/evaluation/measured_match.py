"""Counts measured on a slide, read and laid beside a prediction gene by gene, spot by spot, in its own unit.

Where `comparison` condenses a whole section into figures, this keeps every matched spot, for maps and plots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import DatasetError, PredictionError
from napari_stem.evaluation.comparison import (
    MatchedBy,
    pair_spots,
    positions_of,
    read_truth,
    require_same_section,
)
from napari_stem.metrics import coverage_of, pcc, pit
from napari_stem.progress import LOG_OF_FILES, go_on
from napari_stem.spatial.checks import outside_image
from napari_stem.spatial.dataset import HEIGHT_KEY, METADATA, TABLES, WIDTH_KEY, Section
from napari_stem.spatial.gene_sets import with_unique_symbols
from napari_stem.spatial.lattice import nearest_distance_px, spots_at, stated_diameter_px
from napari_stem.spatial.normalise import normalisation, normalised
from napari_stem.spatial.table_files import repeats_allowed

if TYPE_CHECKING:
    from pathlib import Path

    import anndata
    import pandas as pd
    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp, SizePx, Spots
    from napari_stem.progress import Poll
    from napari_stem.results import Prediction
    from napari_stem.slide.base import Slide

    Index = NDArray[np.int64]

GENES_PER_STEP = 128  # between two looks at whether to stop


def read_measured(path: Path, size: SizePx, slide: Slide | None = None) -> anndata.AnnData:
    """Read raw counts measured on a slide.

    Parameters
    ----------
    path
        A table (``.h5ad``; ``st/ID.h5ad`` of a data set in HEST layout is one), or a folder of Space
        Ranger (Visium), its ``outs`` or the one that holds it.
    size
        Of the slide's level 0, to which positions refer.
    slide
        The slide; that it looks unlike the image which Space Ranger was run on, or is called unlike the section
        that the table is of, is logged as a warning.

    Raises
    ------
    DatasetError
        It cannot be read, holds no raw counts, or belongs to another image or section.
    """
    _require_same_size(path, size)
    with repeats_allowed():
        table = _read_visium(path, size, slide) if path.is_dir() else read_truth(path)
    if slide is not None:
        require_same_section(slide.name, slide.fingerprint, table, path)
    _require_inside(table, size, path)
    return table


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
    xy_px = positions_of(truth, str(path))
    if xy_px is None:
        return
    outside = outside_image(xy_px, (size.width_px, size.height_px))
    if outside.any():
        raise DatasetError(
            f"{int(outside.sum())} of {len(xy_px)} measured spots of {path.name} lie outside this slide "
            f"of {size.width_px} x {size.height_px} px; choose the counts that belong to it, with "
            f"positions in its level-0 pixels."
        )


def _read_visium(path: Path, size: SizePx, slide: Slide | None) -> anndata.AnnData:
    """Spots under tissue of one Visium folder, refused where it was run on another image."""
    from napari_stem.spatial.space_ranger import (
        SCALE_FACTORS,
        other_size,
        read_scale_factors,
        required,
        section_folders,
        under_tissue,
        unlike_preview,
    )
    from napari_stem.spatial.visium import is_visium, read_visium

    folder, *others = section_folders([path], is_visium).values()
    if others:
        raise DatasetError(
            f"{path} holds {len(others) + 1} Visium sections; choose the folder of one of them."
        )
    table = read_visium(folder)
    scales = read_scale_factors(required(folder, SCALE_FACTORS))
    if (other := other_size([folder], scales, (size.width_px, size.height_px))) is not None:
        raise DatasetError(
            f"{path} was measured on an image of about {other} px, but this slide has "
            f"{size.width_px} x {size.height_px} px; open the image that Space Ranger was run on."
        )
    for finding in [] if slide is None else unlike_preview([folder], slide):
        LOG_OF_FILES.warning("%s has %s", path, finding)
    return with_unique_symbols(under_tissue(table, str(path)))[0]


@dataclass(frozen=True)
class MeasuredMatch:
    """A prediction and what was measured at the same spots."""

    genes: tuple[str, ...]  # predicted and measured, in the prediction's order
    rows: Index  # (n,) int64: spots of the prediction that were measured, all of them done
    spots: Spots  # where was measured, whether predicted there or not
    # (n_measured, genes) float32 at ``spots``, in the prediction's unit
    values: NDArray[np.float32]
    measured_rows: Index  # (n,) int64: which of ``spots`` belong to ``rows``
    # by gene: ``pcc``, NaN where it is the same everywhere; ``coverage_90``, share of matched spots whose
    # measured value the samples' 90% interval holds, by `napari_stem.metrics.pit`, NaN where the prediction
    # kept no samples; ``mean_difference``, of predicted minus measured
    agreement: pd.DataFrame
    matched_by: MatchedBy  # how spots were paired
    doubt: str  # of the pairs, as `Pairs` has it
    apart_um: float  # median distance between the two centres of a pair
    n_predicted: int  # finished spots of the prediction
    n_genes_left_out: int  # predicted, but not measured
    unit: str  # of all values, as users read it; measured counts are as deep as they were measured

    @property
    def is_elsewhere(self) -> bool:
        """Whether predicted and measured spots do not overlap by half."""
        return self.apart_um > self.spots.diameter_um / 2

    def measured(self, gene: str) -> NDArray[np.float32]:
        """(n_measured,) what was measured of one gene, at ``spots``.

        DatasetError: the gene was not measured.
        """
        if gene not in self.genes:
            raise DatasetError(f"'{gene}' was not measured here; choose another gene.")
        return self.values[:, self.genes.index(gene)]

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


def match_measured(
    prediction: Prediction,
    truth: anndata.AnnData,
    mpp: Mpp,
    poll: Poll = go_on,
) -> MeasuredMatch:
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
    poll
        Called every few hundred genes; may raise to stop.

    Raises
    ------
    PredictionError
        No spot is done, no spot or gene of the two belongs together, or the prediction is damaged.
    """
    import pandas as pd

    done = np.flatnonzero(prediction.done)
    if not len(done):
        raise PredictionError("The prediction has no finished spot yet; wait for it, or resume it.")
    genes = tuple(gene for gene in prediction.genes if gene in truth.var_names)
    if not genes:
        raise PredictionError(
            f"None of the {len(prediction.genes)} predicted genes was measured; check that both use "
            f"gene symbols of the same species."
        )
    asked = prediction.spots
    xy_px = np.column_stack([asked.x_px, asked.y_px])[done]
    reach_um = max(asked.diameter_um / 2, asked.pitch_um / np.sqrt(2))
    rows, measured_rows, matched_by, doubt = pair_spots(
        pd.Index(asked.names)[done], xy_px, reach_um / mpp.x_um, truth
    )
    rows = done[rows]
    unit = normalisation(str(prediction.provenance["normalisation"]))
    values = normalised(truth, genes, unit.name)
    agreement = _agreement(prediction, genes, rows, values[measured_rows], poll)
    predicted, apart_um = asked.take(rows), 0.0
    if "spatial" in truth.obsm:
        spots = _measured_spots(truth, asked, mpp)
        pairs = spots.take(measured_rows)
        off_x_um = (predicted.x_px - pairs.x_px) * mpp.x_um
        off_y_um = (predicted.y_px - pairs.y_px) * mpp.y_um
        apart_um = float(np.median(np.hypot(off_x_um, off_y_um)))
    else:  # it was measured where the spots of the same names were predicted
        spots, values, measured_rows = predicted, values[measured_rows], np.arange(len(rows))
    return MeasuredMatch(
        genes=genes,
        rows=rows,
        spots=spots,
        values=values,
        measured_rows=measured_rows,
        agreement=agreement,
        matched_by=matched_by,
        doubt=doubt,
        apart_um=apart_um,
        n_predicted=len(done),
        n_genes_left_out=len(prediction.genes) - len(genes),
        unit=unit.label,
    )


def _agreement(
    prediction: Prediction,
    genes: tuple[str, ...],
    rows: Index,
    measured: NDArray[np.float32],
    poll: Poll,
) -> pd.DataFrame:
    """Correlation, coverage and mean difference of every gene."""
    import pandas as pd

    mean = prediction.rows(rows, "mean", genes)
    figures = np.full((3, len(genes)), np.nan)
    for start in range(0, len(genes), GENES_PER_STEP):
        poll()
        some = slice(start, start + GENES_PER_STEP)
        truth, predicted = measured[:, some].astype(float), mean[:, some].astype(float)
        if len(rows) > 2:  # of two spots it is 1 or -1, whatever was measured
            figures[0, some] = pcc(truth, predicted)
        if prediction.n_kept_draws:
            place = pit(truth, prediction.draws(rows, genes[some]))
            figures[1, some] = [coverage_of(each, 0.9) for each in place.T]
        figures[2, some] = (predicted - truth).mean(axis=0)
    columns = ("pcc", "coverage_90", "mean_difference")
    return pd.DataFrame(figures.T, columns=columns, index=pd.Index(genes, name="gene"))


def _measured_spots(truth: anndata.AnnData, predicted: Spots, mpp: Mpp) -> Spots:
    """Where was measured; what the table does not say of its spots is as predicted."""
    xy_px = np.asarray(truth.obsm["spatial"], dtype=np.float64)
    apart_px, diameter_px = nearest_distance_px(xy_px), stated_diameter_px(truth.uns)
    return spots_at(
        xy_px,
        truth.obs_names,
        mpp,
        pitch_um=apart_px * mpp.x_um if apart_px else predicted.pitch_um,
        diameter_um=predicted.diameter_um if diameter_px is None else diameter_px * mpp.x_um,
        obs=truth.obs,
    )
