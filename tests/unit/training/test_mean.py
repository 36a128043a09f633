"""The mean by regression, at its edges."""

from __future__ import annotations

import numpy as np

from napari_stem.training.mean import best_penalty


def test_one_gene_is_fitted_as_many_are() -> None:
    rng = np.random.default_rng(0)
    z, group = rng.normal(size=(40, 5)), np.repeat([0, 1], 20)
    y = z[:, :1] + rng.normal(size=(40, 1)) / 10
    alpha, alone = best_penalty(z, y, group)
    twice, both = best_penalty(z, np.hstack([y, y]), group)
    assert alpha == twice
    np.testing.assert_allclose(alone[:, 0], both[:, 0])
