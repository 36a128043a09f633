"""Domains as a labels layer: one number per spot, colours and names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.layers.spot_grid import SpotGrid

TITLE = "Domains of predicted expression"


def domain_raster(
    grid: SpotGrid, rows: NDArray[np.int64], labels: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Image of labels from 1; 0 where there is no domain.

    Parameters
    ----------
    grid
        Of all spots of a prediction.
    rows
        (n,) which spots have a domain.
    labels
        (n,) their domains, from 0.
    """
    per_spot = np.zeros(grid.spot_at.max() + 2, dtype=np.int32)  # the last for "no spot", at -1
    per_spot[rows] = labels + 1
    return np.asarray(per_spot[grid.spot_at])


def domain_features(names: Sequence[str]) -> dict[str, list[object]]:
    """Columns that a viewer reads out under the cursor: label 0 is where there is none."""
    return {"index": list(range(len(names) + 1)), "domain": ["", *names]}
