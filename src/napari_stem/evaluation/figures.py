"""Figures of a benchmark: gene variation, correlations, reliability, and maps beside the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from napari_stem.evaluation.baselines import NAMES
from napari_stem.exporting.drawing import (
    DEFAULT_LOOK,
    Limits,
    cut_slide,
    draw_map,
    draw_scale_bar,
    draw_tissue,
    frame,
    window_of,
)
from napari_stem.io import written_whole
from napari_stem.metrics import LEVELS, N_BINS, pcc
from napari_stem.slide import open_slide
from napari_stem.spatial.normalise import normalisation
from napari_stem.texts import NOTICE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_stem.evaluation.benchmark import Benchmark
    from napari_stem.evaluation.protocols import Fold
    from napari_stem.evaluation.runs import ForecastSummary, Run

DPI = 130
N_SHOWN = 3
BACKGROUND_PX = 900  # longer side of the tissue behind a map
PALER = 0.45  # towards white, so that dark spots stand out from dark tissue
MAX_SECTIONS = 6  # of which maps and curves are drawn; numbers are of all
# Okabe and Ito's colours, then Tol's, told apart with any colour vision; markers tell them apart in print too.
_COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
    "#882255", "#999933", "#332288", "#117733",
)  # fmt: skip
_MARKERS = ("o", "s", "^", "v", "D", "P", "X", "<", ">", "*")
COLOUR = dict(zip(NAMES, _COLOURS, strict=True))
MARKER = dict(zip(NAMES, _MARKERS, strict=True))
TRUTH = "black"


def draw_figures(
    benchmark: Benchmark, runs: Sequence[Run], folder: Path, show_genes: Sequence[str] = ()
) -> list[str]:
    """Draw every figure that the runs allow.

    Parameters
    ----------
    benchmark, runs
        What was run; of several seeds the first one's forecasts are drawn.
    folder
        Of the PNG files.
    show_genes
        Whose maps to draw; none: the three most reliable on the first fold's training sections.

    Returns
    -------
    Paths as text.

    Raises
    ------
    OutputError
        A file cannot be written.
    """
    drawn = []
    for name, figure in _figures(benchmark, _first_seed(runs), show_genes):
        path = folder / f"{name}.png"
        with written_whole(path, overwrite=True) as fresh:
            figure.savefig(fresh, format="png", dpi=DPI)
        drawn.append(str(path))
    return drawn


def _figures(
    benchmark: Benchmark, runs: Sequence[Run], show_genes: Sequence[str]
) -> Iterator[tuple[str, Figure]]:
    """Yield each figure with its name; of every predictor one run a fold."""
    unit = normalisation(benchmark.normalisation).label
    yield "gene_pcc", pcc_figure(runs)
    if any(f.coverage is not None for r in runs for f in r.forecasts.values()):
        yield "reliability", reliability_figure(runs)
    tested = list(dict.fromkeys((r.fold, s) for r in runs for s in r.forecasts))[:MAX_SECTIONS]
    chosen: dict[str, tuple[str, ...]] = {}
    for fold_name, section in tested:
        here = [r for r in runs if r.fold == fold_name]
        truth = benchmark.truth(section, here[0].panel)
        forecasts = {r.predictor: r.forecasts[section] for r in here}
        where = f"{fold_name}_{section}" if fold_name != section else section
        title = f"Section {section}, {unit}"
        yield f"gene_variation_{where}", variation_figure(truth, forecasts, title, unit)
        if fold_name not in chosen:
            (fold,) = (f for f in benchmark.plan.folds if f.name == fold_name)
            asked = tuple(g for g in show_genes if g in here[0].panel)
            chosen[fold_name] = asked or reliable_genes(benchmark, fold, here[0].panel)
        shown = next((r for r in here if r.forecasts[section].sd is not None), here[0])
        yield f"maps_{where}", map_figure(benchmark, section, shown, chosen[fold_name], unit)


def variation_figure(
    truth: NDArray[np.float32], forecasts: dict[str, ForecastSummary], title: str, unit: str
) -> Figure:
    """Gene variation curves as published Stem draws them, a row per predictor.

    Mean and variance of each gene over spots, genes in order of the truth's; as they are, and as
    shares of their sum over genes. Hollow markers: the variance of single draws, which is that of
    the mean and the mean squared spread together.
    """
    columns = _curves(truth)
    figure = Figure(figsize=(13, 0.9 + 2.3 * len(forecasts)), layout="constrained")
    grid = figure.subplots(len(forecasts), len(columns), squeeze=False, sharex=True)
    orders = {name: np.argsort(values) for name, values in columns.items()}
    place = np.arange(truth.shape[1])
    for axes_row, (predictor, forecast) in zip(grid, forecasts.items(), strict=True):
        means = _curves(forecast.mean)
        draws = {} if forecast.sd is None else _curves(forecast.mean, forecast.sd)
        for axes, (name, values) in zip(axes_row, columns.items(), strict=True):
            order = orders[name]
            if "variance" in name and draws:
                axes.scatter(
                    place, draws[name][order], s=9, facecolors="none", edgecolors="0.45",
                    linewidths=0.6, label="one sample",
                )  # fmt: skip
            if np.isfinite(means[name]).all():
                axes.scatter(
                    place, means[name][order], s=9, color=COLOUR[predictor],
                    marker=MARKER[predictor], linewidths=0.5, label="predicted mean",
                )  # fmt: skip
            else:
                axes.text(0.05, 0.85, "undefined: predicted sum near 0", transform=axes.transAxes)
            axes.plot(place, values[order], color=TRUTH, linewidth=1.6, label="measured")
            axes.margins(x=0.01)
            axes.tick_params(labelsize=8)
        axes_row[0].set_ylabel(predictor, fontsize=11, fontweight="bold", color=COLOUR[predictor])
        axes_row[-1].legend(fontsize=8, loc="upper left", frameon=False)
    units = ("share of the sum", unit, "share of the sum", f"square of {unit}")
    for axes, name, in_unit in zip(grid[0], columns, units, strict=True):
        axes.set_title(f"{name} ({in_unit})", fontsize=10)
    figure.supxlabel("genes, in order of what was measured", fontsize=10)
    figure.suptitle(f"Gene variation over spots: {title}", fontsize=12)
    return figure


def pcc_figure(runs: Sequence[Run]) -> Figure:
    """Histogram of each gene's correlation on each test section, a row per predictor."""
    found: dict[str, list[NDArray[np.float64]]] = {}
    for run in runs:
        for forecast in run.forecasts.values():
            found.setdefault(run.predictor, []).append(forecast.pcc)
    figure = Figure(figsize=(7.5, 1.0 + 1.5 * len(found)), layout="constrained")
    rows = figure.subplots(len(found), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    known = {p: np.concatenate(parts) for p, parts in found.items()}
    least = min((float(np.nanmin(v, initial=0.0)) for v in known.values()), default=0.0)
    bins = np.linspace(np.floor(least * 10) / 10, 1, 45)
    for axes, (predictor, values) in zip(rows, known.items(), strict=True):
        defined = values[np.isfinite(values)]
        axes.hist(defined, bins=bins, color=COLOUR[predictor])
        said = []
        if len(defined):
            axes.axvline(defined.mean(), color=TRUTH, linewidth=1.5)
            said.append(f"mean {defined.mean():.3f}")
        if undefined := len(values) - len(defined):
            said.append(f"{undefined} undefined")
        axes.set_title(f"{predictor}: {', '.join(said)}", fontsize=10, loc="left", pad=3)
        axes.set_ylabel("genes", fontsize=9)
    rows[-1].set_xlabel(
        "correlation of predicted mean with measured, over spots of a section (PCC)"
    )
    n_sections = len({(r.fold, s) for r in runs for s in r.forecasts})
    figure.suptitle(f"Correlation of each gene, {n_sections} test section(s)", fontsize=12)
    return figure


def reliability_figure(runs: Sequence[Run]) -> Figure:
    """Nominal against observed coverage by randomised PIT, and its histogram; means over runs."""
    found: dict[str, list[Any]] = {}
    for run in runs:
        for each in run.forecasts.values():
            if each.coverage is not None:
                found.setdefault(run.predictor, []).append((each.coverage, each.pit))
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="0.6", linewidth=1.2, linestyle="--", label="as promised")
    right.axhline(1, color="0.6", linewidth=1.2, linestyle="--", label="as promised")
    edges, highest = np.linspace(0, 1, N_BINS + 1), 1.0
    for predictor, parts in found.items():
        colour, marker = COLOUR[predictor], MARKER[predictor]
        observed, shares = (np.mean(part, axis=0) for part in zip(*parts, strict=True))
        left.plot(LEVELS, observed, color=colour, marker=marker, markersize=5, label=predictor)
        height = N_BINS * shares
        highest = max(highest, float(height.max()))
        right.stairs(height, edges, color=colour, linewidth=2, label=predictor)
    left.set(
        xlabel="interval asked for", ylabel="share of measured values inside", xlim=(0, 1),
        ylim=(0, 1), aspect="equal", title="Coverage (below the line: too sure)",
    )  # fmt: skip
    right.set(
        xlabel="place of the measured value among the samples (PIT)", ylabel="density",
        xlim=(0, 1), ylim=(0, 1.35 * highest), title="Flat is right; high at both ends: too sure",
    )  # fmt: skip
    left.legend(frameon=False, loc="upper left")
    right.legend(frameon=False, loc="upper center", ncols=2)
    return figure


def reliable_genes(benchmark: Benchmark, fold: Fold, panel: Sequence[str]) -> tuple[str, ...]:
    """Genes that a linear model predicts best on left-out *training* sections of a fold.

    Chosen without a look at the test section, whose best genes would flatter.
    """
    from napari_stem.training.mean import fit_ridge

    train = [benchmark.arrays(s, panel) for s in fold.train]
    _, out_of_fold = fit_ridge(train)
    guesses = np.split(out_of_fold, np.cumsum([len(s.spots) for s in train])[:-1])
    found = [
        pcc(s.values.astype(np.float64), guess) for s, guess in zip(train, guesses, strict=True)
    ]
    mean = np.mean(np.nan_to_num(found), axis=0)
    return tuple(panel[i] for i in np.argsort(-mean)[:N_SHOWN])


def map_figure(
    benchmark: Benchmark, section_id: str, run: Run, genes: Sequence[str], unit: str
) -> Figure:
    """Draw measured, predicted mean and, of a run with draws, uncertainty of some genes, a row each.

    Measured and predicted share their colours, so that a prediction that varies too little is seen
    to do so.
    """
    section = benchmark.section(section_id)
    forecast, columns = run.forecasts[section_id], [run.panel.index(g) for g in genes]
    truth = benchmark.truth(section_id, run.panel)
    spots, mpp = section.spots(), section.mpp
    window = window_of(spots)
    with open_slide(section.slide_path, mpp) as slide:
        pixels, where = cut_slide(slide, mpp, window, BACKGROUND_PX)
    pale = (pixels.astype(np.float32) * (1 - PALER) + 255 * PALER).astype(np.uint8)
    aspect = window.height_um / window.width_um
    n_columns = 2 if forecast.sd is None else 3
    height_in = float(np.clip(4.0 * aspect, 2.2, 6.5))
    width_in = (height_in / aspect + 0.35) * n_columns + (2.2 if n_columns > 2 else 1.3)
    figure = Figure(figsize=(width_in, (height_in + 0.35) * len(genes) + 0.8), layout="constrained")
    grid = figure.subplots(len(genes), n_columns, squeeze=False)
    for axes_row, gene, column in zip(grid, genes, columns, strict=True):
        measured, mean = truth[:, column], forecast.mean[:, column]
        limits = Limits().of(np.concatenate([measured, mean]))
        for axes in axes_row:
            draw_tissue(axes, pale, where)
            frame(axes, window)
            axes.set_aspect("equal")
        draw_map(axes_row[0], spots, measured, DEFAULT_LOOK, limits=limits)
        both = draw_map(axes_row[1], spots, mean, DEFAULT_LOOK, limits=limits)
        figure.colorbar(both, ax=axes_row[:2], label=unit, shrink=0.85, pad=0.01)
        axes_row[0].set_ylabel(gene, fontsize=14, fontweight="bold")
        axes_row[0].set_title("measured")
        axes_row[1].set_title(f"predicted mean ({run.predictor}), PCC {forecast.pcc[column]:.2f}")
        if forecast.sd is not None:
            sd = forecast.sd[:, column]
            drawn = draw_map(axes_row[2], spots, sd, DEFAULT_LOOK, is_sd=True)
            figure.colorbar(drawn, ax=axes_row[2], label=unit, shrink=0.85, pad=0.01)
            axes_row[2].set_title("uncertainty (standard deviation)")
    draw_scale_bar(grid[-1][0], font_size=10)
    figure.suptitle(f"Section {section_id}, not trained on", fontsize=14)
    figure.supxlabel(NOTICE, fontsize=11)
    return figure


def _curves(
    values: NDArray[np.float32], sd: NDArray[np.float32] | None = None
) -> dict[str, NDArray[np.float64]]:
    """(genes,) mean and variance over spots, as shares of their sum and as they are."""
    mean = values.mean(axis=0, dtype=np.float64)
    variance = values.var(axis=0, dtype=np.float64)
    if sd is not None:
        variance = variance + np.mean(sd.astype(np.float64) ** 2, axis=0)
    return {
        "normalised mean": _shares(mean),
        "mean": mean,
        "normalised variance": _shares(variance),
        "variance": variance,
    }


def _shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide by the sum; NaN where gains and losses cancel (a probe whose predictions centre on 0)."""
    total = float(values.sum())
    if total <= 0.1 * float(np.abs(values).sum()):
        return np.full_like(values, np.nan)
    return values / total


def _first_seed(runs: Sequence[Run]) -> list[Run]:
    """Of runs that differ in nothing but the seed, the first."""
    first: dict[tuple[str, str], Run] = {}
    for run in runs:
        first.setdefault((run.fold, run.predictor), run)
    return list(first.values())
