"""Calibrated intervals hold what they promise, on spots that the calibration has not seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_stem.model.calibration import calibrate, calibration_factors

N_SPOTS, N_GENES, N_DRAWS = 400, 5, 32


def gaussian(rng, n_spots: int, wrong_by: float, n_draws: int = N_DRAWS):
    """Truth of unit spread about a known mean, and draws whose spread is wrong by a factor."""
    centre = rng.normal(5, 2, (n_spots, N_GENES))
    truth = centre + rng.normal(size=centre.shape)
    draws = centre[..., None] + wrong_by * rng.normal(size=(*centre.shape, n_draws))
    return truth.astype(np.float32), draws.astype(np.float32)


def coverage(truth, draws) -> float:
    low, high = np.quantile(draws, [0.05, 0.95], axis=-1, method="weibull")
    return float(((truth >= low) & (truth <= high)).mean())


@settings(max_examples=25, deadline=None)
@given(wrong_by=st.floats(0.3, 3.5), seed=st.integers(0, 2**32 - 1))
def test_coverage_is_right_on_fresh_spots_however_wrong_the_spread(wrong_by, seed) -> None:
    rng = np.random.default_rng(seed)
    factors = calibration_factors(*gaussian(rng, N_SPOTS, wrong_by))
    truth, draws = gaussian(rng, 4 * N_SPOTS, wrong_by)
    assert coverage(truth, calibrate(draws, factors)) == pytest.approx(0.90, abs=0.04)
    np.testing.assert_allclose(factors, 1 / wrong_by, rtol=0.35)


def test_without_calibration_it_would_not_be() -> None:
    rng = np.random.default_rng(1)
    assert coverage(*gaussian(rng, N_SPOTS, 0.4)) < 0.6
    assert coverage(*gaussian(rng, N_SPOTS, 2.5)) > 0.97


@settings(max_examples=25, deadline=None)
@given(n_spots=st.integers(12, 80), seed=st.integers(0, 2**32 - 1))
def test_on_the_calibration_spots_the_share_covered_is_the_conformal_rank(n_spots, seed) -> None:
    """The k-th smallest score covers k spots exactly: k = ceil(0.9 (n + 1))."""
    truth, draws = gaussian(np.random.default_rng(seed), n_spots, 1.0)
    mean = draws.mean(-1)
    low, high = np.quantile(draws, [0.05, 0.95], axis=-1, method="weibull")
    factors = calibration_factors(truth, draws).astype(np.float64)
    reach = np.where(truth > mean, (truth - mean) / (high - mean), (mean - truth) / (mean - low))
    unclipped = (factors > 0.2501) & (factors < 3.999)
    covered = (reach <= factors * (1 + 1e-5)).sum(0)
    assert unclipped.any()
    assert set(covered[unclipped]) == {min(n_spots, int(np.ceil((n_spots + 1) * 0.9)))}


def test_each_gene_has_its_own_factor() -> None:
    rng = np.random.default_rng(2)
    truth, draws = gaussian(rng, N_SPOTS, 1.0)
    draws[:, 0] = draws[:, 0].mean(-1, keepdims=True) + 0.5 * (
        draws[:, 0] - draws[:, 0].mean(-1, keepdims=True)
    )
    factors = calibration_factors(truth, draws)
    assert factors.shape == (N_GENES,)
    assert factors[0] == pytest.approx(2 * factors[1:].mean(), rel=0.25)


def test_factors_stay_within_bounds_where_draws_do_not_spread() -> None:
    truth, draws = gaussian(np.random.default_rng(3), 50, 1e-6)
    assert (calibration_factors(truth, draws) == 4).all()
    truth, draws = gaussian(np.random.default_rng(3), 50, 1e3)
    assert (calibration_factors(truth, draws) == 0.25).all()


def test_spreading_keeps_the_mean_and_scales_the_rest() -> None:
    _, draws = gaussian(np.random.default_rng(4), 6, 1.0)
    factors = np.array([0.5, 1, 1.5, 2, 4], np.float32)
    stretched = calibrate(draws, factors)
    np.testing.assert_allclose(stretched.mean(-1), draws.mean(-1), rtol=1e-5)
    np.testing.assert_allclose(stretched.std(-1), draws.std(-1) * factors, rtol=1e-4)
    assert stretched.dtype == np.float32
