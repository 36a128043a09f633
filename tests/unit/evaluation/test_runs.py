"""Runs on disk, their reduction, and what is told of many of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_stem.evaluation.baselines import Forecast
from napari_stem.evaluation.runs import (
    ForecastSummary,
    Run,
    aggregates,
    load_run,
    protocol_figures,
    run_path,
    runs_of_fold,
    save_run,
)
from napari_stem.metrics import LEVELS, N_BINS, all_metrics, coverage_of, pit, pit_histogram
from napari_stem.spatial.normalise import normalisation, normalised


def honest(n_draws: int = 39, spread: float = 1.0):
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(200, 6))
    truth = mean + rng.normal(size=mean.shape)
    draws = mean[..., None] + spread * rng.normal(size=(*mean.shape, n_draws))
    return truth.astype(np.float32), draws.astype(np.float32)


def make_run(fold="C5", predictor="knn", seed=None, own=None, spread=1.0) -> Run:
    truth, draws = honest(spread=spread)
    forecast = Forecast(draws.mean(-1), draws)
    return Run(
        fold=fold,
        predictor=predictor,
        seed=seed,
        settings={"steps": 3},
        panel=tuple("ABCDEF"),
        seconds=1.5,
        metrics={fold: all_metrics(truth, forecast.mean, draws)},
        protocol_figures=own or {},
        forecasts={fold: ForecastSummary.of(forecast, truth)},
    )


def test_a_run_comes_back_as_it_was(tmp_path) -> None:
    run = make_run(seed=3)
    save_run(run, tmp_path)
    again = load_run(run_path(tmp_path, "C5", "knn", 3))
    assert again is not None
    plain = {k: v for k, v in vars(run).items() if k != "forecasts"}
    assert {k: v for k, v in vars(again).items() if k != "forecasts"} == plain
    for name, values in vars(run.forecasts["C5"]).items():
        np.testing.assert_array_equal(getattr(again.forecasts["C5"], name), values)
    assert [r.seed for r in runs_of_fold(tmp_path, "C5")] == [3]
    assert load_run(run_path(tmp_path, "C5", "knn", None)) is None


def test_a_mean_alone_comes_back_without_the_rest(tmp_path) -> None:
    truth, _ = honest()
    run = Run(
        fold="a/b".replace("/", "-"),
        predictor="ridge",
        seed=None,
        settings={},
        panel=tuple("ABCDEF"),
        seconds=0.1,
        metrics={"s": all_metrics(truth, truth)},
        forecasts={"s": ForecastSummary.of(Forecast(truth), truth)},
    )
    save_run(run, tmp_path)
    (again,) = runs_of_fold(tmp_path, "a-b")
    assert again.forecasts["s"].sd is None
    assert again.forecasts["s"].coverage is None


@pytest.mark.parametrize("harm", [b"", b"PK\x03\x04 no archive", None])
def test_a_damaged_run_counts_as_not_done(tmp_path, harm) -> None:
    save_run(make_run(), tmp_path)
    path = run_path(tmp_path, "C5", "knn", None)
    path.write_bytes(path.read_bytes()[:-200] if harm is None else harm)
    assert load_run(path) is None
    assert list(runs_of_fold(tmp_path, "C5")) == []


def test_a_run_with_other_metrics_counts_as_not_done(tmp_path) -> None:
    old = make_run(seed=0)
    del old.metrics["C5"]["energy_score"]
    save_run(old, tmp_path)
    save_run(make_run(seed=1), tmp_path)
    assert load_run(run_path(tmp_path, "C5", "knn", 0)) is None
    assert [run.seed for run in runs_of_fold(tmp_path, "C5")] == [1]


def test_means_and_ranges_are_over_sections_and_seeds() -> None:
    runs = [make_run(seed=0), make_run(seed=1, spread=0.2), make_run("C4", seed=0)]
    runs[2].metrics["C4"]["crps"] = None
    found = aggregates(runs)["knn"]
    coverage = [r.metrics[r.fold]["coverage"]["90"] for r in runs]
    assert found["coverage 90"]["n"] == 3
    assert found["coverage 90"]["mean"] == pytest.approx(np.mean(coverage))
    assert (found["coverage 90"]["min"], found["coverage 90"]["max"]) == (
        min(coverage),
        max(coverage),
    )
    assert found["crps"]["n"] == 2  # what is not defined does not count
    assert "n_spots" not in found
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_one_undefined_fold_makes_the_protocols_mean_undefined() -> None:
    defined = [make_run(f, own={"hest_pearson": v}) for f, v in (("a", 0.2), ("b", 0.4))]
    assert protocol_figures(defined)["knn"]["hest_pearson"] == pytest.approx(0.3)
    undefined = [*defined, make_run("c", own={"hest_pearson": None})]
    assert protocol_figures(undefined)["knn"]["hest_pearson"] is None


def test_honest_draws_are_reliable_and_narrow_ones_are_seen_through() -> None:
    truth, draws = honest()
    kept = ForecastSummary.of(Forecast(draws.mean(-1), draws), truth)
    np.testing.assert_allclose(kept.coverage, LEVELS, atol=0.04)
    assert kept.pit.shape == (N_BINS,)
    assert kept.pit.sum() == pytest.approx(1)
    np.testing.assert_allclose(N_BINS * kept.pit, 1, atol=0.4)
    narrow = ForecastSummary.of(Forecast(draws.mean(-1), honest(spread=0.3)[1]), truth)
    assert narrow.coverage[-2] < 0.5
    assert narrow.pit[[0, -1]].sum() > 0.4


def test_coverage_agrees_with_the_table() -> None:
    truth, draws = honest()
    figures = all_metrics(truth, draws.mean(-1), draws)["coverage"]
    curve = dict(
        zip(LEVELS, ForecastSummary.of(Forecast(truth, draws), truth).coverage, strict=True)
    )
    for level, share in figures.items():
        assert curve[int(level) / 100] == pytest.approx(share)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])  # in memory; as predictions keep them
def test_ties_of_counts_are_broken_evenly(dtype) -> None:
    """Truth and draws from one Poisson law: mostly few, many ties, and still flat."""
    rng = np.random.default_rng(1)
    counts = rng.poisson([[[0.3]], [[6.0]]], size=(2, 4000, 21)).transpose(1, 0, 2)
    values = np.log2(counts + 1)
    draws = values[..., 1:].astype(dtype)
    place = pit(values[..., 0], draws)
    np.testing.assert_allclose(N_BINS * pit_histogram(place), 1, atol=0.15)
    np.testing.assert_array_equal(place, pit(values[..., 0], draws))
    for gene in range(2):  # what counts the ends of intervals as inside says .99 of the first
        assert coverage_of(place[:, gene], 0.9) == pytest.approx(0.9, abs=0.015)


def test_log1p_counts_is_the_natural_logarithm() -> None:
    import anndata
    import pandas as pd

    counts = np.array([[0, 1], [7, 300]], np.float32)
    table = anndata.AnnData(counts, var=pd.DataFrame(index=["A", "B"]))
    np.testing.assert_allclose(
        normalised(table, ["B", "A"], "log1p_counts"), np.log1p(counts[:, ::-1])
    )
    assert normalisation("log1p_counts").label == "ln(count + 1)"
