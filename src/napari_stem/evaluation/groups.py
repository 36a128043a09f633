"""Groups of spots that can be compared: regions, classes of regions, and everything else."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, cast

import numpy as np
import shapely

from napari_stem.errors import PredictionError, RegionError
from napari_stem.evaluation.differences import compare_groups, group_draws
from napari_stem.geometry import Region, inside
from napari_stem.results import Prediction
from napari_stem.texts import own_names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from napari_stem.evaluation.differences import GroupDraws

REST = "everything else"
LOOKED_AT = 20  # groups, for two that lie apart


def with_classes(regions: Sequence[Region]) -> list[Region]:
    """Regions, followed by one for every class that several of them have, named after it, as no other is."""
    by_class: dict[str, list[Region]] = {}
    for region in regions:
        name = str(getattr(region, "classification", ""))  # plain regions have no class
        if name:
            by_class.setdefault(name, []).append(region)
    several = {f"all {name}": own for name, own in by_class.items() if len(own) > 1}
    names = own_names(several, (region.name for region in regions))
    return [
        *regions,
        *(
            Region(shapely.union_all([region.polygon for region in own]), name)
            for name, own in zip(names, several.values(), strict=True)
        ),
    ]


def first_pair(groups: Sequence[Region]) -> tuple[int, int]:
    """Places of two groups of which none lies in the other; -1 for the second: everything else.

    Parameters
    ----------
    groups
        At least one; where all lie in one another, the smallest is compared with everything else.
    """
    areas = [group.polygon.area for group in groups]
    for a, b in combinations(range(min(len(groups), LOOKED_AT)), 2):
        shared = groups[a].polygon.intersection(groups[b].polygon).area
        if shared < min(areas[a], areas[b]) / 2:
            return a, b
    return int(np.argmin(areas)), -1


def spots_in(prediction: Prediction, group: Region | str) -> NDArray[np.int64]:
    """(k,) finished spots with their centre in a region, be it one of the prediction's own, by name.

    Raises
    ------
    RegionError
        The prediction was asked for no region of that name.
    """
    if isinstance(group, Region):
        return np.flatnonzero(inside(prediction.spots, [group]) & prediction.done)
    names = [name.split("; ") for name in prediction.region_names]
    if not any(group in held for held in names):
        known = ", ".join(sorted({name for held in names for name in held if name})) or "none"
        raise RegionError(
            f"{prediction.path} knows no region '{group}' (it knows {known}); give a Region, or one of these."
        )
    return np.flatnonzero([group in held for held in names] & prediction.done)


def drawn_groups(
    prediction: Prediction,
    first: Region | str,
    second: Region | str | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> tuple[GroupDraws, GroupDraws] | None:
    """Sum up what the draws say of two groups of finished spots; None where it was stopped.

    Parameters
    ----------
    prediction
        One that keeps draws.
    first, second
        The groups; None for the second: everything outside of the first. A spot in both counts for the first.
    is_stopped
        Polled between blocks.

    Raises
    ------
    RegionError, PredictionError
        One is left without a spot; draws were not kept.
    """
    if not prediction.n_kept_draws:
        raise PredictionError(
            f"{prediction.path} keeps no single samples, by which regions are compared; predict it again and "
            f"keep them (keep_draws=True, --keep-draws)."
        )
    a = spots_in(prediction, first)
    others = np.flatnonzero(prediction.done) if second is None else spots_in(prediction, second)
    b = np.setdiff1d(others, a)
    if not len(a):
        raise RegionError(f"No predicted spot lies in {_name(first)}; choose another region.")
    if not len(b):
        rest = REST if second is None else f"{_name(second)} outside of {_name(first)}"
        raise RegionError(
            f"No predicted spot lies in {rest}; choose another region to compare with."
        )
    drawn_a = group_draws(prediction, a, _name(first), is_stopped)
    drawn_b = group_draws(prediction, b, REST if second is None else _name(second), is_stopped)
    return None if drawn_a is None or drawn_b is None else (drawn_a, drawn_b)


def compare(
    prediction: Prediction | str | Path,
    region_a: Region | str,
    region_b: Region | str | None = None,
) -> pd.DataFrame:
    """Compare two regions of a prediction in all genes, judged from the samples that it keeps.

    Parameters
    ----------
    prediction
        An open one, or its path (``.zarr``, ``.h5ad``).
    region_a, region_b
        Regions, or names of those that were predicted (``obs["region"]``); None for the second: everything
        else. A spot in both counts for the first.

    Returns
    -------
    One row per gene, the surest first: ``group_a``, ``group_b``, ``unit``, ``mean_a``, ``mean_b``,
    ``difference`` with its 90% interval ``q05``, ``q95``; ``standardised`` (Cohen's d), ``probability`` (that A
    is above B), ``q_value`` (expected share of wrong signs among this gene and all that are surer),
    ``by_chance`` (whether the gene cannot be told from chance in every left-out section).

    Raises
    ------
    RegionError
        No predicted spot lies in one of them, or there is none of that name.
    PredictionError
        There is no such prediction, or it keeps no samples.
    """
    if not isinstance(prediction, Prediction):
        prediction = Prediction.open(prediction)
    a, b = cast("tuple[GroupDraws, GroupDraws]", drawn_groups(prediction, region_a, region_b))
    return compare_groups(a, b, prediction.gene_accuracy["by_chance"], prediction.unit)


def _name(group: Region | str) -> str:
    return group.name if isinstance(group, Region) else group
