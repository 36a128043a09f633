"""The mean by regression, at its edges."""

from __future__ import annotations

import numpy as np

from napari_stem.metrics import pcc
from napari_stem.training.mean import Directions, best_penalty, fit_mean, kernel_scale


def test_one_gene_is_fitted_as_many_are() -> None:
    rng = np.random.default_rng(0)
    z, group = rng.normal(size=(40, 5)), np.repeat([0, 1], 20)
    y = z[:, :1] + rng.normal(size=(40, 1)) / 10
    alpha, alone = best_penalty(z, y, group)
    twice, both = best_penalty(z, np.hstack([y, y]), group)
    assert alpha == twice
    np.testing.assert_allclose(alone[:, 0], both[:, 0])


def test_what_the_image_does_not_tell_is_not_told_out_of_fold() -> None:
    """Directions that had seen the spots left out would lend noise a correlation with them."""
    rng = np.random.default_rng(0)
    z, group = rng.normal(size=(120, 30)), np.repeat([0, 1, 2], 40)
    told = z[:, :3] @ rng.normal(size=(3, 40)) + rng.normal(size=(120, 40)) / 3
    y = np.hstack([3 * told, rng.normal(size=(120, 400))])
    points = z[:, :10] / kernel_scale(z[:, :10])
    *_, out_of_fold = fit_mean(z, points, y, group)
    found = np.mean([pcc(y[group == g], out_of_fold[group == g]) for g in range(3)], axis=0)
    assert found[:40].min() > 0.8
    assert abs(found[40:].mean()) < 0.01


def test_directions_lead_there_and_back() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 8)) * np.arange(8)
    directions = Directions.of(y)
    assert directions.components.shape == (8, 8)
    np.testing.assert_allclose(directions.back(directions.along(y)), y, atol=1e-9)
    leading = Directions.of(y, 3)
    np.testing.assert_allclose(leading.back(leading.along(y)), y, atol=1e-9)
