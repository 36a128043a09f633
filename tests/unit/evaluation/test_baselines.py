"""Baselines: HEST-bench's probe to the third digit, the others where the answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from napari_stem.errors import ModelError
from napari_stem.evaluation.baselines import (
    NAMES,
    PENALTIES,
    Task,
    best_k,
    bootstrapped_residuals,
    fit_knn,
    fit_place,
    fit_probe,
    fit_ridge,
    predictors,
    probe,
    smoothed,
)
from napari_stem.evaluation.options import BenchmarkOptions
from napari_stem.metrics import mse, pcc
from napari_stem.training.mean import gaussian_residuals

GOLDEN = Path(__file__).parents[2] / "data" / "hest" / "probe.npz"
TASK = Task(
    panel=("A", "B", "C", "D"), normalisation="log2_counts", encoder="bundled", encoder_version="1"
)


@pytest.fixture(scope="module")
def hest() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as stored:
        found = {key: stored[key] for key in stored}
    for side in ("train", "test"):
        found[f"x_{side}"] = found[f"embedding_{side}"].astype(np.float32)
        found[f"y_{side}"] = np.log1p(found[f"counts_{side}"].astype(np.float32))
    return found


def blind(section):
    return replace(section, values=np.full_like(section.values, np.nan))


def test_the_probe_is_that_of_hest_bench(hest) -> None:
    probe = fit_probe(hest["x_train"], hest["y_train"])
    predicted = probe(hest["x_test"]).astype(np.float64)
    truth = hest["y_test"].astype(np.float64)
    np.testing.assert_allclose(pcc(truth, predicted), hest["pearson"], atol=1e-3)
    np.testing.assert_allclose(((predicted - truth) ** 2).mean(axis=0), hest["l2"], rtol=5e-3)


def test_centred_targets_change_the_level_and_not_the_correlation(hest) -> None:
    truth = hest["y_test"].astype(np.float64)
    plain, centred = (
        fit_probe(hest["x_train"], hest["y_train"], centred=c)(hest["x_test"]).astype(np.float64)
        for c in (False, True)
    )
    np.testing.assert_allclose(pcc(truth, plain), pcc(truth, centred), atol=5e-3)
    assert mse(truth, centred) < mse(truth, plain) / 4


def test_the_probes_unit_is_no_matter_but_for_a_factor(hest) -> None:
    natural = fit_probe(hest["x_train"], hest["y_train"])(hest["x_test"])
    log2 = fit_probe(hest["x_train"], hest["y_train"] / np.log(2, dtype=np.float32))(hest["x_test"])
    np.testing.assert_allclose(log2 * np.log(2), natural, atol=0.02)


def test_few_spots_leave_fewer_components(linear_sections) -> None:
    train, test = linear_sections[:1], linear_sections[2]
    fitted = probe("hest-ridge-centred", "", centred=True).fit(train, TASK)
    forecast = fitted(blind(test))
    assert forecast.mean.shape == (30, 4)
    assert forecast.draws is None
    assert (pcc(test.values.astype(float), forecast.mean.astype(float)) > 0.9).all()


def test_ridge_is_the_linear_mean_of_our_models(linear_sections) -> None:
    from napari_stem.training import mean

    test = linear_sections[2]
    forecast = fit_ridge(linear_sections[:2], TASK)(blind(test))
    expected = mean.fit_ridge(linear_sections[:2])[0](test.embedding)
    np.testing.assert_array_equal(forecast.mean, expected)


def test_neighbours_find_the_spots_that_look_the_same(linear_sections) -> None:
    """Every test spot is there five times over in training, its values moved by -2 to 2."""
    test = linear_sections[2]
    train = [
        replace(test, id=f"copy{i}", values=test.values + shift)
        for i, shift in enumerate((-2, -1, 0, 1, 2))
    ]
    forecast = fit_knn(train, TASK)(blind(test))
    assert forecast.draws is not None
    assert forecast.draws.shape == (30, 4, 5)
    np.testing.assert_allclose(forecast.mean, test.values, atol=1e-5)
    np.testing.assert_allclose(
        np.sort(forecast.draws, axis=2) - test.values[..., None],
        np.broadcast_to([-2, -1, 0, 1, 2], (30, 4, 5)),
        atol=1e-5,
    )


def test_k_is_large_where_features_say_nothing_and_small_where_all() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 400)
    x = rng.uniform(-3, 3, size=(800, 1)).astype(np.float32)
    assert best_k(x, rng.normal(size=(800, 3)).astype(np.float32), group) == 80
    assert best_k(x, np.sin(6 * x).astype(np.float32), group) == 5


def test_k_is_chosen_across_groups_only() -> None:
    """Twins within a group would make a single neighbour look perfect."""
    rng = np.random.default_rng(0)
    half = rng.normal(size=(100, 6)).astype(np.float32)
    noise = rng.normal(size=(100, 2)).astype(np.float32)
    x, y = np.concatenate([half, half]), np.concatenate([noise, noise])
    within = np.tile(np.repeat([0, 1], 50), 2)  # twins share a group
    assert best_k(x, y, within) >= 40
    assert best_k(x[:6], y[:6], np.array([0, 0, 0, 1, 1, 1])) == 3  # no more than there are


@pytest.mark.parametrize("name", ["ours", "published"])
def test_diffusion_models_train_on_the_fold_and_draw(linear_sections, name) -> None:
    told = []
    (predictor,) = predictors([name], BenchmarkOptions(steps=1, published_steps=3))
    task = replace(TASK, progress=lambda *step: told.append(step))
    fitted = predictor.fit(linear_sections[:2], task)
    forecast = fitted(blind(linear_sections[2]))
    again = fitted(blind(linear_sections[2]))
    assert predictor.seeded
    assert forecast.draws.shape == (30, 4, 64 if name == "ours" else 20)
    assert np.isfinite(forecast.draws).all()
    np.testing.assert_array_equal(forecast.draws, again.draws)
    of_draws, spread = forecast.draws.mean(-1), forecast.draws.std(-1)
    if name == "published":
        np.testing.assert_allclose(forecast.mean, of_draws, rtol=1e-5)
    else:
        # exact, and that of the draws as near as 32 pairs tell; by regression it carries all, however
        # short the training
        assert (np.abs(forecast.mean - of_draws) < 4 * spread / np.sqrt(32)).all()
        truth = linear_sections[2].values.astype(float)
        assert (pcc(truth, forecast.mean.astype(float)) > 0.7).all()
    assert "Sampling section c" in {what for what, _, _ in told}
    assert predictor.settings["sampler"] == ("dpmpp-2m" if name == "ours" else "ancestral")


def test_a_penalty_is_chosen_and_helps_where_features_are_many(hest) -> None:
    """As RidgeCV's own figures on the same components, and better than the fixed penalty on noise."""
    x, y = hest["x_train"], hest["y_train"][:, :12]
    rng = np.random.default_rng(0)
    noisy = y + 3 * rng.normal(size=y.shape).astype(np.float32)
    fixed, chosen = (
        fit_probe(x, noisy, centred=True, penalties=p)(hest["x_test"]).astype(np.float64)
        for p in ((), PENALTIES)
    )
    truth = hest["y_test"][:, :12].astype(np.float64)
    assert mse(truth, chosen) < 0.8 * mse(truth, fixed)
    only = fit_probe(x, y, centred=True, penalties=(100 / (min(256, *x.shape) * y.shape[1]),))
    same = fit_probe(x, y, centred=True)
    np.testing.assert_allclose(only(hest["x_test"]), same(hest["x_test"]), atol=0.02)


def test_place_knows_what_depends_on_place_alone(linear_sections) -> None:
    sections = [
        replace(
            s, spots=replace(s.spots, x_px=s.spots.x_px + 1e4 * i, y_px=s.spots.y_px - 500.0 * i)
        )
        for i, s in enumerate(linear_sections)
    ]
    sections = [replace(s, values=_of_place(s)) for s in sections]
    forecast = fit_place(sections[:2], TASK)(blind(sections[2]))
    assert forecast.draws is None
    assert (pcc(sections[2].values.astype(float), forecast.mean.astype(float)) > 0.95).all()


def _of_place(section) -> np.ndarray:
    x = section.spots.x_px - section.spots.x_px.mean()
    return np.column_stack([np.sin(x / np.ptp(x) * k) for k in range(1, 5)]).astype(np.float32)


def test_smoothing_is_the_weighted_mean() -> None:
    rng = np.random.default_rng(0)
    xy, y, asked = rng.normal(size=(20, 2)), rng.normal(size=(20, 3)), rng.normal(size=(4, 2))
    for here, found in zip(asked, smoothed(xy, y, asked, 0.7), strict=True):
        weights = stats.norm.pdf(np.hypot(*(xy - here).T), scale=0.7)
        np.testing.assert_allclose(found, np.average(y, axis=0, weights=weights))


@pytest.mark.parametrize("fit_residuals", [gaussian_residuals, bootstrapped_residuals])
def test_residuals_vary_together_as_those_of_training_spots(fit_residuals) -> None:
    rng = np.random.default_rng(0)
    covariance = np.array([[1.0, 0.7, 0.0], [0.7, 1.0, 0.0], [0.0, 0.0, 4.0]])
    residual = rng.multivariate_normal(np.zeros(3), covariance, 4000)
    mean = rng.uniform(0, 1e-3, residual.shape)  # one level: nothing to scale by
    drawn = fit_residuals(mean, residual)(mean, rng)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.2)


def test_resampled_residuals_are_as_wide_as_those_at_such_a_mean() -> None:
    rng = np.random.default_rng(0)
    mean = rng.uniform(0, 4, (3000, 2))
    residual = mean * rng.normal(size=mean.shape)
    draw = bootstrapped_residuals(mean, residual)
    for level in (1.0, 3.0):
        spread = draw(np.full((4000, 2), level), rng).std()
        assert spread == pytest.approx(level, rel=0.15)


@pytest.mark.parametrize("name", ["gaussian", "bootstrap"])
def test_residual_models_draw_round_ridge(linear_sections, name) -> None:
    (predictor,) = predictors([name], BenchmarkOptions())
    fitted = predictor.fit(linear_sections[:2], TASK)
    forecast, again = (fitted(blind(linear_sections[2])) for _ in range(2))
    assert predictor.seeded
    np.testing.assert_array_equal(forecast.draws, again.draws)
    expected = fit_ridge(linear_sections[:2], TASK)(blind(linear_sections[2]))
    np.testing.assert_allclose(forecast.mean, expected.mean, rtol=1e-6)
    counts = np.exp2(forecast.draws) - 1
    np.testing.assert_allclose(counts, counts.round(), rtol=1e-4)


def test_names() -> None:
    assert [p.name for p in predictors(NAMES, BenchmarkOptions())] == list(NAMES)
    assert all(p.about for p in predictors(NAMES, BenchmarkOptions()))
    with pytest.raises(ModelError, match="no predictor 'forest'"):
        predictors(["ridge", "forest"], BenchmarkOptions())
