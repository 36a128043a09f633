"""What looks unlike the training data: as scikit-learn rebuilds it, and where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from napari_stem.model.head import N_CHECKED, domain_warning, evenly, unexplained
from napari_stem.training.head_fit import LEAST_SPREAD, fit_domain

WIDTH = 40


def looks(n: int, seed: int, rarity: float = 1.0) -> np.ndarray:
    """Embeddings that fill five directions, but for a little noise, on scales of their own."""
    rng = np.random.default_rng(seed)
    ways = np.random.default_rng(0).normal(size=(5, WIDTH))
    x = rarity * rng.normal(size=(n, 5)) @ ways + 0.05 * rng.normal(size=(n, WIDTH))
    return 3 + x * np.linspace(0.1, 10, WIDTH)


def left_by(pca: PCA, z: np.ndarray) -> np.ndarray:
    return z - pca.inverse_transform(pca.transform(z))


def test_all_of_it_is_as_scikit_learn_rebuilds_embeddings() -> None:
    x, group = looks(90, 1), np.repeat([0, 1, 2], 30)
    components, spread, limit = fit_domain(x, group)
    left = np.empty_like(x)
    for held in range(3):
        scaler = StandardScaler().fit(x[group != held])
        others = PCA(WIDTH // 2).fit(scaler.transform(x[group != held]))
        left[group == held] = left_by(others, scaler.transform(x[group == held]))
    expected = np.maximum(np.sqrt((left**2).mean(0)), LEAST_SPREAD)
    np.testing.assert_allclose(spread, expected, rtol=1e-4)
    fourth = stats.moment((left / expected).T, 4, center=0) ** 0.25
    assert limit == pytest.approx(np.quantile(fourth, 0.995), rel=1e-4)
    z = StandardScaler().fit_transform(x)
    rest = left_by(PCA(WIDTH // 2).fit(z), z) / spread
    found = unexplained(z.astype(np.float32), components, spread)
    np.testing.assert_allclose(found, stats.moment(rest.T, 4, center=0) ** 0.25, rtol=1e-3)


def test_rare_tissue_is_in_the_domain_and_a_small_foreign_shift_is_not() -> None:
    x = looks(600, 1)
    components, spread, limit = fit_domain(x, np.repeat([0, 1, 2], 200))
    fresh, centre, scale = looks(500, 2), x.mean(0), x.std(0)

    def distance(spots: np.ndarray) -> np.ndarray:
        return unexplained((spots - centre) / scale, components, spread) / limit

    assert (distance(fresh) > 1).mean() < 0.03
    assert (distance(looks(500, 2, rarity=3)) > 1).mean() < 0.03
    foreign = fresh + 0.3 * scale * np.random.default_rng(4).choice([-1, 1], WIDTH)
    assert (distance(foreign) > 1).mean() > 0.98


def test_fields_of_view_are_rebuilt_each_by_itself() -> None:
    """Side by side they are what each is alone; none explains what is seen in another."""
    one, other, group = looks(90, 1), looks(90, 2), np.repeat([0, 1, 2], 30)
    both = np.concatenate([one, other], axis=1)
    components, spread, _ = fit_domain(both, group, n_fields=2)
    alone = [fit_domain(x, group) for x in (one, other)]
    np.testing.assert_allclose(components, np.concatenate([c for c, _, _ in alone]), atol=1e-5)
    np.testing.assert_allclose(spread, np.concatenate([s for _, s, _ in alone]), rtol=1e-5)
    z = np.random.default_rng(3).normal(size=(7, 2 * WIDTH))
    powers = [
        unexplained(part, c, s) ** 4
        for part, (c, s, _) in zip(np.split(z, 2, axis=1), alone, strict=True)
    ]
    np.testing.assert_allclose(
        unexplained(z, components, spread), np.mean(powers, axis=0) ** 0.25, rtol=1e-5
    )


@pytest.mark.parametrize(("n", "width"), [(8, 40), (30, 6), (300, 1)])
def test_few_spots_or_features_leave_something_to_be_unlike(n: int, width: int) -> None:
    x = np.random.default_rng(0).normal(size=(n, width))
    components, spread, limit = fit_domain(x, np.arange(n) % 2)
    assert components.shape == (1, min(n // 2, width // 2), width)
    assert spread.shape == (width,)
    assert 0 < limit < 10


def test_a_slide_is_doubted_by_spots_spread_over_it() -> None:
    chosen = evenly(1000)
    assert (len(chosen), chosen[0], chosen[-1]) == (N_CHECKED, 0, 999)
    assert np.ptp(np.diff(chosen)) <= 1
    assert list(evenly(3)) == [0, 1, 2]
    assert list(evenly(25)) == [0, 3, 6, 9, 12, 15, 18, 21, 24]
    assert len(evenly(48)) == len(evenly(49)) == N_CHECKED
    distance = np.linspace(0.45, 1.15, 15).astype(np.float32)  # their median is 0.8
    assert domain_warning(distance, "m") is None
    sentence = domain_warning(distance + 0.1, "m")
    assert sentence is not None
    assert "model 'm'" in sentence
    assert "15 spots 0.90" in sentence
    assert (
        domain_warning(np.full(2, 9, np.float32), "m") is None
    )  # two spots say nothing of a slide
    assert domain_warning(np.full(16, np.nan, np.float32), "m") is None
