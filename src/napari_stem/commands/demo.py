"""``demo`` without a window: the packaged section predicted, and held against what was measured."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from napari_stem.commands.predicting import predicted
from napari_stem.commands.terminal import progress_bars
from napari_stem.errors import PredictionError
from napari_stem.model.card import most_reliable
from napari_stem.outputs import require_writable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_stem.commands.terminal import ProgressBars
    from napari_stem.geometry import Spots
    from napari_stem.model.bundle import Model
    from napari_stem.results import Prediction
    from napari_stem.slide.base import Slide

QT_BINDINGS = ("PySide6", "PyQt6", "PySide2", "PyQt5")
AGAIN = "again"


def why_no_window() -> str | None:
    """Why the viewer cannot open here; None where it can."""
    if not any(find_spec(name) for name in QT_BINDINGS):
        return "no Qt is installed (pip install 'napari-stem[qt]')"
    has_display = bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))
    if sys.platform.startswith("linux") and not has_display:
        return "there is no display"
    return None


def run_demo(out: Path) -> dict[str, Any]:
    """Predict the packaged section on its tissue, and once more on the spots that were measured.

    Parameters
    ----------
    out
        Folder for ``demo.h5ad``, ``demo.png``, ``demo.zarr`` and ``measured-spots.zarr``.

    Returns
    -------
    JSON-ready: ``png, h5ad, zarr, gene, n_spots, n_genes, metrics`` (as ``evaluate --json``).
    """
    require_writable(out / "demo.h5ad")
    from napari_stem.exporting.figure import write_figure
    from napari_stem.exporting.selection import Selection
    from napari_stem.exporting.table import write_table
    from napari_stem.model import load_model
    from napari_stem.predict import choose_spots

    model = load_model()
    out.mkdir(parents=True, exist_ok=True)
    with _sample() as (slide, bars):
        spots = choose_spots(slide, pitch_um=model.pitch_um)
        prediction = _predicted(
            slide, spots, model, out / "demo.zarr", bars, title="Predicting the tissue"
        )
        gene = best_gene(model)
        write_figure(
            Selection.of(prediction, (gene,)), out / "demo.png", slide=slide, overwrite=True
        )
        write_table(Selection.of(prediction), out / "demo.h5ad", overwrite=True)
        metrics = _measured(slide, model, out / "measured-spots.zarr", bars)
    return {
        **{kind: str(out / f"demo.{kind}") for kind in ("png", "h5ad", "zarr")},
        "gene": gene,
        "n_spots": len(spots),
        "n_genes": len(model.genes),
        "metrics": metrics,
    }


def packaged_figures() -> tuple[dict[str, Any], str]:
    """Figures of the packaged model on the sample, as its card states them: predictor -> metrics, and unit."""
    from napari_stem.model import DEFAULT_MODEL, PACKAGED
    from napari_stem.model.config import read_config
    from napari_stem.sample_data import sample_path
    from napari_stem.spatial.normalise import normalisation

    config = read_config(PACKAGED / DEFAULT_MODEL)
    figures: dict[str, Any] = config.card.get("metrics", {}).get(sample_path().stem, {})
    return figures, normalisation(config.normalisation).label


def best_gene(model: Model) -> str:
    """Gene that was predicted best on left-out training sections."""
    return most_reliable(model.card.get("gene_pcc", {})) or model.genes[0]


@contextmanager
def _sample() -> Iterator[tuple[Slide, ProgressBars]]:
    from napari_stem.sample_data import sample_path
    from napari_stem.slide import open_slide

    with progress_bars() as bars:
        slide = open_slide(sample_path(), progress=bars)
        try:
            yield slide, bars
        finally:
            slide.close()


def _predicted(
    slide: Slide,
    spots: Spots,
    model: Model,
    path: Path,
    bars: ProgressBars,
    *,
    title: str,
    keep_draws: bool = False,
) -> Prediction:
    """Go on where an earlier demo stopped; anew if that was another version's."""
    from napari_stem.settings import SamplingSettings

    def run() -> Prediction:
        return predicted(
            slide,
            spots,
            model,
            path,
            SamplingSettings(),
            bars,
            AGAIN,
            title,
            keep_draws=keep_draws,
            resume=True,
        )

    try:
        return run()
    except PredictionError:
        shutil.rmtree(path)
        return run()


def _measured(slide: Slide, model: Model, path: Path, bars: ProgressBars) -> dict[str, Any]:
    """Predict where it was measured, and compare."""
    from napari_stem.evaluation.comparison import evaluate
    from napari_stem.spatial.dataset import Dataset

    dataset = Dataset(slide.path.parents[1])
    section = dataset.section(slide.path.stem)
    prediction = _predicted(
        slide,
        section.spots(),
        model,
        path,
        bars,
        title="Predicting the measured spots",
        keep_draws=True,
    )
    return evaluate(prediction, section.counts)
