"""Finished runs of a benchmark on disk, one file each: what was forecast, how good it was, and tables of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_stem.cells import harmless_table
from napari_stem.io import DAMAGE, write_file, written_whole
from napari_stem.metrics import LEVELS, coverage_of, flat, pit, pit_histogram

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_stem.evaluation.baselines import Forecast

FOLDER, ENDING = "runs", ".npz"
JSON_FILE, CSV_FILE, GENES_FILE = "results.json", "results.csv", "genes.csv"


@dataclass(frozen=True)
class Summary:
    """A forecast of one section without its draws: what figures need."""

    mean: NDArray[np.float32]  # (n, G)
    sd: NDArray[np.float32] | None = None  # (n, G), None where there were no draws
    # coverage, pit: (levels,), (bins,) of `napari_stem.metrics`, None without draws
    coverage: NDArray[np.float64] | None = None
    pit: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, forecast: Forecast, truth: NDArray[np.float32]) -> Summary:
        """Reduce the draws of a forecast to their spread and reliability."""
        draws = forecast.draws
        if draws is None:
            return cls(forecast.mean)
        place = pit(truth, draws)
        coverage = np.array([coverage_of(place, level) for level in LEVELS])
        return cls(forecast.mean, draws.std(-1), coverage, pit_histogram(place))


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
    # by test section, as `napari_stem.metrics.evaluate` returns them
    metrics: dict[str, dict[str, Any]]
    own: dict[str, Any] = field(default_factory=dict)  # the protocol's own figures of the fold
    forecasts: dict[str, Summary] = field(default_factory=dict)  # by test section


def path_of(folder: Path, fold: str, predictor: str, seed: int | None) -> Path:
    """File of a run in a folder of results, there or not."""
    name = predictor if seed is None else f"{predictor}-seed{seed}"
    return folder / FOLDER / fold / (name + ENDING)


def save(run: Run, folder: Path) -> None:
    """Write a run into a folder of results, whole or not at all.

    OutputError: it cannot be written.
    """
    about = {k: v for k, v in vars(run).items() if k != "forecasts"}
    arrays: dict[str, NDArray[Any]] = {"about": np.array(json.dumps(about))}
    for section, forecast in run.forecasts.items():
        stored = {k: v for k, v in vars(forecast).items() if v is not None}
        arrays |= {f"{section}/{k}": v for k, v in stored.items()}
    path = path_of(folder, run.fold, run.predictor, run.seed)
    advice = "what was finished is kept: make room and run the same command again."
    with written_whole(path, overwrite=True, advice=advice) as fresh, fresh.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load(path: Path) -> Run | None:
    """Read a run; None where there is none or it is damaged, so that it is done again."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            parts: dict[str, dict[str, NDArray[Any]]] = {s: {} for s in about["metrics"]}
            for key in stored:
                section, _, name = key.rpartition("/")
                if section:
                    parts[section][name] = stored[key]
        forecasts = {section: Summary(**values) for section, values in parts.items()}
        return Run(**{**about, "panel": tuple(about["panel"])}, forecasts=forecasts)
    except DAMAGE:
        return None


def of_fold(folder: Path, fold: str) -> Iterator[Run]:
    """Yield every readable run of a fold in a folder of results."""
    for path in sorted((folder / FOLDER / fold).glob("*" + ENDING)):
        run = load(path)
        if run is not None and path == path_of(folder, run.fold, run.predictor, run.seed):
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


def own_figures(runs: Sequence[Run]) -> dict[str, Any]:
    """Predictor -> the protocol's own figures: per fold and seed, and their mean.

    The mean is None where one of its parts is: HEST's convention, by which a task with a constant
    gene is undefined.
    """
    found: dict[str, Any] = {}
    for run in runs:
        if run.own:
            row = {"fold": run.fold, "seed": run.seed, **run.own}
            found.setdefault(run.predictor, {"folds": []})["folds"].append(row)
    for entry in found.values():
        names = [k for k in entry["folds"][0] if k not in ("fold", "seed")]
        for name in names:
            parts = [row[name] for row in entry["folds"]]
            entry[name] = None if None in parts else float(np.mean(parts))
    return found


def write_results(folder: Path, results: dict[str, Any], genes: Sequence[Sequence[Any]]) -> None:
    """Write ``results.json``, ``results.csv`` and ``genes.csv``, each whole or not at all.

    OutputError: they cannot be written.
    """
    protocol, skipped = results["identity"]["protocol"], ("fold", "section", "predictor", "seed")
    rows = [
        (protocol, *(run[k] for k in skipped), name, value)
        for run in results["runs"]
        for name, value in flat(run).items()
        if name not in skipped
    ]
    text = json.dumps(results, ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    write_file(folder / JSON_FILE, text)
    write_file(folder / CSV_FILE, _csv(("protocol", *skipped, "metric", "value"), rows))
    write_file(folder / GENES_FILE, _csv((*skipped, "gene", "pcc"), genes))


def _csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    table = harmless_table(pd.DataFrame(rows, columns=list(columns), dtype=object))
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text
