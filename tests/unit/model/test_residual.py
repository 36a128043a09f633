"""What remains about the mean: marginals against known ones, dependence against its closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from napari_stem.geometry import Mpp, Spots
from napari_stem.model.residual import SCORES, Residual
from napari_stem.training.head_fit import (
    DEPTH_PRIOR,
    PATIENT_PRIOR,
    fit_residual,
    patient_effects,
)

N, G = 4000, 6
FACTOR = np.array([0.5, 1, 1, 1, 2, 0])


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, residuals with heavy tails, and the correlation beneath them; one gene is constant."""
    rng = np.random.default_rng(0)
    correlation = 0.6 ** np.abs(np.subtract.outer(np.arange(G), np.arange(G)))
    z = rng.multivariate_normal(np.zeros(G), correlation, N)
    mean = rng.uniform(0, 4, (N, G))
    return mean, FACTOR * spread(mean) * stats.t(5).ppf(stats.norm.cdf(z)), correlation


def strip(n: int, step_um: float) -> Spots:
    """Spots in one row."""
    place = np.arange(n)
    x_px, names = place * step_um * 2, tuple(map(str, place))
    return Spots(x_px, np.zeros(n), place, place, step_um, step_um, names, Mpp.square(0.5))


def spread(mean: np.ndarray) -> np.ndarray:
    return 0.4 + 0.2 * mean


@pytest.fixture(scope="module")
def fitted(world) -> tuple[Residual, np.ndarray]:
    return fit_residual(world[0], world[1], [strip(N, 100.0)], np.zeros(G))


def test_marginals_are_found_again(fitted) -> None:
    """Away from the ends, where a range of means is not told apart, and from the outermost tails."""
    residual, _ = fitted
    mean = np.full((1, G), 2.0, np.float32)
    z = np.linspace(-2, 2, 9, dtype=np.float32)
    drawn = residual.at(mean, np.tile(z, (1, G, 1)))[0]
    expected = FACTOR[:, None] * spread(2.0) * stats.t(5).ppf(stats.norm.cdf(z))
    np.testing.assert_allclose(drawn, expected, rtol=0.1, atol=0.03)


def test_expected_residual_is_the_average_of_many(fitted) -> None:
    residual, _ = fitted
    mean = np.linspace(0.5, 3.5, 4 * G, dtype=np.float32).reshape(4, G)
    evenly = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000).astype(np.float32)
    many = residual.at(mean, np.tile(evenly, (4, G, 1))).mean(-1)
    np.testing.assert_allclose(residual.expected(mean), many, atol=1e-3)


def test_normal_scores_are_the_way_back(fitted, world) -> None:
    residual, _ = fitted
    mean = world[0][:50]
    z = np.random.default_rng(1).normal(size=(50, G)).clip(-3, 3)
    drawn = residual.at(mean.astype(np.float32), z[:, :, None].astype(np.float32))[..., 0]
    back = residual.scores_of(mean, drawn.astype(float))
    np.testing.assert_allclose(back[:, :5], z[:, :5], atol=2e-3)


def test_genes_vary_together_as_they_did(fitted, world) -> None:
    """The covariance of what is drawn, in closed form, against the one that the world was made with."""
    residual, scores = fitted
    made = residual.directions.T @ residual.directions + np.diag(residual.own**2)
    np.testing.assert_allclose(made[:5, :5], world[2][:5, :5], atol=0.05)
    np.testing.assert_allclose(np.diag(made), 1, atol=1e-4)
    varied = scores[:, scores.std(0) > 0.1]  # all but the constant gene's own
    np.testing.assert_allclose(np.cov(varied.T), np.eye(5), atol=0.08)


def test_leading_directions_leave_the_rest_to_each_gene() -> None:
    rng = np.random.default_rng(2)
    residual = rng.normal(size=(300, 90)) + rng.normal(size=(300, 1))
    found, scores = fit_residual(np.ones((300, 90)), residual, [strip(300, 100.0)], np.zeros(90))
    assert (found.directions.shape, scores.shape) == ((64, 90), (300, 64))
    assert found.own.min() > 0
    np.testing.assert_allclose((found.directions**2).sum(0) + found.own**2, 1, atol=1e-5)
    normals = rng.normal(size=(2000, 1, 64 + 90)).astype(np.float32)
    drawn = found.correlated(normals[..., :64], normals[..., 64:])[..., 0]
    made = np.corrcoef(drawn.T)[np.triu_indices(90, 1)]
    assert made.mean() == pytest.approx(0.5, abs=0.03)


def test_tails_end_where_the_data_did(fitted) -> None:
    residual, _ = fitted
    mean = np.full((1, G), 2.0, np.float32)
    far, edge = (residual.at(mean, np.full((1, G, 1), z, np.float32)) for z in (9.0, SCORES[-1]))
    np.testing.assert_array_equal(far, edge)


def test_what_spots_share_is_found_again() -> None:
    """Far .1, near .3 over two pitches, in closed form; 30 genes alike, of which each says the same."""
    rng = np.random.default_rng(3)
    place = np.arange(400)
    apart = np.abs(np.subtract.outer(place, place))
    covariance = 0.1 + 0.3 * np.exp(-apart / 2) + 0.6 * np.eye(400)
    sections = [np.linalg.cholesky(covariance) @ rng.normal(size=(400, 30)) for _ in range(8)]
    residual = np.concatenate(sections)
    spots = [strip(400, 100.0)] * 8
    found, _ = fit_residual(np.ones_like(residual), residual, spots, np.zeros(30))
    far, near, length_um = found.shared
    assert far == pytest.approx(0.1, abs=0.04)
    assert near == pytest.approx(0.3, abs=0.05)
    assert length_um == pytest.approx(200, rel=0.3)


def test_patients_differ_as_was_seen_and_as_is_assumed() -> None:
    """Of one patient nothing is seen; of many, what they differ by is found again."""
    rng, n_patients = np.random.default_rng(4), 200
    effect = np.array([0.1, 1.5])
    residual = np.repeat(effect * rng.normal(size=(n_patients, 2)), 3, axis=0)
    one = patient_effects(residual, [""] * len(residual), "log2_counts", has_depth=True)
    np.testing.assert_allclose(one, [PATIENT_PRIOR, DEPTH_PRIOR])
    in_ln = patient_effects(residual, [""] * len(residual), "log1p_counts", has_depth=False)
    np.testing.assert_allclose(in_ln, PATIENT_PRIOR * np.log(2))
    names = np.repeat(np.arange(n_patients), 3).astype(str)
    many = patient_effects(residual, names, "log2_counts", has_depth=False)
    np.testing.assert_allclose(many, effect, rtol=0.1, atol=0.03)  # the prior is not forgotten
