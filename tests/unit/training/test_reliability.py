"""How far genes can be trusted: correlations with intervals, noise ceilings, and what is told from chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_stem.errors import DatasetError
from napari_stem.geometry import Mpp, Spots
from napari_stem.training.reliability import (
    left_out_parts,
    left_out_pcc,
    noise_ceilings,
    only_told,
    reliability,
    share_reliability,
    told_from_chance,
)
from napari_stem.training.sections import SectionArrays

N, SIDE = 144, 12


def of_counts(name: str, counts: np.ndarray, embedding: np.ndarray, sizes: np.ndarray | None):
    place = np.arange(len(counts))
    spots = Spots(
        x_px=place % SIDE * 100.0,
        y_px=place // SIDE * 100.0,
        array_row=place // SIDE,
        array_col=place % SIDE,
        pitch_um=100.0,
        diameter_um=100.0,
        names=tuple(f"{name}{i}" for i in place),
        mpp=Mpp.square(1.0),
    )
    values = np.log2(counts + 1.0).astype(np.float32)
    return SectionArrays(name, spots, embedding, values, {}, library_sizes=sizes)


def counted(name: str, seed: int) -> SectionArrays:
    """A section of Poisson counts: gene 0 follows the embedding, gene 1 does not, and depth moves both."""
    rng = np.random.default_rng(seed)
    embedding = rng.normal(size=(N, 20)).astype(np.float32)
    depth = np.exp(0.5 * embedding[:, 1])
    rates = np.stack([20 * np.exp(0.5 * embedding[:, 0]), np.full(N, 20.0)], axis=1)
    counts = rng.poisson(rates * depth[:, None])
    others = rng.poisson(2000 * depth)
    return of_counts(name, counts, embedding, counts.sum(1) + others.astype(float))


@pytest.fixture(scope="module")
def sections():
    return [counted(name, seed) for seed, name in enumerate("abc")]


def test_the_interval_of_a_correlation_is_fishers_where_spots_are_independent() -> None:
    rng, r, n = np.random.default_rng(0), 0.6, 400
    a = rng.normal(size=(n, 50))
    b = r * a + np.sqrt(1 - r**2) * rng.normal(size=(n, 50))
    found, mean, error = left_out_pcc([(np.arange(n), a, b)])
    np.testing.assert_allclose(
        mean, [np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, b.T, strict=True)]
    )
    np.testing.assert_allclose(found[0], mean)
    np.testing.assert_allclose(error.mean(), (1 - r**2) / np.sqrt(n), rtol=0.05)


def test_spots_of_a_row_that_repeat_each_other_count_once() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 60, 40))
    _, _, once = left_out_pcc([(np.arange(60), a, b)])
    _, _, often = left_out_pcc(
        [(np.repeat(np.arange(60), 5), *(np.repeat(v, 5, axis=0) for v in (a, b)))]
    )
    np.testing.assert_allclose(often, once, rtol=1e-6)


def test_a_gene_constant_in_one_part_is_judged_by_the_others() -> None:
    rng = np.random.default_rng(2)
    a = rng.normal(size=(30, 1))
    flat = (np.arange(30), np.ones((30, 1)), a)
    _, mean, error = left_out_pcc([(np.arange(30), a, a), flat])
    assert (mean[0], error[0]) == pytest.approx((1, 0))
    assert np.isnan(left_out_pcc([flat])[1][0])


def test_depth_alone_is_told_from_chance_in_counts_and_not_in_shares(sections) -> None:
    genes = ("follows", "depth only")
    card = share_reliability(sections, genes, "log2_counts")
    assert card["genes_by_chance"] == ["depth only"]
    mean, low, high = card["gene_share_pcc"]["follows"]
    assert 0.3 < low < mean < high
    values = np.concatenate([s.values for s in sections]).astype(float)
    depth = np.concatenate([np.log(s.library_sizes) for s in sections])[:, None] + np.zeros((1, 2))
    in_counts = reliability(sections, left_out_parts(sections, values, depth), genes, "log2_counts")
    assert in_counts["gene_pcc"]["depth only"][1] > 0.5  # its lower end


def test_only_what_is_told_from_chance_or_named_is_kept(sections) -> None:
    panel = ("a", "b")
    kept, genes = only_told(sections, panel, (), "log2_counts")
    assert genes == ("a",)
    np.testing.assert_array_equal(kept[1].values, sections[1].values[:, :1])
    assert only_told(sections, panel, ("b",), "log2_counts")[1] == panel
    with pytest.raises(DatasetError, match="predictable"):
        only_told([replace(s, library_sizes=None) for s in sections], panel, (), "log2_counts")


def test_false_discoveries_are_held_down() -> None:
    rng = np.random.default_rng(3)
    error = np.full(2000, 0.05)
    mean = 0.16 + 0.05 * np.abs(rng.normal(size=2000))
    mean[:1000] = 0.05 * rng.normal(size=1000)
    told = told_from_chance(np.stack([mean, np.maximum(mean, 0.15)]), mean, error)
    assert told[1000:].mean() > 0.9
    assert told[:1000].sum() <= 0.1 * told.sum()


def test_the_noise_ceiling_is_that_of_poisson_counts() -> None:
    rng, n = np.random.default_rng(4), 4000
    rate = 200 * np.exp(0.2 * rng.normal(size=n))
    counts = rng.poisson(rate)
    made = of_counts("a", counts[:, None], np.zeros((n, 1), np.float32), None)
    ceiling = noise_ceilings([made], "log2_counts")
    truth = np.corrcoef(np.log2(rate), np.log2(counts + 1))[0, 1]
    assert ceiling[0] == pytest.approx(truth, abs=0.02)
    assert noise_ceilings([made], "log1p_cp10k") is None
