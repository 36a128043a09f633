"""Finished runs of a benchmark on disk, one file each: what was forecast, how good it was, and tables of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_stem.cells import harmless_table
from napari_stem.errors import OutputError
from napari_stem.foreign import read_json
from napari_stem.io import DAMAGE, require_writable, write_file, written_whole
from napari_stem.metrics import LEVELS, MEANINGS, coverage_of, flat, pcc, pit, pit_histogram

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_stem.evaluation.baselines import Forecast

RUNS, FIGURES, ENDING = "runs", "figures", ".npz"
JSON_FILE, CSV_FILE, GENES_FILE = "results.json", "results.csv", "genes.csv"


@dataclass(frozen=True)
class ForecastSummary:
    """A forecast of one section without its draws: what figures need."""

    mean: NDArray[np.float32]  # (n, G)
    pcc: NDArray[np.float64]  # (G,) correlation of each gene's mean with the truth; NaN: undefined
    sd: NDArray[np.float32] | None = None  # (n, G), None where there were no draws
    # coverage, pit: (levels,), (bins,) of `napari_stem.metrics`, None without draws
    coverage: NDArray[np.float64] | None = None
    pit: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, forecast: Forecast, truth: NDArray[np.float32]) -> ForecastSummary:
        """Compare a forecast with the truth, and reduce its draws to their spread and reliability."""
        mean, draws = forecast.mean, forecast.draws
        correlations = pcc(truth.astype(np.float64), mean.astype(np.float64))
        if draws is None:
            return cls(mean, correlations)
        place = pit(truth, draws)
        coverage = np.array([coverage_of(place, level) for level in LEVELS])
        return cls(mean, correlations, draws.std(-1), coverage, pit_histogram(place))


@dataclass(frozen=True, kw_only=True)
class Run:
    """One predictor on one fold with one seed."""

    # fold, predictor: their names
    fold: str
    predictor: str
    seed: int | None  # None where the predictor has none
    settings: dict[str, Any]  # what else its numbers depend on
    panel: tuple[str, ...]  # genes, in the order of the columns
    seconds: float  # it took, fit and forecasts together
    # by test section, as `napari_stem.metrics.all_metrics` returns them
    metrics: dict[str, dict[str, Any]]
    # of the fold, as `Protocol` has them
    protocol_figures: dict[str, Any] = field(default_factory=dict)
    forecasts: dict[str, ForecastSummary] = field(default_factory=dict)  # by test section


def run_path(folder: Path, fold: str, predictor: str, seed: int | None) -> Path:
    """File of a run in a folder of results, there or not."""
    name = predictor if seed is None else f"{predictor}-seed{seed}"
    return folder / RUNS / fold / (name + ENDING)


def save_run(run: Run, folder: Path) -> None:
    """Write a run into a folder of results, whole or not at all.

    OutputError: it cannot be written.
    """
    about = {k: v for k, v in vars(run).items() if k != "forecasts"}
    arrays: dict[str, NDArray[Any]] = {"about": np.array(json.dumps(about))}
    for section, forecast in run.forecasts.items():
        stored = {k: v for k, v in vars(forecast).items() if v is not None}
        arrays |= {f"{section}/{k}": v for k, v in stored.items()}
    path = run_path(folder, run.fold, run.predictor, run.seed)
    advice = "what was finished is kept: make room and run the same command again."
    with written_whole(path, overwrite=True, advice=advice) as fresh, fresh.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load_run(path: Path) -> Run | None:
    """Read a run; None, so that it is done again, where there is none, it is damaged or has other metrics."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            parts: dict[str, dict[str, NDArray[Any]]] = {s: {} for s in about["metrics"]}
            for key in stored:
                section, _, name = key.rpartition("/")
                if section:
                    parts[section][name] = stored[key]
        forecasts = {section: ForecastSummary(**values) for section, values in parts.items()}
        run = Run(**{**about, "panel": tuple(about["panel"])}, forecasts=forecasts)
        is_current = all(flat(each).keys() == MEANINGS.keys() for each in run.metrics.values())
    except DAMAGE:
        return None
    return run if is_current else None


def runs_of_fold(folder: Path, fold: str) -> Iterator[Run]:
    """Yield every run of a fold in a folder of results that `load_run` takes."""
    for path in sorted((folder / RUNS / fold).glob("*" + ENDING)):
        run = load_run(path)
        if run is not None and path == run_path(folder, run.fold, run.predictor, run.seed):
            yield run


def aggregates(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Predictor -> metric -> ``mean, min, max, n`` over test sections and seeds.

    Each test section of each fold and each seed counts once; what is not defined is left out of
    ``n``, and a metric defined nowhere is None.
    """
    rows = [
        {"predictor": run.predictor, **flat(figures)}
        for run in runs
        for figures in run.metrics.values()
    ]
    table = pd.DataFrame(rows, columns=None if rows else ["predictor"]).set_index("predictor")
    table = table.drop(columns=["n_spots", "n_genes"], errors="ignore").astype(float)
    return {
        predictor: {
            name: None
            if known.empty
            else {
                "mean": float(known.mean()),
                "min": float(known.min()),
                "max": float(known.max()),
                "n": len(known),
            }
            for name, known in ((name, own[name].dropna()) for name in own)
        }
        for predictor, own in table.groupby(level=0, sort=False)
    }


def protocol_figures(runs: Sequence[Run]) -> dict[str, Any]:
    """Predictor -> the protocol's own figures: per fold and seed, and their mean.

    The mean is None where one of its parts is: HEST's convention, by which a task with a constant
    gene is undefined.
    """
    found: dict[str, Any] = {}
    for run in runs:
        if run.protocol_figures:
            row = {"fold": run.fold, "seed": run.seed, **run.protocol_figures}
            found.setdefault(run.predictor, {"folds": []})["folds"].append(row)
    for entry in found.values():
        names = [k for k in entry["folds"][0] if k not in ("fold", "seed")]
        for name in names:
            parts = [row[name] for row in entry["folds"]]
            entry[name] = None if None in parts else float(np.mean(parts))
    return found


def write_json(folder: Path, results: dict[str, Any]) -> None:
    """Write ``results.json``, whole or not at all; OutputError where it cannot be written."""
    text = json.dumps(results, ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    write_file(folder / JSON_FILE, text)


def write_results(folder: Path, results: dict[str, Any], runs: Sequence[Run]) -> None:
    """Write ``results.json``, ``results.csv`` and ``genes.csv``, each whole or not at all.

    OutputError: they cannot be written.
    """
    write_json(folder, results)
    protocol, key = results["identity"]["protocol"], ("fold", "section", "predictor", "seed")
    values = [
        (protocol, *(run[k] for k in key), name, value)
        for run in results["runs"]
        for name, value in flat(run).items()
        if name not in key
    ]
    genes = [
        (run.fold, section, run.predictor, run.seed, gene, None if np.isnan(r) else round(r, 6))
        for run in runs
        for section, forecast in run.forecasts.items()
        for gene, r in zip(run.panel, forecast.pcc.tolist(), strict=True)
    ]
    write_file(folder / CSV_FILE, _csv(("protocol", *key, "metric", "value"), values))
    write_file(folder / GENES_FILE, _csv((*key, "gene", "pcc"), genes))


def clear(folder: Path) -> None:
    """Remove everything that a benchmark writes into its folder."""
    for name in (RUNS, FIGURES):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (JSON_FILE, CSV_FILE, GENES_FILE):
        (folder / name).unlink(missing_ok=True)


def require_results_folder(folder: Path) -> None:
    """Refuse a folder that cannot be written, or holds other things than results, by an OutputError."""
    require_writable(folder / JSON_FILE)
    if folder.is_file():
        raise OutputError(f"{folder} is a file; name a folder for the results.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / JSON_FILE).is_file():
        raise OutputError(
            f"{folder} holds other things than results; choose an empty or new folder."
        )


def require_same(folder: Path, identity: dict[str, Any]) -> None:
    """Refuse, by an OutputError, to mix runs of two benchmarks in one folder."""
    path = folder / JSON_FILE
    if not path.is_file():
        return
    try:
        before = read_json(path.read_text(encoding="utf-8"))["identity"]
        differing = [k for k in identity if before.get(k) != identity[k]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(f"{path} is damaged ({error}); add --overwrite to begin anew.") from error
    if differing:
        raise OutputError(
            f"{folder} holds results that differ in {', '.join(differing).replace('_', ' ')}; choose another "
            f"folder, or add --overwrite."
        )


def _csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    table = harmless_table(pd.DataFrame(rows, columns=list(columns), dtype=object))
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text
