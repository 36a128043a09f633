"""What the measured and the analysis part do off the GUI thread; heavy modules are loaded there."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from napari_stem.cells import harmless_table
from napari_stem.errors import PredictionError
from napari_stem.evaluation.measured_counts import read_measured
from napari_stem.evaluation.measured_match import match_measured
from napari_stem.io import written_whole
from napari_stem.spatial_analysis import store
from napari_stem.spatial_analysis.steps import run_in_subprocess

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    import anndata
    import pandas as pd

    from napari_stem.evaluation.measured_match import MeasuredMatch
    from napari_stem.geometry import Mpp, SizePx
    from napari_stem.results import Prediction
    from napari_stem.spatial_analysis import Domains

    IsStopped = Callable[[], bool]
    Report = Callable[[str, int, int], None]


def read_counts(path: Path, size: SizePx) -> anndata.AnnData:
    """Read measured counts of a slide of this size."""
    return read_measured(path, size)


def match(
    prediction: Prediction, counts: anndata.AnnData, mpp: Mpp, stop: threading.Event
) -> MeasuredMatch | None:
    """Lay counts beside a prediction; None where what is predicted so far was not measured."""
    try:
        return match_measured(prediction, counts, mpp, stop.is_set)
    except PredictionError:
        if prediction.done.all():
            raise
        return None  # there may be something to compare once more spots are done


def find_domains(
    path: str, resolution: float, is_stopped: IsStopped, report: Report
) -> bool | None:
    """Find domains in a process of their own; None where it was stopped."""
    return run_in_subprocess(["domains", path, str(resolution)], is_stopped, report) or None


def rank_genes(path: str, is_stopped: IsStopped, report: Report) -> pd.DataFrame | None:
    """Compute Moran's I in a process of its own; None where it was stopped."""
    import pandas as pd

    with TemporaryDirectory() as folder:
        out = Path(folder) / "morans.csv"
        if not run_in_subprocess(["morans", path, str(out)], is_stopped, report):
            return None
        return pd.read_csv(out, index_col="gene", keep_default_na=False, na_values=[""])


def read_domains(prediction: Prediction) -> Domains | None:
    """Read the domains stored beside a prediction."""
    return store.read_domains(prediction)


def store_domains(domains: Domains, prediction: Prediction) -> None:
    """Store domains beside their prediction."""
    store.write_domains(domains, store.sidecar_path(prediction))


def export_domains(domains: Domains, prediction: Prediction, path: Path) -> Path:
    """Save domains for other programs; returns where."""
    store.export_domains(domains, prediction, path)
    return path


def write_csv(table: pd.DataFrame, path: Path) -> Path:
    """Save a table; returns where.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    with written_whole(path, overwrite=True) as fresh:
        harmless_table(table).to_csv(fresh)
    return path
