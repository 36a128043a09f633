from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import integrate, special, stats

from napari_stem import metrics
from napari_stem.errors import PredictionError

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "stem_published.npz"


@pytest.fixture(scope="module")
def published() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as stored:
        return {key.split("/")[1]: stored[key] for key in stored if key.startswith("metrics/")}


@pytest.fixture
def truth(published) -> np.ndarray:
    return published["truth"]


def calibrated(n_draws: int, shape: tuple[int, int] = (400, 30), seed: int = 0):
    """Truth and draws from one and the same normal per entry, and that normal's mean."""
    rng = np.random.default_rng(seed)
    mean = 3 * rng.standard_normal(shape)
    sd = rng.uniform(0.5, 2, shape)
    truth = mean + sd * rng.standard_normal(shape)
    draws = mean[..., None] + sd[..., None] * rng.standard_normal((*shape, n_draws))
    return truth, mean, draws


def test_published_figures(published):
    figures = metrics.all_metrics(published["truth"], published["pred"])
    ours = [figures[key] for key in ("pcc_10", "pcc_50", "pcc_200", "mse", "mae", "rvd_mean")]
    theirs = [*published["pcc"], published["mse"], published["mae"], published["rvd"]]
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_perfect_prediction(truth):
    """Certain and right: every correlation 1, every error 0, every interval of no width."""
    figures = metrics.all_metrics(truth, truth, np.repeat(truth[..., None], 5, axis=2))
    assert sorted(metrics.flat(figures)) == sorted(metrics.MEANINGS)
    for key in ("pcc_10", "pcc_50", "pcc_200", "pcc_mean", "gsc_mean", "gsc_draw", "ssc_mean"):
        assert figures[key] == pytest.approx(1)
    errors = ("mse", "mae", "rvd_mean", "rvd_draw", "crps", "energy_score", "interval_width_90")
    for key in (*errors, "variogram_score"):
        assert figures[key] == pytest.approx(0, abs=1e-6)
    # all draws are the truth: its place among them is anybody's guess
    assert figures["coverage"]["90"] == pytest.approx(0.9, abs=0.03)


def test_the_docs_list_every_metric():
    text = (ROOT / "docs" / "reproduce.md").read_text()
    table = text.split("| metric | what it says |\n| --- | --- |\n")[1].split("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()]
    assert {name.strip("`"): meaning for name, meaning in rows} == metrics.MEANINGS


def test_inverted_prediction(truth):
    figures = metrics.all_metrics(truth, -truth)
    assert figures["pcc_mean"] == pytest.approx(-1)
    assert figures["rvd_mean"] == pytest.approx(0)  # it sees variances only
    assert figures["gsc_mean"] == pytest.approx(1)  # so do correlations between genes


def test_pcc_agrees_with_numpy_and_ignores_units(truth, published):
    predicted = published["pred"]
    expected = [np.corrcoef(truth[:, g], predicted[:, g])[0, 1] for g in range(truth.shape[1])]
    np.testing.assert_allclose(metrics.pcc(truth, predicted), expected, rtol=1e-10)
    np.testing.assert_allclose(metrics.pcc(truth, 7 * predicted - 3), expected, rtol=1e-10)


def test_constant_genes_are_counted_and_left_out(truth):
    measured, predicted = truth.copy(), truth.copy()
    measured[:, 0] = 0.1
    predicted[:, 1] = 1 / 3
    coefficients = metrics.pcc(measured, predicted)
    assert np.isnan(coefficients).nonzero()[0].tolist() == [0, 1]
    figures = metrics.all_metrics(measured, predicted, np.stack([predicted, predicted], axis=2))
    assert figures["pcc_undefined"] == 2
    assert figures["pcc_mean"] == pytest.approx(1)
    assert np.isfinite(figures["rvd_mean"])
    assert figures["gsc_mean"] == pytest.approx(1)
    n = truth.shape[1]
    assert figures["pcc_mean_zeroed"] == pytest.approx((n - 2) / n)
    assert metrics.top_mean(coefficients, n, "zero") == pytest.approx((n - 2) / n)


def test_top_mean_takes_the_largest():
    coefficients = np.array([0.1, np.nan, -0.5, 0.9, 0.4])
    assert metrics.top_mean(coefficients, 2) == pytest.approx(0.65)
    assert metrics.top_mean(coefficients, 4) == pytest.approx(0.225)
    assert metrics.top_mean(coefficients, 4, "zero") == pytest.approx(0.35)
    assert metrics.top_mean(coefficients, 50) == pytest.approx(0.225)  # of all there are


def test_rvd_by_hand():
    truth = np.array([[0.0, 0.0], [2.0, 4.0]])  # variances 1 and 4
    mean = np.array([[0.0, 0.0], [4.0, 4.0]])  # variances 4 and 4
    assert metrics.rvd(truth, mean) == pytest.approx((9 + 0) / 2)


def test_crps_of_certain_draws_is_the_absolute_error(truth, published):
    draws = np.repeat(published["pred"][..., None], 4, axis=2)
    assert metrics.crps(truth, draws) == pytest.approx(metrics.mae(truth, published["pred"]))


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.floats(-5, 5), min_size=2, max_size=8),
    st.floats(-8, 8),
)
def test_crps_is_the_integral_of_its_definition(values, y):
    """CRPS = integral of (F - 1{y <= z})^2 for the draws' step function F, less the fair term."""
    draws = np.array(values)
    n = len(draws)
    edges = np.unique(np.append(draws, y))
    middles = (edges[1:] + edges[:-1]) / 2
    below = (draws[:, None] <= middles).mean(axis=0)
    integral = (((below - (y <= middles)) ** 2) * np.diff(edges)).sum()
    differences = np.abs(draws[:, None] - draws).sum() / 2
    fair = integral + differences / n**2 - differences / (n * (n - 1))
    ours = metrics.crps(np.array([[y]]), draws[None, None])
    assert ours == pytest.approx(fair, abs=1e-9)


@given(arrays(np.float64, 7, elements=st.floats(-5, 5)), st.floats(-5, 5))
def test_crps_of_a_whole_forecast_is_the_area_between_the_distributions(values, y):
    """Of values that are all that is forecast: the integral of (F - [x >= y])^2."""
    ours = metrics.crps(np.array([[y]]), values[None, None], is_sampled=False)
    grid = np.sort(np.append(values, y))
    below = (values[None] <= grid[:-1, None]).mean(axis=1)
    steps = (below - (grid[:-1] >= y)) ** 2
    assert ours == pytest.approx(float((steps * np.diff(grid)).sum()), abs=1e-9)


def test_crps_of_few_draws_is_unbiased():
    """Draws of 3 from N(0, 1) score on average what the whole distribution does at y."""
    y = 0.7
    exact, _ = integrate.quad(
        lambda z: (stats.norm.cdf(z) - (z >= y)) ** 2, -12, 12, points=[y], limit=200
    )
    draws = np.random.default_rng(0).standard_normal((100_000, 1, 3))
    assert metrics.crps(np.full((100_000, 1), y), draws) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("n_draws", [2, 3, 4, 5])
def test_mirrored_draws_flatter_no_score(n_draws):
    """Few draws as our models give them; of two the CRPS was .33 instead of .56, of three .49."""
    rng = np.random.default_rng(0)
    shape = (40_000, 1)
    pairs = rng.standard_normal((*shape, (n_draws + 1) // 2))
    draws = np.stack([pairs, -pairs], axis=-1).reshape(*shape, -1)[..., :n_draws]
    figures = metrics.all_metrics(rng.standard_normal(shape), draws.mean(-1), draws)
    expected = None if n_draws == 2 else pytest.approx(np.pi**-0.5, abs=0.015)
    assert figures["crps"] == expected
    assert figures["energy_score"] == expected


@pytest.mark.parametrize("n_draws", [39, 100])
def test_calibrated_draws_cover_as_often_as_they_say(n_draws):
    truth, mean, draws = calibrated(n_draws)
    coverage = metrics.all_metrics(truth, mean, draws)["coverage"]
    for level, share in coverage.items():
        assert share == pytest.approx(int(level) / 100, abs=0.015)


def test_narrow_draws_cover_too_seldom_and_score_worse():
    truth, mean, draws = calibrated(60, (100, 12))
    narrow = mean[..., None] + 0.3 * (draws - mean[..., None])
    honest, proud = (metrics.all_metrics(truth, mean, d) for d in (draws, narrow))
    assert proud["coverage"]["90"] < 0.5
    assert proud["interval_width_90"] == pytest.approx(0.3 * honest["interval_width_90"])
    assert proud["crps"] > honest["crps"]


def test_interval_width_of_normal_draws():
    draws = np.random.default_rng(0).standard_normal((60, 20, 400))
    width = metrics.all_metrics(draws[..., 0], draws.mean(axis=2), draws)["interval_width_90"]
    assert width == pytest.approx(2 * stats.norm.ppf(0.95), rel=0.02)


def test_energy_and_variogram_score_by_their_definitions():
    """Sums written out (Gneiting and Raftery 2007; Scheuerer and Hamill 2015); of one gene the CRPS."""
    rng = np.random.default_rng(0)
    truth, draws = rng.normal(size=(3, 4)), rng.normal(size=(3, 4, 5))
    energy, variogram = [], []
    for y, x in zip(truth, draws, strict=True):
        error = np.mean([np.sqrt(((x[:, k] - y) ** 2).sum()) for k in range(5)])
        apart = [np.sqrt(((x[:, k] - x[:, m]) ** 2).sum()) for k in range(5) for m in range(5)]
        energy.append(error - sum(apart) / (2 * 5 * 4))
        for i in range(4):
            for j in range(i):
                expected = np.mean(np.abs(x[i] - x[j]) ** 0.5)
                variogram.append((np.abs(y[i] - y[j]) ** 0.5 - expected) ** 2)
    assert metrics.energy_score(truth, draws) == pytest.approx(np.mean(energy))
    assert metrics.variogram_score(truth, draws) == pytest.approx(np.mean(variogram), rel=1e-5)
    one = metrics.energy_score(truth[:, :1], draws[:, :1], is_sampled=False)
    assert one == pytest.approx(metrics.crps(truth[:, :1], draws[:, :1], is_sampled=False))
    assert metrics.variogram_score(truth[:, :1], draws[:, :1]) == 0


def test_energy_and_variogram_score_of_normals():
    """At 0, of N(0, I): E||X|| (1 - sqrt(1/2)), and E|X_i - X_j|^.5 squared."""
    draws = np.random.default_rng(0).standard_normal((40, 6, 400))
    zero = np.zeros((40, 6))
    length = np.sqrt(2) * special.gamma(3.5) / special.gamma(3)
    assert metrics.energy_score(zero, draws) == pytest.approx(length * (1 - 0.5**0.5), rel=0.01)
    step = 2**0.25 * 2**0.25 * special.gamma(0.75) / np.sqrt(np.pi)
    assert metrics.variogram_score(zero, draws) == pytest.approx(step**2, rel=0.01)


def test_wrong_correlations_cost_though_each_gene_is_right():
    rng = np.random.default_rng(0)
    together = np.repeat(rng.normal(size=(200, 1, 41)), 8, axis=1)
    apart = rng.normal(size=(200, 8, 40))
    for score in (metrics.energy_score, metrics.variogram_score):
        assert score(together[..., 0], together[..., 1:]) < 0.97 * score(together[..., 0], apart)


def test_many_genes_and_spots_are_thinned_for_the_variogram(monkeypatch):
    truth, _, draws = calibrated(6, (12, 9))
    monkeypatch.setattr(metrics, "MOST_FOR_VARIOGRAM", (4, 3))
    rows, columns = np.linspace(0, 11, 4).astype(int), [0, 4, 8]
    part = metrics.variogram_score(truth[rows][:, columns], draws[rows][:, columns])
    assert metrics.variogram_score(truth, draws) == pytest.approx(part)


def test_structure_lies_in_draws_not_in_a_flat_mean():
    """Genes that vary together beyond what the mean knows: draws carry it, the mean cannot."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((3, 25))

    def sections(n: int) -> np.ndarray:
        latent = rng.standard_normal((n, 500, 3))
        return latent @ mixing + 0.3 * rng.standard_normal((n, 500, 25))

    truth, *others = sections(7)
    mean = 0.1 * rng.standard_normal(truth.shape)
    figures = metrics.all_metrics(truth, mean, np.stack(others, axis=2))
    assert figures["gsc_draw"] > 0.95
    assert abs(figures["gsc_mean"]) < 0.3


def test_gsc_and_ssc_are_each_others_transpose(truth, published):
    predicted = published["pred"]
    assert metrics.gsc(truth, predicted) == pytest.approx(metrics.ssc(truth.T, predicted.T))
    upper = np.triu_indices(truth.shape[1], 1)
    entries = [np.corrcoef(side.T)[upper] for side in (truth, predicted)]
    assert metrics.gsc(truth, predicted) == pytest.approx(np.corrcoef(entries)[0, 1])


def test_many_spots_are_thinned_for_ssc(monkeypatch, truth, published):
    monkeypatch.setattr(metrics, "MAX_SPOTS_FOR_SSC", 30)
    thinned = metrics.ssc(truth, published["pred"])
    chosen = np.linspace(0, len(truth) - 1, 30).astype(int)
    assert thinned == pytest.approx(metrics.gsc(truth[chosen].T, published["pred"][chosen].T))


def test_what_cannot_be_computed_is_none_and_json_holds_it(truth):
    figures = metrics.all_metrics(truth[:, :2], truth[:, :2] * 0)
    assert sorted(metrics.flat(figures)) == sorted(metrics.MEANINGS)
    assert figures["pcc_mean_zeroed"] == 0
    for key in ("pcc_10", "pcc_mean", "gsc_mean", "crps", "energy_score", "gsc_draw", "ssc_draw"):
        assert figures[key] is None
    assert figures["coverage"] == {"50": None, "80": None, "90": None, "95": None}
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_draws_stored_as_float16_are_welcome(truth):
    noise = np.random.default_rng(0).standard_normal((*truth.shape, 8))
    draws = truth[..., None] + noise
    exact = metrics.all_metrics(truth, truth, draws)
    stored = metrics.all_metrics(truth, truth, draws.astype(np.float16))
    for key in ("crps", "energy_score", "rvd_draw", "gsc_draw", "interval_width_90"):
        assert stored[key] == pytest.approx(exact[key], rel=2e-3)


@pytest.mark.parametrize(
    ("mean", "draws", "told"),
    [
        (np.zeros((60, 207)), None, "207"),
        (np.full((60, 208), np.nan), None, "finite"),
        (np.zeros(208), None, "table"),
        (np.zeros((60, 208)), np.zeros((60, 208, 1)), "2 or more samples"),
        (np.zeros((60, 208)), np.zeros((59, 208, 4)), "59"),
    ],
)
def test_tables_that_do_not_fit_are_refused(truth, mean, draws, told):
    with pytest.raises(PredictionError, match=told):
        metrics.all_metrics(truth, mean, draws)


@given(
    arrays(
        np.float32,
        st.tuples(st.just(3), st.just(2), st.integers(2, 100)),
        elements=st.floats(0, 12, width=32),
    )
)
def test_quantiles_are_those_of_numpy(draws):
    expected = np.quantile(draws, [0.05, 0.95], axis=-1, method="weibull")
    np.testing.assert_allclose(metrics.central_interval(draws, 0.9), expected, rtol=1e-5, atol=1e-6)


def test_quantiles_of_what_is_no_number_are_none():
    draws = np.zeros((1, 2, 8), np.float32)
    draws[0, 1, 3] = np.nan
    low, high = metrics.central_interval(draws, 0.9)
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [[False, True]]
