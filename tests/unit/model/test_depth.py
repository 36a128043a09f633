"""Other depths, shares and other patients, from draws as deep as the training sections."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from napari_stem.errors import ModelError
from napari_stem.geometry import Mpp, Spots
from napari_stem.model.units import convert_units, unit_asked
from napari_stem.settings import SamplingSettings

GENES, DEPTH = ("rare", "common"), 5000.0
COUNTS = np.array([2.0, 40.0, 4000.0])  # of two genes, and of all


def config(depth: float | None = DEPTH) -> SimpleNamespace:
    return SimpleNamespace(name="m", genes=GENES, depth=depth, normalisation="log2_counts")


def settings(**changes) -> SamplingSettings:
    return SamplingSettings(**{"patient": "same", "n_draws": 4000, "device": "cpu", **changes})


def spots(n: int = 2) -> Spots:
    place = np.arange(n)
    return Spots(
        x_px=place * 100.0,
        y_px=np.zeros(n),
        array_row=np.zeros(n, int),
        array_col=place,
        pitch_um=100.0,
        diameter_um=100.0,
        names=tuple(map(str, place)),
        mpp=Mpp.square(1.0),
    )


def drawn(n_draws: int = 4000, n_rows: int = 3) -> np.ndarray:
    values = np.log2(COUNTS[:n_rows] + 1).astype(np.float32)
    return np.tile(values[None, :, None], (2, 1, n_draws))


def asked(of=None, effect=(0.0, 0.0, 0.0), **changes) -> np.ndarray:
    chosen = settings(**changes)
    return convert_units(
        drawn(chosen.n_draws), np.array(effect, np.float32), of or config(), chosen, spots()
    )


def test_less_depth_thins_as_sequencing_does() -> None:
    counts = np.exp2(asked(depth=DEPTH / 4)) - 1
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-4)
    np.testing.assert_allclose(counts.mean(-1), [[0.5, 10.0]] * 2, rtol=0.05)
    np.testing.assert_allclose(counts.var(-1), [[2 * 3 / 16, 40 * 3 / 16]] * 2, rtol=0.1)


def test_more_depth_scales_and_the_training_depth_changes_nothing() -> None:
    np.testing.assert_allclose(
        np.exp2(asked(depth=2 * DEPTH)) - 1,
        2 * COUNTS[:2, None] + np.zeros((2, 2, 4000)),
        rtol=1e-4,
    )
    np.testing.assert_allclose(asked(), drawn()[:, :2], atol=1e-6)


def test_a_spot_gets_the_same_counts_whatever_is_drawn_beside_it() -> None:
    both = asked(depth=DEPTH / 4, n_draws=8)
    alone = convert_units(
        drawn(8)[1:],
        np.zeros(3, np.float32),
        config(),
        settings(depth=DEPTH / 4, n_draws=8),
        spots().take(np.array([1])),
    )
    np.testing.assert_array_equal(both[1:], alone)
    assert (both[0] != both[1]).any()


@pytest.mark.parametrize("depth", [0.0, DEPTH / 4])
def test_shares_are_of_all_counts_at_any_depth(depth: float) -> None:
    share = np.expm1(asked(quantity="share", depth=depth)).mean(-1)
    np.testing.assert_allclose(share, np.tile(1e4 * COUNTS[:2] / COUNTS[2], (2, 1)), rtol=0.05)


def test_another_patient_widens_all_spots_alike() -> None:
    values = asked(patient="new", effect=(0.0, 0.5, 0.0), n_draws=4000)
    np.testing.assert_allclose(values[0], values[1])  # one patient: the same for all spots
    assert values[:, 0].std() < 1e-6
    np.testing.assert_allclose(values[0, 1].std(), 0.5, rtol=0.06)
    np.testing.assert_allclose(values[0, 1].mean(), np.log2(41), atol=0.03)


def test_depth_that_is_told_is_not_in_doubt() -> None:
    effect = (0.0, 0.0, 1.0)
    assert asked(patient="new", effect=effect, n_draws=400)[0, 1].std() > 0.9
    told = asked(patient="new", effect=effect, n_draws=400, depth=DEPTH)
    np.testing.assert_allclose(told, drawn(400)[:, :2], atol=1e-6)
    share = asked(patient="new", effect=effect, n_draws=400, quantity="share")
    assert share[0, 1].std() < 0.1  # depth is gone from shares


def test_units_say_which_depth() -> None:
    assert unit_asked(config(), settings())[1] == "log2(count + 1) at the training depth"
    label = unit_asked(config(), settings(depth=2500.0))[1]
    assert label == "log2(count + 1) at 2,500 counts per spot"
    share = unit_asked(config(), settings(quantity="share"))
    assert share == ("log1p_cp10k", "ln(counts per 10,000 + 1)")
    assert unit_asked(config(None), settings())[1] == "log2(count + 1)"


@pytest.mark.parametrize("changes", [{"quantity": "share"}, {"depth": 100.0}])
def test_a_model_without_library_sizes_says_what_it_cannot_give(changes) -> None:
    with pytest.raises(ModelError, match="no other depth and no shares"):
        asked(config(None), **changes)


def test_an_impossible_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="depth must be a number from 0 to 1,000,000,000, not -1"):
        settings(depth=-1.0)
