"""Groups of spots that can be compared: regions, classes of regions, and everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely

from napari_stem.errors import RegionError
from napari_stem.evaluation.metrics import central_interval
from napari_stem.exporting.selection import Selection
from napari_stem.exporting.summary import RegionSummary, region_summaries
from napari_stem.geometry import Region, inside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.results import Prediction

LEVEL = 0.9


@dataclass(frozen=True)
class GroupSummary:
    """A region or class in numbers, for one gene.

    Attributes
    ----------
    summary
        Area, spots, and the mean with its cautious interval: as every export has them.
    low, high
        The interval as sampled: of the mean over the spots within each draw. NaN where draws were not kept.
    """

    summary: RegionSummary
    low: float
    high: float


def with_classes(regions: Sequence[Region]) -> list[Region]:
    """Regions, followed by one for every class that several of them have, named after it."""
    by_class: dict[str, list[Region]] = {}
    for region in regions:
        name = str(getattr(region, "classification", ""))  # plain regions have no class
        if name:
            by_class.setdefault(name, []).append(region)
    classes = [
        Region(shapely.union_all([region.polygon for region in own]), f"all {name}")
        for name, own in by_class.items()
        if len(own) > 1
    ]
    return [*regions, *classes]


def group_summaries(
    prediction: Prediction, gene: str, groups: Sequence[Region]
) -> list[GroupSummary]:
    """Summarise regions and classes for one gene.

    Raises
    ------
    PredictionError
        Nothing is predicted yet, or the prediction is damaged.
    """
    summaries = region_summaries(Selection.of(prediction, [gene], groups))
    found = []
    for group, summary in zip(groups, summaries, strict=True):
        low = high = float("nan")
        if summary.n_spots and prediction.n_kept_draws:
            draws = prediction.draws(spots_in(prediction, group), [gene]).astype(np.float64)
            bounds = central_interval(draws.mean(axis=0)[np.newaxis], LEVEL)
            low, high = (float(bound[0, 0]) for bound in bounds)
        found.append(GroupSummary(summary, low, high))
    return found


def spots_in(prediction: Prediction, group: Region) -> NDArray[np.int64]:
    """(k,) finished spots with their centre in a group."""
    return np.flatnonzero(inside(prediction.spots, [group]) & prediction.done)


def compared_spots(
    prediction: Prediction, first: Region, second: Region | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Spots of two groups that are to be compared; none is in both.

    Parameters
    ----------
    prediction
        Whose finished spots are chosen.
    first, second
        The groups; None for the second: all finished spots outside of the first. A spot in both counts for
        the first.

    Raises
    ------
    RegionError
        One of them is left without a spot.
    """
    a = spots_in(prediction, first)
    others = np.flatnonzero(prediction.done) if second is None else spots_in(prediction, second)
    b = np.setdiff1d(others, a)
    if not len(a):
        raise RegionError(f"No predicted spot lies in {first.name}; choose another region.")
    if not len(b):
        rest = "everything else" if second is None else f"{second.name} outside of {first.name}"
        raise RegionError(
            f"No predicted spot lies in {rest}; choose another region to compare with."
        )
    return a, b
