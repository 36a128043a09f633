"""The linear part: exact where the world is linear, honest out of fold."""

from __future__ import annotations

import numpy as np
import pytest

from napari_stem.errors import DatasetError
from napari_stem.geometry import Mpp, Spots
from napari_stem.training.head_fit import fit_head
from napari_stem.training.recipe import splits
from napari_stem.training.sections import SectionArrays, groups_of

WIDTH, N_GENES = 60, 4


def section(name: str, n: int, seed: int, noise: float = 0.5, n_constant: int = 0) -> SectionArrays:
    """Expression that is linear in the embedding, but for noise."""
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(0).normal(size=(WIDTH, N_GENES))
    embedding = rng.normal(size=(n, WIDTH)).astype(np.float32)
    values = 3 + embedding @ truth + noise * rng.normal(size=(n, N_GENES))
    values[:, :n_constant] = 1.0
    place = np.arange(n)
    spots = Spots(
        x_px=rng.permutation(n) * 10.0,
        y_px=np.zeros(n),
        array_row=place,
        array_col=place,
        pitch_um=100.0,
        diameter_um=100.0,
        names=tuple(f"{name}{i}" for i in place),
        mpp=Mpp.square(1.0),
    )
    return SectionArrays(name, spots, embedding, values.astype(np.float32), {})


def test_a_linear_world_is_found_and_scores_have_unit_spread() -> None:
    fit = fit_head([section("a", 1500, 1), section("b", 1500, 2)], "log2_counts")
    fresh = section("c", 500, 3, noise=0)
    error = fit.head.mean(fit.head.along(fresh.embedding)) - fresh.values
    assert np.sqrt((error**2).mean()) < 0.25 * fresh.values.std()
    np.testing.assert_allclose(fit.scores.std(0), 1, atol=0.07)
    assert fit.scores.shape == (3000, N_GENES)


def test_residuals_are_those_of_a_mean_that_has_not_seen_the_spot() -> None:
    """With as many features as spots, a mean that has seen them leaves next to nothing."""
    sections = [section("a", 60, 1, noise=3.0), section("b", 60, 2, noise=3.0)]
    fit = fit_head(sections, "log2_counts")
    for name, own in zip("ab", sections, strict=True):
        rows = slice(0, 60) if name == "a" else slice(60, 120)
        seen = (own.values - fit.head.mean(fit.head.along(own.embedding))).std()
        out_of_fold = (own.values - fit.mean[rows]).std()
        assert out_of_fold > 1.2 * seen


def test_condition_has_unit_variance() -> None:
    fit = fit_head([section("a", 300, 1), section("b", 300, 2)], "log2_counts")
    assert fit.condition.shape == (600, 32 + N_GENES)
    np.testing.assert_allclose(fit.condition.std(0), 1, atol=0.02)
    fresh = section("c", 300, 3)
    condition = fit.head.condition(fresh.embedding, fit.head.along(fresh.embedding))
    assert 0.3 < condition.std(0).min() <= condition.std(0).max() < 2


@pytest.mark.parametrize("n_spots", [10, 33])
def test_few_spots_and_constant_genes_blow_nothing_up(n_spots: int) -> None:
    fit = fit_head([section("a", n_spots, 1, n_constant=2)], "log2_counts")
    fresh = section("b", 50, 2)
    condition = fit.head.condition(fresh.embedding, fit.head.along(fresh.embedding))
    for values in (fit.condition, fit.scores, condition):
        assert np.isfinite(values).all()
        assert np.abs(values).max() < 50


def test_groups_are_sections_or_strips() -> None:
    a, b = section("a", 30, 1), section("b", 20, 2)
    first, second = groups_of([a, b])
    assert (set(first), set(second), len(first), len(second)) == ({0}, {1}, 30, 20)
    (strips,) = groups_of([a])
    assert sorted(np.bincount(strips)) == [7, 7, 8, 8]
    by_x = strips[np.argsort(a.spots.x_px)]
    assert (np.diff(by_x) >= 0).all()  # strips hang together
    with pytest.raises(DatasetError, match="Section c has 7 spots"):
        groups_of([section("c", 7, 3)])


@pytest.mark.parametrize("n_sections", [1, 3])
def test_splits_leave_out_every_spot_once(n_sections: int) -> None:
    sections = [section(name, 24, i) for i, name in enumerate("abc"[:n_sections])]
    everyone = {name for s in sections for name in s.spots.names}
    left_out = []
    for rest, out in splits(sections):
        kept = {name for s in rest for name in s.spots.names}
        assert kept | set(out.spots.names) == everyone
        assert kept.isdisjoint(out.spots.names)
        assert len(out.embedding) == len(out.values) == len(out.spots)
        left_out += out.spots.names
    assert sorted(left_out) == sorted(everyone)
