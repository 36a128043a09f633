"""What stands out: in one of two groups of spots, as regions hold them, and at a spot against all of its slide.

Draws of our models hold what spots share: errors of the whole slide and of a neighbourhood (`Residual.shared`).
The mean over a group's spots within each draw is therefore a draw of the group's mean, and the difference of
two such means one of the groups' difference. Published Stem draws every spot by itself: its intervals of groups
are too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import shapely

from napari_stem.cells import harmless_table
from napari_stem.errors import PredictionError, RegionError
from napari_stem.geometry import Region, inside, regions_named
from napari_stem.io import written_whole
from napari_stem.metrics import central_interval, holding
from napari_stem.progress import go_on
from napari_stem.results import Field, Prediction
from napari_stem.texts import NOTICE, own_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from napari_stem.progress import Poll

    Array = NDArray[np.float64]

REST = "everything else"
LOOKED_AT = 20  # groups, for two that lie apart
LEVEL = 0.9
SPOTS_PER_READ = 256  # with their draws
ROWS_PER_READ = 2048  # without
DECIMALS = 12  # of a rate: 0.1 and 1 - 0.9 are equal


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

    RegionError: the prediction was asked for no region of that name.
    """
    if isinstance(group, Region):
        return np.flatnonzero(inside(prediction.spots, [group]) & prediction.done)
    names = [regions_named(joined) for joined in prediction.region_names]
    if not any(group in held for held in names):
        known = ", ".join(sorted({name for held in names for name in held if name})) or "none"
        raise RegionError(
            f"{prediction.path} knows no region '{group}' (it knows {known}); give a Region, or one of these."
        )
    return np.flatnonzero([group in held for held in names] & prediction.done)


@dataclass(frozen=True)
class GroupDraws:
    """The mean over a group of spots, and what the draws say of it."""

    name: str  # what users read
    n_spots: int  # spots in the group
    mean: Array  # (genes,) float64: mean over the spots of what is predicted of each
    means: Array  # (genes, draws) float64: mean over the spots within each draw
    # (genes,) float64: variance between spots within a draw, mean over draws; 0 for a single spot
    variance: Array


def group_draws(
    prediction: Prediction,
    spots: NDArray[np.int64],
    name: str,
    poll: Poll = go_on,
) -> GroupDraws:
    """Read (k,) finished spots block by block and add them up; ``poll`` may raise to stop.

    PredictionError: there is no spot, or draws were not kept.
    """
    if not len(spots):
        raise PredictionError(f"No predicted spot lies in {name}; choose another region.")
    shape = (len(prediction.genes), prediction.n_kept_draws)
    total, squares, predicted = np.zeros(shape), np.zeros(shape), np.zeros(shape[0])
    for start in range(0, len(spots), SPOTS_PER_READ):
        poll()
        block = spots[start : start + SPOTS_PER_READ]
        predicted += prediction.rows(block).sum(axis=0, dtype=np.float64)
        draws = prediction.draws(block)
        total += draws.sum(axis=0, dtype=np.float64)
        squares += np.einsum("sgd,sgd->gd", draws, draws, dtype=np.float64)
    n_spots = len(spots)
    within = (squares - total**2 / n_spots) / max(1, n_spots - 1)
    variance = np.maximum(within, 0.0).mean(axis=1)
    return GroupDraws(name, n_spots, predicted / n_spots, total / n_spots, variance)


def drawn_groups(
    prediction: Prediction,
    first: Region | str,
    second: Region | str | None = None,
    poll: Poll = go_on,
) -> tuple[GroupDraws, GroupDraws]:
    """Sum up what the draws say of two groups of finished spots.

    Parameters
    ----------
    prediction
        One that keeps draws.
    first, second
        The groups; None for the second: everything outside of the first. A spot in both counts for the first.
    poll
        Called before each block; may raise to stop.

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
    drawn_a = group_draws(prediction, a, _name(first), poll)
    return drawn_a, group_draws(prediction, b, REST if second is None else _name(second), poll)


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
    a, b = drawn_groups(prediction, region_a, region_b)
    return compare_groups(a, b, prediction.gene_accuracy["by_chance"], prediction.unit)


def _name(group: Region | str) -> str:
    return group.name if isinstance(group, Region) else group


def compare_groups(a: GroupDraws, b: GroupDraws, by_chance: pd.Series, unit: str) -> pd.DataFrame:
    """Compare two groups gene by gene.

    Parameters
    ----------
    a, b
        Groups of the same prediction without common spots.
    by_chance
        (genes,) bool by name, in the order of the groups' rows, as in `Prediction.gene_accuracy`.
    unit
        Of the groups' means.

    Returns
    -------
    One row per gene, by name, the surest first; `COLUMNS` says what the columns are.
    """
    import pandas as pd

    apart = a.means - b.means
    difference = a.mean - b.mean
    low, high = holding(difference, *central_interval(apart, LEVEL))
    probability = probability_above(apart, apart.shape[1])
    found = pd.DataFrame(
        {
            "group_a": a.name,
            "group_b": b.name,
            "unit": unit,
            "mean_a": a.mean,
            "mean_b": b.mean,
            "difference": difference,
            "q05": low,
            "q95": high,
            "standardised": standardised_difference(a, b),
            "probability": probability,
            "q_value": expected_false_share(probability),
            "by_chance": by_chance.to_numpy(),
        },
        index=by_chance.index.rename("gene"),
    )
    # among equally sure genes the larger difference comes first
    order = np.lexsort((-found["difference"].abs(), found["q_value"]))
    return found.iloc[order]


def standardised_difference(a: GroupDraws, b: GroupDraws) -> Array:
    """(genes,) difference of the means over the pooled standard deviation between spots (Cohen's d).

    The deviation is that of single spots within one draw, so that it holds the spots' predicted differences
    as well as the uncertainty of each; NaN where neither group has two spots that differ.
    """
    freedom = a.n_spots + b.n_spots - 2
    if freedom < 1:
        return np.full(len(a.mean), np.nan)
    pooled = ((a.n_spots - 1) * a.variance + (b.n_spots - 1) * b.variance) / freedom
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(pooled > 0, (a.mean - b.mean) / np.sqrt(pooled), np.nan)


def probability_above(differences: ArrayLike, n_draws: int) -> Array:
    """Posterior probability that a difference is above zero: (genes, m) -> (genes,).

    The share of positive differences, ties counting half, drawn towards one half as n draws allow no
    certainty: (n share + 1/2) / (n + 1), the posterior mean under Jeffreys' prior.
    """
    apart = np.asarray(differences)
    share = (apart > 0).mean(axis=-1) + (apart == 0).mean(axis=-1) / 2
    return np.asarray((n_draws * share + 0.5) / (n_draws + 1))


def expected_false_share(probability: ArrayLike) -> Array:
    """Multiplicity control: the expected share of genes whose sign is wrong among those at least as sure.

    With P the probability that A is above B, the local false sign rate of a gene is min(P, 1 - P). Ranked
    from the smallest, the q-value of the k-th gene is the mean of the first k rates: calling "different"
    all genes with q <= 0.05 gives an expected 5% of wrong calls, given that the probabilities are right
    (Mueller, Parmigiani, Robert and Rousseau 2004, JASA 99:990; with signs: the s-value of Stephens 2017,
    Biostatistics 18:275). Genes with equal rates have equal q-values.
    """
    above = np.asarray(probability, dtype=np.float64)
    rate: Array = np.minimum(above, 1 - above).round(DECIMALS)
    if not rate.size:
        return rate
    ascending = np.sort(rate)
    mean_of_first = np.cumsum(ascending) / np.arange(1, len(ascending) + 1)
    last_of_ties = np.searchsorted(ascending, rate, side="right") - 1
    return np.asarray(mean_of_first[last_of_ties])


ASSUMPTION = (
    "Judged from joint samples of all spots: errors that spots share are in them as far as the training "
    "sections show them."
)
COLUMNS = """\
gene                  as the model names it
group_a, group_b      what is compared; a spot in both counts for group_a
unit                  of means and differences
mean_a, mean_b        predicted mean over the group's spots
difference            mean_a - mean_b
q05, q95              90% interval of the difference, from the samples; widened to hold the difference where
                      these are too few
standardised          difference over the pooled standard deviation between single spots (Cohen's d)
probability           posterior probability that mean_a is above mean_b, from the samples
q_value               expected share of wrong signs among this gene and all that are surer: the mean of
                      min(P, 1 - P) over them (Stephens 2017, Biostatistics 18:275)
by_chance             True where the gene's prediction cannot be told from chance in every left-out section once
                      depth is taken out
"""


def write_differences(found: pd.DataFrame, path: Path, *, overwrite: bool = False) -> None:
    """Write what `compare_groups` found, one row per gene, and ``NAME_README.txt`` beside it.

    OutputError: the place is taken or cannot be written.
    """
    compared, other = found[["group_a", "group_b"]].iloc[0]
    readme = path.with_name(f"{path.stem}_README.txt")
    text = (
        f"{path.name}: {compared} compared with {other}, gene by gene.\n\n{NOTICE}\n"
        f"{ASSUMPTION}\n\n{COLUMNS}"
    )
    with (
        written_whole(path, overwrite=overwrite) as new,
        written_whole(readme, overwrite=overwrite) as new_readme,
    ):
        new_readme.write_text(text, encoding="utf-8")
        table = harmless_table(found.reset_index())
        table.to_csv(new, index=False, float_format="%.6g")


@dataclass(frozen=True)
class Background:
    """The slide that a spot is compared with."""

    n_spots: int  # finished spots that it was taken from
    # mean, sd: (genes,) float64 over those spots' predicted means
    mean: Array
    sd: Array


def background(prediction: Prediction, poll: Poll = go_on) -> Background:
    """Mean and standard deviation of every gene over the finished spots; ``poll`` may raise to stop.

    PredictionError: the prediction is damaged.
    """
    done = np.flatnonzero(prediction.done)
    total, squares = np.zeros((2, len(prediction.genes)))
    shift = prediction.rows(done[:1])[0].astype(np.float64) if len(done) else 0.0
    for start in range(0, len(done), ROWS_PER_READ):
        poll()
        values = prediction.rows(done[start : start + ROWS_PER_READ]) - shift  # keeps digits
        total += values.sum(axis=0)
        squares += (values**2).sum(axis=0)
    n = max(1, len(done))
    variance = np.maximum(squares / n - (total / n) ** 2, 0.0)
    return Background(len(done), shift + total / n, np.sqrt(variance))


def spot_profile(prediction: Prediction, spot: int, ground: Background) -> pd.DataFrame:
    """Compare one finished spot with the background.

    Returns
    -------
    By gene: ``mean``, predicted, in the prediction's unit; ``z``, ``z_low``, ``z_high``: the same and its 90%
    interval, in standard deviations of the slide's spots from the slide's mean, NaN for a gene that is the same
    everywhere.

    Raises
    ------
    PredictionError
        The prediction is damaged.
    """
    import pandas as pd

    fields: dict[str, Field] = {"z": "mean", "z_low": "q05", "z_high": "q95"}
    values = [prediction.rows(np.array([spot]), field)[0] for field in fields.values()]
    read = dict(zip(fields, values, strict=True))
    found = pd.DataFrame(read, index=list(prediction.genes), dtype=np.float64)
    spread = np.where(ground.sd > 1e-6, ground.sd, np.nan)
    standardised = found.sub(ground.mean, axis=0).div(spread, axis=0)
    return standardised.assign(mean=found["z"])
