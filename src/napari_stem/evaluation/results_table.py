"""What a benchmark found: one JSON object, and tidy tables of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_stem import __version__
from napari_stem.cells import harmless_table
from napari_stem.evaluation.baselines import NAMES
from napari_stem.io import write_file
from napari_stem.metrics import flat, pcc
from napari_stem.spatial.normalise import normalisation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_stem.evaluation.benchmark import Benchmark
    from napari_stem.evaluation.runs import Run

JSON_FILE, CSV_FILE, GENES_FILE = "results.json", "results.csv", "genes.csv"
_NOT_AVERAGED = ("n_spots", "n_genes")


def stored_runs(benchmark: Benchmark) -> list[Run]:
    """Every run in the folder that belongs to the benchmark's folds and panels, earlier calls' too."""
    runs = [
        run
        for fold in benchmark.plan.folds
        for run in benchmark.store.of_fold(fold.name)
        if run.panel == benchmark.panel(fold) and tuple(run.metrics) == fold.test
    ]
    order = {fold.name: i for i, fold in enumerate(benchmark.plan.folds)}
    return sorted(runs, key=lambda r: (order[r.fold], NAMES.index(r.predictor), r.seed or 0))


def results_of(benchmark: Benchmark, runs: Sequence[Run]) -> dict[str, Any]:
    """Return everything found so far, JSON-ready.

    Returns
    -------
    dict
        ``identity`` (protocol, data set, encoder, panel recipe, unit), ``about``, ``notes``,
        ``unit``, ``predictors`` (what each is, unit it was fitted in, settings), ``folds`` (train,
        validation, test, panel), ``runs`` (fold, section, predictor, seed, and every metric of
        `napari_stem.metrics.evaluate`), ``aggregates`` (see `aggregates`), ``own`` (the
        protocol's own figures), ``failures``, ``complete``.
    """
    done = {(r.fold, r.predictor, r.seed) for r in runs}
    known = {p.name: p.about for p in benchmark.predictors}
    unit = normalisation(benchmark.normalisation).label
    return {
        "version": __version__,
        "identity": benchmark.identity,
        "about": benchmark.protocol.about,
        "notes": list(benchmark.plan.notes),
        "unit": unit,
        "predictors": {
            r.predictor: {
                "about": known.get(r.predictor, ""),
                "fitted_in": unit,
                "settings": r.settings,
            }
            for r in runs
        },
        "folds": [{**asdict(f), "panel": benchmark.panel(f)} for f in benchmark.plan.folds],
        "runs": [
            {
                "fold": r.fold,
                "section": section,
                "predictor": r.predictor,
                "seed": r.seed,
                "seconds": r.seconds,
                **figures,
            }
            for r in runs
            for section, figures in r.metrics.items()
        ],
        "aggregates": aggregates(runs),
        "own": own_figures(runs),
        "failures": list(benchmark.failures),
        "complete": all((j.fold.name, j.predictor.name, j.seed) in done for j in benchmark.jobs),
    }


def aggregates(runs: Iterable[Run]) -> dict[str, dict[str, Any]]:
    """Predictor -> metric -> ``mean, min, max, n`` over test sections and seeds.

    Each test section of each fold and each seed counts once; what is not defined is left out of
    ``n``, and a metric defined nowhere is None.
    """
    values: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        for figures in run.metrics.values():
            for name, value in flat(figures).items():
                if name not in _NOT_AVERAGED:
                    kept = values.setdefault(run.predictor, {}).setdefault(name, [])
                    kept += [] if value is None else [float(value)]
    return {
        predictor: {name: _spread(kept) for name, kept in by_name.items()}
        for predictor, by_name in values.items()
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

    Raises
    ------
    OutputError
        They cannot be written.
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


def gene_rows(benchmark: Benchmark, runs: Sequence[Run]) -> list[tuple[Any, ...]]:
    """(fold, section, predictor, seed, gene, PCC or None) of every run."""
    rows: list[tuple[Any, ...]] = []
    for run in runs:
        for section in run.forecasts:
            head = (run.fold, section, run.predictor, run.seed)
            rows += [
                (*head, gene, None if np.isnan(value) else round(float(value), 6))
                for gene, value in zip(run.panel, gene_pcc(benchmark, run, section), strict=True)
            ]
    return rows


def gene_pcc(benchmark: Benchmark, run: Run, section: str) -> NDArray[np.float64]:
    """(genes,) correlation of a run's predicted mean with what was measured, on one test section."""
    truth = benchmark.truth(section, run.panel).astype(np.float64)
    return pcc(truth, run.forecasts[section].mean.astype(np.float64))


def _spread(values: Sequence[float]) -> dict[str, Any] | None:
    if not values:
        return None
    return {
        "mean": float(np.mean(values)),
        "min": min(values),
        "max": max(values),
        "n": len(values),
    }


def _csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    table = harmless_table(pd.DataFrame(rows, columns=list(columns), dtype=object))
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text
