"""``demo``: the packaged section predicted, in a window or to files, and held against what was measured."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from napari_stem.cli.app import app
from napari_stem.cli.predict import run_job
from napari_stem.cli.tables import say_figures
from napari_stem.cli.terminal import MANNER, ProgressBars, answer, progress_bars, say, tell
from napari_stem.errors import PredictionError
from napari_stem.io import require_writable
from napari_stem.texts import NOTICE, count

if TYPE_CHECKING:
    from napari_stem.geometry import Spots
    from napari_stem.model.bundle import Model
    from napari_stem.results import Prediction
    from napari_stem.slide.base import Slide

QT_BINDINGS = ("PySide6", "PyQt6", "PySide2", "PyQt5")
AGAIN = "again"
TITLE = "Section C5, never seen by the model, at the spots that were measured"


@app.command()
def demo(
    headless: Annotated[bool, Option(help="Open no window.")] = False,
    out: Annotated[Path, Option(help="Folder for the results.")] = Path("demo-output"),
) -> None:
    """Predict a packaged section: in a window, or to files.

    Without a display, a map, a table and figures are written to a folder.
    """
    why_not = "it was not asked for" if headless or MANNER.as_json else why_no_window()
    if why_not is None:
        from napari_stem.widgets.dock import show_demo

        figures, unit = packaged_figures()
        say_figures(figures, TITLE, unit)
        tell("Opening the viewer; close its window to end.")
        show_demo()
        return
    tell(f"No window is opened: {why_not}.")
    answer(run_demo(out), _say)


def _say(result: dict[str, Any]) -> None:
    say_figures({"predicted": result["metrics"]}, TITLE, result["metrics"]["unit"])
    say(f"{count(result['n_spots'], 'spot')}, {count(result['n_genes'], 'gene')}. {NOTICE}")
    say(f"Map of {result['gene']}:  {result['png']}")
    say(f"All genes:  {result['h5ad']} (AnnData)")


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

    What is returned is JSON-ready; ``metrics`` are as of ``evaluate --json``.
    """
    require_writable(out / "demo.h5ad")
    from napari_stem.evaluation.comparison import evaluate
    from napari_stem.exporting.kinds import export
    from napari_stem.exporting.selection import most_reliable_genes
    from napari_stem.model import load_model
    from napari_stem.sample_data import sample_path
    from napari_stem.slide import open_slide
    from napari_stem.spatial.dataset import Dataset

    model = load_model()
    out.mkdir(parents=True, exist_ok=True)
    with progress_bars() as bars, open_slide(sample_path(), progress=bars) as slide:
        prediction = _predicted(slide, model, out / "demo.zarr", bars, "Predicting the tissue")
        (gene,) = most_reliable_genes(prediction, 1)
        how: dict[str, Any] = {"slide": slide, "overwrite": True, "progress": False}
        export(prediction, "figure", out / "demo.png", genes=[gene], **how)
        export(prediction, "h5ad", out / "demo.h5ad", **how)
        section = Dataset(slide.path.parents[1]).section(slide.path.stem)
        measured, title = section.spots(), "Predicting the measured spots"
        place = out / "measured-spots.zarr"
        metrics = evaluate(
            _predicted(slide, model, place, bars, title, spots=measured), section.counts
        )
    return {
        **{kind: str(out / f"demo.{kind}") for kind in ("png", "h5ad", "zarr")},
        "gene": gene,
        "n_spots": len(prediction.spots),
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


def _predicted(
    slide: Slide,
    model: Model,
    path: Path,
    bars: ProgressBars,
    title: str,
    *,
    spots: Spots | None = None,
) -> Prediction:
    """Predict the tissue, or given spots with their draws kept; goes on where an earlier demo stopped."""
    from napari_stem.prediction_job import PredictionJob
    from napari_stem.settings import SamplingSettings

    job = PredictionJob.planned(
        slide, model, SamplingSettings(patient="same"), spots=spots, keep_draws=spots is not None
    )
    try:
        return run_job(job, path, bars, AGAIN, title=title, resume=True)
    except PredictionError:  # another version's
        shutil.rmtree(path)
        return run_job(job, path, bars, AGAIN, title=title)
