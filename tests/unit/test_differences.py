"""Differences between groups of spots: known answers on real draws, and the worth of the q-values."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from napari_stem.errors import PredictionError, UnknownGeneError
from napari_stem.evaluation.differences import (
    GroupDraws,
    compare_groups,
    expected_false_share,
    first_pair,
    group_draws,
    probability_above,
    with_classes,
)
from napari_stem.exporting.selection import Selection, region_summaries
from napari_stem.geometry import Region
from napari_stem.metrics import central_interval
from napari_stem.progress import Stopped
from napari_stem.results import Prediction
from napari_stem.results.empty import MAX_DRAWS_BYTES, may_keep_draws
from napari_stem.spatial.region_files import ClassedRegion

if TYPE_CHECKING:
    from pathlib import Path

N_DRAWS = 32
UNIT = "log2(count + 1)"


@pytest.fixture(scope="module")
def few(c5_prediction: Path) -> Prediction:
    return Prediction.open(c5_prediction)


@pytest.fixture(scope="module")
def draws(tmp_path_factory) -> np.ndarray:
    """(36 spots, 200 genes, 64 draws) float64 of the packaged model on the packaged section."""
    import shapely

    from napari_stem.model import load_model
    from napari_stem.prediction_job import PredictionJob
    from napari_stem.sample_data import sample_path
    from napari_stem.settings import SamplingSettings
    from napari_stem.slide import open_slide
    from napari_stem.spatial.spot_choice import choose_spots

    slide, model = open_slide(sample_path()), load_model()
    sampling = SamplingSettings(n_draws=2 * N_DRAWS, n_steps=8, device="cpu")
    square = Region(shapely.box(4300, 3300, 6042, 5042))  # 1.2 mm
    spots = choose_spots(slide, pitch_um=model.pitch_um, regions=[square])
    path = tmp_path_factory.mktemp("draws") / "C5.zarr"
    job = PredictionJob(slide=slide, model=model, settings=sampling, spots=spots, keep_draws=True)
    prediction = job.run(path, watch=lambda _: None)
    slide.close()
    return prediction.draws(slice(None)).astype(np.float64)


def group(draws: np.ndarray, name: str = "group") -> GroupDraws:
    """A group of all spots of an array, through the function that reads predictions."""
    stored = SimpleNamespace(
        genes=[""] * draws.shape[1],
        n_kept_draws=draws.shape[2],
        draws=lambda spots: draws[spots],
        rows=lambda spots: draws[spots].mean(-1),
    )
    made = group_draws(stored, np.arange(len(draws)), name)
    assert made is not None
    return made


def interval(made: GroupDraws) -> list[np.ndarray]:
    """Bounds of the 90% interval of the group's mean, (genes,) each."""
    return central_interval(made.means, 0.9)


def by_chance(draws: np.ndarray) -> pd.Series:
    n = draws.shape[1]
    return pd.Series(np.arange(n) == 1, index=[f"g{i}" for i in range(n)])


def compared(a: GroupDraws, b: GroupDraws, draws: np.ndarray) -> pd.DataFrame:
    """Differences, a row per gene in the order of the draws."""
    chance = by_chance(draws)
    return compare_groups(a, b, chance, UNIT).loc[chance.index].rename_axis("gene").reset_index()


# what a prediction holds


def test_draws_are_read_as_they_were_written(few: Prediction) -> None:
    every = few.to_anndata().obsm["draws"]
    assert few.n_kept_draws == 6
    assert_array_equal(few.draws(slice(None)), every)
    some, genes = np.array([7, 2, 11]), (few.genes[5], few.genes[0])
    assert_array_equal(few.draws(some, genes), every[some][:, [5, 0]])
    assert few.draws(slice(3, 5), [few.genes[9]]).shape == (2, 1, 6)
    with pytest.raises(UnknownGeneError, match="BRCA9"):
        few.draws(some, ["BRCA9"])


def test_a_prediction_without_draws_says_so(few: Prediction, tmp_path) -> None:
    import shutil

    path = tmp_path / "summary.zarr"
    shutil.copytree(few.path, path)
    shutil.rmtree(path / "obsm" / "draws")
    bare = Prediction.open(path)
    assert bare.n_kept_draws == 0
    with pytest.raises(PredictionError, match="no single samples"):
        bare.draws(slice(None))
    with pytest.raises(PredictionError, match="no single samples"):
        group_draws(bare, np.arange(3), "tumour")


def test_draws_are_kept_up_to_a_size() -> None:
    assert may_keep_draws(726, 200, 32)
    n_spots = MAX_DRAWS_BYTES // (200 * 32 * 2)
    assert may_keep_draws(n_spots, 200, 32)
    assert not may_keep_draws(n_spots + 1, 200, 32)


# means of groups


def test_the_interval_is_that_of_the_exported_summary(few: Prediction) -> None:
    import shapely

    area = Region(shapely.box(4400, 3400, 5561, 4200), "tumour")
    (summary,) = region_summaries(Selection.of(few, (), [area]))
    from napari_stem.geometry import inside

    spots = np.flatnonzero(inside(few.spots, [area]))
    made = group_draws(few, spots, "tumour")
    assert made is not None
    assert summary.n_spots == made.n_spots == len(spots) > 3
    low, high = interval(made)
    expected = np.array([(e.mean, e.low, e.high) for e in summary.genes.values()])
    holds_mean = np.column_stack(
        [made.mean, np.minimum(low, made.mean), np.maximum(high, made.mean)]
    )
    assert_allclose(holds_mean, expected, atol=2e-3)  # float16 draws
    assert any(made.mean > high), "no gene tells whether its interval was widened"
    assert all(e.low <= e.mean <= e.high for e in summary.genes.values())


def test_groups_are_summed_over_blocks_and_can_be_stopped(
    few: Prediction, monkeypatch, stopped
) -> None:
    spots = np.arange(len(few.spots))
    whole = group_draws(few, spots, "all")
    monkeypatch.setattr("napari_stem.evaluation.differences.SPOTS_PER_READ", 5)
    pieces = group_draws(few, spots, "all")
    assert whole is not None
    assert pieces is not None
    every = few.draws(slice(None)).astype(np.float64)
    for made in (whole, pieces):
        assert_allclose(made.mean, few.rows(spots).mean(0), rtol=1e-5)
        assert_allclose(made.means, every.mean(0))
        assert_allclose(made.variance, every.var(0, ddof=1).mean(-1), atol=1e-9)
    with pytest.raises(Stopped):
        group_draws(few, spots, "all", stopped)
    with pytest.raises(PredictionError, match="No predicted spot lies in nowhere"):
        group_draws(few, spots[:0], "nowhere")


def test_spots_share_what_they_err(draws: np.ndarray) -> None:
    """Within a draw the mean of 36 spots varies more than it would if each erred by itself."""
    joint = group(draws)
    alone = np.random.default_rng(0).permuted(draws, axis=-1)
    width, narrow = (np.subtract(*interval(made)[::-1]) for made in (joint, group(alone)))
    assert 1.5 < np.median(width / narrow) < 4


# differences


def test_planted_differences_are_found_and_nothing_else(draws: np.ndarray) -> None:
    """The same spots twice, other draws: only what was planted differs."""
    first, second = draws[..., :N_DRAWS].copy(), draws[..., N_DRAWS:]
    planted = np.arange(0, 200, 10)
    sign = np.where(planted % 20, 1.0, -1.0)
    spread = draws.std(-1).mean(0)[planted]
    shift = 4 * spread * sign
    first[:, planted] += shift[:, np.newaxis]
    found = compared(group(first, "A"), group(second, "B"), draws)
    called = np.flatnonzero(found.q_value <= 0.05)
    assert set(planted) <= set(called)
    assert len(called) <= 22  # one or two wrong ones are what 5% of twenty allow
    assert_array_equal(found.probability[planted] > 0.5, sign > 0)
    assert_allclose(found.difference[planted], shift, atol=0.25 * spread.max())
    assert np.all((found.q05 <= found.difference) & (found.difference <= found.q95))
    top = np.argsort(-np.abs(found.standardised))[: len(planted)]
    assert set(top) == set(planted)
    assert_allclose(found.mean_a - found.mean_b, found.difference)


def test_without_a_difference_nothing_is_called(draws: np.ndarray) -> None:
    a, b = (group(half) for half in (draws[..., :N_DRAWS], draws[..., N_DRAWS:]))
    assert compared(a, b, draws).q_value.min() > 0.2


def test_wrong_signs_are_as_many_as_expected(draws: np.ndarray) -> None:
    """One draw taken as the truth, the others as what the model says of it: q-values keep their word."""
    rng = np.random.default_rng(5)
    wrong = called = 0
    expected = 0.0
    for truth in range(0, 2 * N_DRAWS, 2):
        rest = np.delete(draws, [truth, truth + 1], axis=-1)  # pairs of draws mirror each other
        gene = rng.integers(draws.shape[1])
        ranked = np.argsort(rest[:, gene].mean(-1))
        halves = ranked[:6], ranked[-6:]
        found = compared(*(group(rest[h]) for h in halves), draws)
        true = np.subtract(*(draws[h][..., truth].mean(0) for h in halves))
        calls = found.q_value <= 0.1
        wrong += int((calls & ((found.probability > 0.5) != (true > 0))).sum())
        called += int(calls.sum())
        expected += float(np.minimum(found.probability, 1 - found.probability)[calls].sum())
    assert called > 1000
    assert expected / called <= 0.1
    assert wrong / called <= 0.1 + 0.03
    assert wrong / called > expected / called / 2  # no empty boast either: some calls are wrong


def test_exchanging_the_groups_turns_the_signs(draws: np.ndarray) -> None:
    a, b = group(draws[:10], "A"), group(draws[10:], "B")
    there, back = compared(a, b, draws), compared(b, a, draws)
    assert (there.group_a[0], there.group_b[0], back.group_a[0]) == ("A", "B", "B")
    assert_allclose(there.difference, -back.difference)
    assert_allclose(there.probability, 1 - back.probability)
    assert_allclose(there.standardised, -back.standardised)
    assert_allclose(there.q_value, back.q_value)
    assert_allclose(there.q05, -back.q95, atol=1e-9)


def test_single_spots_have_no_spread_between_them(draws: np.ndarray) -> None:
    found = compared(group(draws[:1]), group(draws[1:2]), draws)
    assert list(found["gene"][found["by_chance"]]) == ["g1"]
    assert np.isnan(found.standardised).all()
    assert np.isfinite(found.difference).all()
    assert np.isfinite(found.probability).all()


# the formulas


def test_the_q_value_is_the_mean_of_the_surer_genes_rates() -> None:
    probability = np.array([0.99, 0.5, 0.05, 0.875, 0.125])
    expected = [
        0.01,
        0.81 / 5,
        0.06 / 2,
        0.31 / 4,
        0.31 / 4,
    ]  # .125 twice: equal genes, equal values
    assert_allclose(expected_false_share(probability), expected)
    assert_allclose(expected_false_share(1 - probability), expected)
    assert_allclose(expected_false_share([0.9, 0.1, 0.3]), [0.1, 0.1, 0.5 / 3])  # 1 - 0.9 < 0.1
    assert expected_false_share([]).size == 0


probabilities = arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 1))


@settings(max_examples=60)
@given(probabilities)
def test_q_values_keep_the_order_and_never_promise_more_than_the_rates(probability) -> None:
    q = expected_false_share(probability)
    rate = np.minimum(probability, 1 - probability)
    order = np.argsort(rate, kind="stable")
    assert (np.diff(q[order]) >= -1e-12).all()
    assert (q <= rate + 1e-12).all()
    assert (q >= rate.min() - 1e-12).all()
    called = q <= 0.05
    assert not called.any() or rate[called].mean() <= 0.05 + 1e-12


@settings(max_examples=60)
@given(arrays(np.float64, (3, 8), elements=st.floats(-5, 5)))
def test_probabilities_never_reach_certainty(differences) -> None:
    p = probability_above(differences, 8)
    assert ((p >= 0.5 / 9) & (p <= 8.5 / 9)).all()
    assert_allclose(p + probability_above(-differences, 8), 1)
    assert (p[(differences > 0).all(1)] == 8.5 / 9).all()


def test_two_groups_that_lie_in_one_another_are_not_proposed():
    tissue, nest, rim, other = (
        Region(shapely.box(*sides))
        for sides in ((0, 0, 100, 100), (10, 10, 30, 30), (25, 10, 45, 30), (60, 60, 70, 70))
    )
    assert first_pair([tissue, nest, other]) == (1, 2)
    assert first_pair([tissue, nest]) == (1, -1)
    assert first_pair([tissue, nest, rim]) == (1, 2)  # they share a quarter
    assert first_pair([tissue]) == (0, -1)


def test_a_class_goes_by_no_region_s_name() -> None:
    nests = [ClassedRegion(shapely.box(x, 0, x + 1, 1), f"nest {x}", "Tumor") for x in (0, 2)]
    groups = with_classes([*nests, Region(shapely.box(9, 9, 10, 10), "all Tumor")])
    assert [group.name for group in groups] == ["nest 0", "nest 2", "all Tumor", "all Tumor (2)"]
    assert [group.polygon.area for group in groups] == [1, 1, 1, 2]
