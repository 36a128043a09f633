"""What was measured and what is predicted, side by side on the slide, for chosen genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.evaluation.drawing import new_figure
from napari_stem.exporting.drawing import draw_scale_bar
from napari_stem.geometry import SizePx
from napari_stem.metrics import pcc
from napari_stem.slide import open_slide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_stem.evaluation.benchmark import Benchmark
    from napari_stem.evaluation.protocols.base import Fold
    from napari_stem.evaluation.runs import Run
    from napari_stem.geometry import Mpp, Spots
    from napari_stem.spatial.dataset import Section

N_SHOWN = 3
BACKGROUND_PX = 900  # longer side of the tissue behind a map
PALER = 0.45  # towards white, so that dark spots stand out from dark tissue
MARGIN = 0.03  # of the map's longer side
NOTICE = "Predicted from the H&E image, not measured. Research use only."
EXPRESSION, UNCERTAINTY = "magma", "cividis"

Window = tuple[int, int, int, int]  # left, top, right, bottom in level-0 px


def reliable_genes(
    benchmark: Benchmark, fold: Fold, panel: Sequence[str], n: int = N_SHOWN
) -> tuple[str, ...]:
    """Genes that a linear model predicts best on left-out *training* sections of a fold.

    Chosen without a look at the test section, whose best genes would flatter.
    """
    from napari_stem.training.linear import fit_linear

    train = [benchmark.measured.arrays(s, panel) for s in fold.train]
    fit = fit_linear(train)
    values = np.concatenate([s.values for s in train]).astype(np.float64)
    predicted = values - fit.residual * fit.head.residual_scale  # out of fold
    edges = np.cumsum([len(s.spots) for s in train])[:-1]
    parts = zip(np.split(values, edges), np.split(predicted, edges), strict=True)
    mean = np.mean([np.nan_to_num(pcc(truth, guess)) for truth, guess in parts], axis=0)
    return tuple(panel[i] for i in np.argsort(-mean)[:n])


def map_figure(
    benchmark: Benchmark, section_id: str, run: Run, genes: Sequence[str], unit: str
) -> Figure:
    """Draw measured, predicted mean and uncertainty of some genes, a row each.

    Parameters
    ----------
    benchmark
        Holds the section.
    section_id
        A test section of ``run``.
    run
        The predictor to show; without draws there is no column of uncertainty.
    genes
        Of the run's panel.
    unit
        As colour bars say it.

    Notes
    -----
    Measured and predicted share their colours, so that a prediction that varies too little is seen
    to do so.
    """
    section = benchmark.measured.section(section_id)
    forecast, columns = run.forecasts[section_id], [run.panel.index(g) for g in genes]
    truth = benchmark.measured.truth(section_id, run.panel)
    spots, mpp = section.spots(), section.mpp
    tissue, window = _tissue(section, spots)
    aspect = (window[3] - window[1]) / (window[2] - window[0])
    n_columns = 2 if forecast.sd is None else 3
    height_in = float(np.clip(4.0 * aspect, 2.2, 6.5))
    width_in = (height_in / aspect + 0.35) * n_columns + (2.2 if n_columns > 2 else 1.3)
    figure = new_figure(width_in, (height_in + 0.35) * len(genes) + 0.8)
    grid = figure.subplots(len(genes), n_columns, squeeze=False)
    coefficients = pcc(truth.astype(np.float64), forecast.mean.astype(np.float64))
    for axes_row, gene, column in zip(grid, genes, columns, strict=True):
        measured, mean = truth[:, column], forecast.mean[:, column]
        limits = _limits(np.concatenate([measured, mean]))
        for axes in axes_row:
            _background(axes, tissue, window)
        _spots(axes_row[0], spots, mpp, measured, limits, EXPRESSION)
        both = _spots(axes_row[1], spots, mpp, mean, limits, EXPRESSION)
        figure.colorbar(both, ax=axes_row[:2], label=unit, shrink=0.85, pad=0.01)
        axes_row[0].set_ylabel(gene, fontsize=14, fontweight="bold")
        axes_row[0].set_title("measured")
        axes_row[1].set_title(f"predicted mean ({run.predictor}), PCC {coefficients[column]:.2f}")
        if forecast.sd is not None:
            sd = forecast.sd[:, column]
            drawn = _spots(axes_row[2], spots, mpp, sd, _limits(sd), UNCERTAINTY)
            figure.colorbar(drawn, ax=axes_row[2], label=unit, shrink=0.85, pad=0.01)
            axes_row[2].set_title("uncertainty (standard deviation)")
    draw_scale_bar(grid[-1][0], mpp.x_um, font_size=10)
    figure.suptitle(f"Section {section_id}, not trained on", fontsize=14)
    figure.supxlabel(NOTICE, fontsize=11)
    return figure


def _tissue(section: Section, spots: Spots) -> tuple[NDArray[np.uint8], Window]:
    """Slide behind the spots, from the coarsest level that is sharp enough, and where it lies."""
    slide = open_slide(section.slide_path, section.mpp)
    try:
        radius_px = spots.diameter_um / 2 / section.mpp.x_um
        longer_px = max(np.ptp(spots.x_px), np.ptp(spots.y_px))
        around_px = radius_px + max(MARGIN * longer_px, radius_px)
        left, top = (max(0, int(c.min() - around_px)) for c in (spots.x_px, spots.y_px))
        right = min(slide.size.width_px, int(np.ceil(spots.x_px.max() + around_px)))
        bottom = min(slide.size.height_px, int(np.ceil(spots.y_px.max() + around_px)))
        side_px = max(right - left, bottom - top)
        sharp = [i for i, v in enumerate(slide.levels) if side_px / v.downsample >= BACKGROUND_PX]
        index = max(sharp, default=0)
        scale = slide.levels[index].downsample
        width, height = (max(1, round(side / scale)) for side in (right - left, bottom - top))
        size = SizePx(height_px=height, width_px=width)
        pixels = slide.read_region(round(left / scale), round(top / scale), index, size)
    finally:
        slide.close()
    return pixels, (left, top, right, bottom)


def _background(axes: Any, tissue: NDArray[np.uint8], window: Window) -> None:
    left, top, right, bottom = window
    pale = (tissue.astype(np.float32) * (1 - PALER) + 255 * PALER).astype(np.uint8)
    axes.imshow(pale, extent=(left, right, bottom, top), interpolation="bilinear")
    axes.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])


def _spots(
    axes: Any,
    spots: Spots,
    mpp: Mpp,
    values: NDArray[np.float32],
    limits: tuple[float, float],
    colours: str,
) -> Any:
    """One disc per spot, of its true size, the tissue showing between them."""
    from matplotlib.collections import EllipseCollection

    discs = EllipseCollection(
        spots.diameter_um / mpp.x_um,
        spots.diameter_um / mpp.y_um,
        0,
        units="xy",
        offsets=np.column_stack([spots.x_px, spots.y_px]),
        offset_transform=axes.transData,
        array=values,
        cmap=colours,
        linewidths=0.3,
        edgecolors="white",
    )
    discs.set_clim(*limits)
    return axes.add_collection(discs, autolim=False)


def _limits(values: NDArray[np.float32]) -> tuple[float, float]:
    low, high = (float(v) for v in np.percentile(values, (1, 99)))
    return low, high if high > low else low + 1e-6
