"""How long to train: chosen where left-out sections gain, and not at all where they do not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from napari_stem.training.recipe import (
    Fold,
    best_steps,
    common_steps,
    paired_interval,
    steps_that_pay,
)


def fold(seed: int, spreads: dict[int, float], shift: float = 0.0) -> Fold:
    """Standard normal truth, and at each step draws that spread by so much."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(120, 3)).astype(np.float32)
    noise = rng.normal(size=(120, 3, 16))
    draws = {step: (shift + s * noise).astype(np.float32) for step, s in spreads.items()}
    return Fold(truth, np.arange(120) // 10, draws)


def test_steps_are_chosen_where_draws_fit_left_out_spots_best() -> None:
    spreads = {10: 0.1, 20: 1.0, 30: 5.0}
    steps, card = best_steps([fold(0, spreads), fold(1, {**spreads, 40: 1.0})])
    assert steps == 20
    assert set(card["crps_of_steps"]) == {"10", "20", "30"}


def test_training_is_kept_where_it_pays() -> None:
    steps, card = steps_that_pay([fold(i, {0: 3.0, 20: 1.0, 40: 2.0}) for i in range(3)])
    assert steps == 20
    gained, low, high = card["energy_gained"]
    assert low < gained < high < 0
    energy = card["energy_of_steps"]
    assert gained == pytest.approx(energy["20"] - energy["0"], abs=1e-4)


@pytest.mark.parametrize("trained", [1.02, 3.0])
def test_training_is_not_kept_where_chance_or_harm_explains_it(trained: float) -> None:
    steps, card = steps_that_pay([fold(i, {0: 1.0, 20: trained}) for i in range(3)])
    assert steps == 0
    assert card["energy_gained"][2] > 0


def test_folds_cut_short_by_the_clock_still_agree_on_a_step() -> None:
    folds = [fold(0, {3: 1.0}), fold(1, {5: 1.0})]
    assert common_steps(folds) == [3]
    assert all(3 in f.draws_at for f in folds)
    assert common_steps([fold(0, {0: 1.0, 3: 1.0}), fold(1, {0: 1.0, 5: 1.0})]) == [0, 3]


def test_paired_interval_is_that_of_the_means_of_equal_clusters() -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(size=25)
    difference = (means[:, None] + rng.normal(size=(25, 4))).ravel()
    mean, low, high = paired_interval(difference, np.repeat(np.arange(25), 4))
    of_clusters = difference.reshape(25, 4).mean(1)
    assert mean == pytest.approx(of_clusters.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * stats.sem(of_clusters))
    assert paired_interval(difference, np.zeros(100, int))[1:] == (-np.inf, np.inf)
