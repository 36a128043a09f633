from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from napari_stem.diffusion.noise import located_field, located_normal
from napari_stem.errors import SpotError

X_PX = np.array([10.0, 10.0625, 5000.5, 123456.75])
Y_PX = np.array([20.0, 20.0, 700.25, 98765.0])
NORMALS = located_normal(7, np.arange(500.0), np.arange(500.0) * 3, 8, 0, 50)


@settings(deadline=None, max_examples=30)
@given(
    order=st.permutations(range(4)),
    size=st.integers(1, 4),
    draws=st.tuples(st.integers(0, 5), st.integers(1, 3)),
    width=st.integers(1, 9),
    seed=st.integers(-(2**63), 2**64 - 1),
)
def test_a_spot_keeps_its_numbers_in_any_company(order, size, draws, width, seed):
    """Whatever the batch, the draws taken with it and the width: the same numbers, bit by bit."""
    whole = located_normal(seed, X_PX, Y_PX, 8, 3, 9)
    chosen, (first, n) = list(order)[:size], draws
    part = located_normal(seed, X_PX[chosen], Y_PX[chosen], n, 3, width, first_draw=first)
    assert np.array_equal(part, whole[chosen, first : first + n, :width])


def test_every_part_of_the_address_matters():
    base = {"seed": 1, "x_px": [10.0], "y_px": [20.0], "n_draws": 1, "step": 0, "width": 8}
    changes = [
        {},
        {"seed": 2},
        {"seed": 1 + 2**32},
        {"x_px": [10.0625]},
        {"y_px": [20.0625]},
        {"x_px": [20.0], "y_px": [10.0]},
        {"x_px": [-10.0]},
        {"step": 1},
        {"first_draw": 1},
        {"first_draw": 1, "step": 1},
    ]
    seen = np.concatenate([located_normal(**(base | change))[0] for change in changes])
    assert len(np.unique(seen)) == seen.size


def test_centres_are_rounded_to_sixteenths_of_a_pixel():
    exact = located_normal(0, [100.0], [50.0], 2, 0, 4)
    assert np.array_equal(located_normal(0, [100.03], [49.97], 2, 0, 4), exact)
    assert not np.array_equal(located_normal(0, [100.04], [50.0], 2, 0, 4), exact)


def test_numbers_never_change_between_versions():
    """These very numbers must stay, so that a later version draws the map that an earlier one drew.

    (It resumes none: a prediction is of one version.)
    """
    values = located_normal(42, [1234.5], [678.25], 1, 2, 5)[0, 0]
    expected = [
        -0.8752346634864807,
        -0.3905295133590698,
        1.1528465747833252,
        0.22954882681369781,
        0.4098343849182129,
    ]
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_numbers_are_standard_normal():
    values = NORMALS.ravel()
    assert stats.kstest(values, "norm").pvalue > 0.01
    assert values.mean() == pytest.approx(0, abs=0.01)
    assert values.var() == pytest.approx(1, abs=0.01)
    assert stats.skew(values) == pytest.approx(0, abs=0.03)
    assert stats.kurtosis(values) == pytest.approx(0, abs=0.06)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbours_are_independent(axis):
    """No correlation between neighbouring spots, draws or elements, nor between their squares."""
    values = np.moveaxis(NORMALS, axis, 0)
    for transform in (np.copy, np.square):
        pair = [transform(part).ravel() for part in (values[:-1], values[1:])]
        assert abs(np.corrcoef(pair)[0, 1]) < 4 / np.sqrt(len(pair[0]))


@pytest.mark.parametrize("change", [{"seed": 8}, {"step": 1}])
def test_seeds_and_steps_are_independent(change):
    arguments = {"seed": 7, "step": 0, "n_draws": 8, "width": 50} | change
    x_px = np.arange(500.0)
    other = located_normal(x_px=x_px, y_px=x_px * 3, **arguments)
    pair = np.stack([NORMALS.ravel(), other.ravel()])
    assert abs(np.corrcoef(pair)[0, 1]) < 4 / np.sqrt(NORMALS.size)


def test_shape_and_dtype():
    values = located_normal(0, X_PX, Y_PX, 3, 0, 5)
    assert values.shape == (4, 3, 5)
    assert values.dtype == np.float32
    assert located_normal(0, [], [], 3, 0, 5).shape == (0, 3, 5)


@pytest.mark.parametrize(
    ("x_px", "y_px"), [([np.nan], [1.0]), ([1.0, 2.0], [1.0]), ([[1.0]], [[1.0]])]
)
def test_centres_that_are_none_are_refused(x_px, y_px):
    with pytest.raises(SpotError, match="finite x and y"):
        located_normal(0, x_px, y_px, 1, 0, 1)


@pytest.mark.parametrize("change", [{"step": 65536}, {"step": -1}, {"n_draws": 65537}])
def test_addresses_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match="65535"):
        located_normal(
            **(
                {"seed": 0, "x_px": [1.0], "y_px": [1.0], "n_draws": 1, "step": 0, "width": 1}
                | change
            )
        )


def test_a_field_correlates_as_its_length_says() -> None:
    rng = np.random.default_rng(0)
    xy_um = np.concatenate([[[0.0, 0.0]], 3000 * rng.uniform(-1, 1, (30, 2))])
    whole, field = located_field(0, xy_um, 200, 40, 600.0)
    assert (whole.shape, field.shape) == ((200, 40), (31, 200, 40))
    made = np.corrcoef(field.reshape(31, -1))
    apart = np.linalg.norm(xy_um[:, None] - xy_um, axis=-1)
    np.testing.assert_allclose(made, np.exp(-apart / 600), atol=0.15)
    assert abs(made - np.exp(-apart / 600)).mean() < 0.04
    np.testing.assert_allclose(field.std(axis=(1, 2)), 1, atol=0.03)
    assert abs(np.corrcoef(whole.flatten(), field[0].flatten())[0, 1]) < 0.04


def test_a_field_is_known_at_each_place_without_the_others() -> None:
    xy_um = np.array([[10.0, 20.0], [500.0, 5.0], [900.0, 70.0]])
    whole, field = located_field(3, xy_um, 4, 7, 300.0)
    again, part = located_field(3, xy_um[[2, 0]], 4, 7, 300.0)
    np.testing.assert_allclose(part, field[[2, 0]], rtol=0, atol=1e-5)
    assert np.array_equal(whole, again)
    assert not np.allclose(located_field(4, xy_um, 4, 7, 300.0)[1], field)
