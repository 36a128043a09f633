"""Figures of a benchmark and their files; measured beside predicted on the slide, for chosen genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.exporting.backdrop import cut_slide, window_of_spots
from napari_stem.exporting.drawing import (
    USUAL_LOOK,
    Limits,
    draw_map,
    draw_scale_bar,
    draw_tissue,
    frame,
)
from napari_stem.exporting.selection import NOTICE
from napari_stem.io import written_whole
from napari_stem.metrics import pcc
from napari_stem.slide import open_slide

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from napari_stem.evaluation.benchmark import Benchmark
    from napari_stem.evaluation.protocols.base import Fold
    from napari_stem.evaluation.runs import Run

DPI = 130


def new_figure(width_in: float, height_in: float) -> Figure:
    """Figure that draws itself without a window or any state of pyplot's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    with written_whole(path, overwrite=True) as fresh:
        figure.savefig(fresh, format="png", dpi=DPI)
    return path


N_SHOWN = 3
BACKGROUND_PX = 900  # longer side of the tissue behind a map
PALER = 0.45  # towards white, so that dark spots stand out from dark tissue


def reliable_genes(benchmark: Benchmark, fold: Fold, panel: Sequence[str]) -> tuple[str, ...]:
    """Genes that a linear model predicts best on left-out *training* sections of a fold.

    Chosen without a look at the test section, whose best genes would flatter.
    """
    from napari_stem.training.mean import fit_ridge

    train = [benchmark.measured.arrays(s, panel) for s in fold.train]
    _, out_of_fold = fit_ridge(train)
    values = np.concatenate([s.values for s in train]).astype(np.float64)
    edges = np.cumsum([len(s.spots) for s in train])[:-1]
    parts = zip(np.split(values, edges), np.split(out_of_fold, edges), strict=True)
    mean = np.mean([np.nan_to_num(pcc(truth, guess)) for truth, guess in parts], axis=0)
    return tuple(panel[i] for i in np.argsort(-mean)[:N_SHOWN])


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
    window = window_of_spots(spots)
    with open_slide(section.slide_path, mpp) as slide:
        pixels, where = cut_slide(slide, mpp, window, BACKGROUND_PX)
    pale = (pixels.astype(np.float32) * (1 - PALER) + 255 * PALER).astype(np.uint8)
    aspect = window.height_um / window.width_um
    n_columns = 2 if forecast.sd is None else 3
    height_in = float(np.clip(4.0 * aspect, 2.2, 6.5))
    width_in = (height_in / aspect + 0.35) * n_columns + (2.2 if n_columns > 2 else 1.3)
    figure = new_figure(width_in, (height_in + 0.35) * len(genes) + 0.8)
    grid = figure.subplots(len(genes), n_columns, squeeze=False)
    coefficients = pcc(truth.astype(np.float64), forecast.mean.astype(np.float64))
    for axes_row, gene, column in zip(grid, genes, columns, strict=True):
        measured, mean = truth[:, column], forecast.mean[:, column]
        limits = Limits().of(np.concatenate([measured, mean]))
        for axes in axes_row:
            draw_tissue(axes, pale, where)
            frame(axes, window)
            axes.set_aspect("equal")
        draw_map(axes_row[0], spots, measured, USUAL_LOOK, limits=limits)
        both = draw_map(axes_row[1], spots, mean, USUAL_LOOK, limits=limits)
        figure.colorbar(both, ax=axes_row[:2], label=unit, shrink=0.85, pad=0.01)
        axes_row[0].set_ylabel(gene, fontsize=14, fontweight="bold")
        axes_row[0].set_title("measured")
        axes_row[1].set_title(f"predicted mean ({run.predictor}), PCC {coefficients[column]:.2f}")
        if forecast.sd is not None:
            sd = forecast.sd[:, column]
            drawn = draw_map(axes_row[2], spots, sd, USUAL_LOOK, is_sd=True)
            figure.colorbar(drawn, ax=axes_row[2], label=unit, shrink=0.85, pad=0.01)
            axes_row[2].set_title("uncertainty (standard deviation)")
    draw_scale_bar(grid[-1][0], font_size=10)
    figure.suptitle(f"Section {section_id}, not trained on", fontsize=14)
    figure.supxlabel(NOTICE, fontsize=11)
    return figure
