"""How two groups of spots differ in predicted expression, judged from the draws.

What the draws hold, and what they do not: given the image, the model draws every spot independently of
the others. The error that spots share (a model that misjudges a kind of tissue misjudges all of it) is not
sampled, so the mean over a region varies far too little between draws: its spread shrinks with the root of
the number of spots, its true error does not. Therefore everything here comes in two versions:

``alike`` (cautious, the default)
    All spots of one group err alike: a group that is wrong is wrong everywhere by as much as each of its
    spots may be. The k-th smallest mean of a group is the mean over its spots of their k-th smallest draws
    (quantiles of a comonotone sum are the sums of the quantiles). Its 90% interval is therefore the mean of
    the spots' own 90% intervals, which is what `napari_stem.exporting.summary` reports of a region. Two groups
    err independently of each other.
``independent``
    As sampled: the mean over a group's spots within each draw. True only if no error is shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_stem.cells import harmless_table
from napari_stem.errors import PredictionError
from napari_stem.exporting.selection import NOTICE
from napari_stem.io import written_whole
from napari_stem.metrics import central_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_stem.results import Prediction

    Array = NDArray[np.float64]
    from pathlib import Path

    import pandas as pd

Errors = Literal["alike", "independent"]
LEVEL = 0.9
SPOTS_PER_READ = 256
DECIMALS = 12  # of a rate: 0.1 and 1 - 0.9 are equal
GENES_AT_ONCE = 500  # pairs of draws of so many genes are held at a time


@dataclass(frozen=True)
class GroupDraws:
    """What the draws say of the mean over a group of spots.

    Attributes
    ----------
    name
        What users read.
    n_spots
        Spots in the group.
    independent
        (genes, draws) float64: mean over the spots within each draw.
    alike
        (genes, draws) float64, ascending: mean over the spots of their sorted draws.
    variance
        (genes,) float64: variance between spots within a draw, mean over draws; 0 for a single spot.
    """

    name: str
    n_spots: int
    independent: Array
    alike: Array
    variance: Array

    @property
    def mean(self) -> Array:
        """(genes,) mean over spots and draws."""
        return np.asarray(self.independent.mean(axis=1))

    def interval(self, errors: Errors = "alike") -> tuple[Array, Array]:
        """Bounds of the 90% interval of the group's mean, (genes,) each."""
        means = self.alike if errors == "alike" else self.independent
        low, high = central_interval(means[np.newaxis], LEVEL)
        return low[0], high[0]


@dataclass(frozen=True)
class Differences:
    """How group A differs from group B, gene by gene; all arrays (genes,) float64.

    Attributes
    ----------
    genes
        Names.
    first, second
        Names of A and B.
    errors
        How spots of a group are taken to err.
    mean_a, mean_b
        Predicted means, in the prediction's unit.
    difference, low, high
        A minus B with its 90% interval.
    standardised
        The difference in standard deviations between spots (`standardised_difference`).
    probability
        That the mean of A is above that of B (`probability_above`).
    q_value
        Expected share of wrong signs among this gene and all that are surer (`expected_false_share`).
    """

    genes: tuple[str, ...]
    first: str
    second: str
    errors: Errors
    mean_a: Array
    mean_b: Array
    difference: Array
    low: Array
    high: Array
    standardised: Array
    probability: Array
    q_value: Array


def group_draws(
    prediction: Prediction,
    spots: NDArray[np.int64],
    name: str,
    is_stopped: Callable[[], bool] = lambda: False,
) -> GroupDraws | None:
    """Read a group's draws block by block and add them up.

    Parameters
    ----------
    prediction
        With draws kept.
    spots
        (k,) finished spots of the group.
    name
        What users read.
    is_stopped
        Polled between blocks.

    Returns
    -------
    The group, or None where it was stopped.

    Raises
    ------
    PredictionError
        There is no spot, or draws were not kept.
    """
    if not len(spots):
        raise PredictionError(f"No predicted spot lies in {name}; choose another region.")
    shape = (len(prediction.genes), prediction.n_kept_draws)
    total, ranked, squares = (np.zeros(shape) for _ in range(3))
    for start in range(0, len(spots), SPOTS_PER_READ):
        if is_stopped():
            return None
        draws = prediction.draws(spots[start : start + SPOTS_PER_READ]).astype(np.float64)
        total += draws.sum(axis=0)
        squares += (draws**2).sum(axis=0)
        ranked += np.sort(draws, axis=-1).sum(axis=0)
    return summed_up(name, len(spots), total, ranked, squares)


def summed_up(name: str, n_spots: int, total: Array, ranked: Array, squares: Array) -> GroupDraws:
    """Group from the sums over its spots of draws, sorted draws and squared draws, (genes, draws) each."""
    within = (squares - total**2 / n_spots) / max(1, n_spots - 1)
    return GroupDraws(
        name,
        n_spots,
        independent=total / n_spots,
        alike=ranked / n_spots,
        variance=np.maximum(within, 0.0).mean(axis=1),
    )


def compare_groups(
    a: GroupDraws, b: GroupDraws, genes: Sequence[str], errors: Errors = "alike"
) -> Differences:
    """Compare two groups gene by gene.

    Parameters
    ----------
    a, b
        Groups of the same prediction without common spots.
    genes
        Names, in the order of the groups' rows.
    errors
        How spots of one group are taken to err.
    """
    low, high, probability = (np.empty(len(genes)) for _ in range(3))
    for start in range(0, len(genes), GENES_AT_ONCE):
        rows = slice(start, start + GENES_AT_ONCE)
        apart = _differences_drawn(a, b, rows, errors)
        bounds = central_interval(apart[np.newaxis], LEVEL)
        low[rows], high[rows] = bounds[0][0], bounds[1][0]
        probability[rows] = probability_above(apart, a.independent.shape[1])
    return Differences(
        tuple(genes),
        a.name,
        b.name,
        errors,
        mean_a=a.mean,
        mean_b=b.mean,
        difference=a.mean - b.mean,
        low=low,
        high=high,
        standardised=standardised_difference(a, b),
        probability=probability,
        q_value=expected_false_share(probability),
    )


def _differences_drawn(a: GroupDraws, b: GroupDraws, rows: slice, errors: Errors) -> Array:
    """(genes, ...) differences of the means: draw by draw, or of every draw of A with every one of B."""
    if errors == "independent":
        return a.independent[rows] - b.independent[rows]
    pairs = a.alike[rows, :, np.newaxis] - b.alike[rows, np.newaxis, :]
    return pairs.reshape(pairs.shape[0], -1)


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
    certainty: (n share + 1/2) / (n + 1), the posterior mean under Jeffreys' prior. Where all pairs of draws
    were formed, n is still the number of draws.
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


ASSUMPTIONS = {
    "alike": "All spots of a group are taken to err alike, the two groups independently of each other "
    "(cautious). The 90% interval of a group's mean is the mean of its spots' intervals.",
    "independent": "Every spot is taken to err by itself, as sampled. An error that spots share is not in "
    "these numbers: intervals are too narrow and probabilities too extreme by an unknown amount.",
}
COLUMNS = """\
gene                  as the model names it
group_a, group_b      what is compared; a spot in both counts for group_a
unit                  of means and differences
mean_a, mean_b        predicted mean over the group's spots
difference            mean_a - mean_b
q05, q95              90% interval of the difference
standardised          difference over the pooled standard deviation between single spots (Cohen's d)
probability           posterior probability that mean_a is above mean_b, from the samples
q_value               expected share of wrong signs among this gene and all that are surer: the mean of
                      min(P, 1 - P) over them (Stephens 2017, Biostatistics 18:275)
spot_errors           alike or independent, see above
"""


def differences_table(found: Differences, unit: str) -> pd.DataFrame:
    """Table of all genes, the surest first; `COLUMNS` says what the columns are."""
    import pandas as pd

    table = pd.DataFrame(
        {
            "gene": found.genes,
            "group_a": found.first,
            "group_b": found.second,
            "unit": unit,
            "mean_a": found.mean_a,
            "mean_b": found.mean_b,
            "difference": found.difference,
            "q05": found.low,
            "q95": found.high,
            "standardised": found.standardised,
            "probability": found.probability,
            "q_value": found.q_value,
            "spot_errors": found.errors,
        }
    )
    order = table.assign(size=table["difference"].abs()).sort_values(
        ["q_value", "size"], ascending=[True, False], kind="stable"
    )
    return table.loc[order.index].reset_index(drop=True)


def write_differences(
    found: Differences, unit: str, path: Path, *, overwrite: bool = False
) -> None:
    """Write one row per gene, and ``NAME_README.txt`` beside it.

    Parameters
    ----------
    found, unit
        What to write, and the unit of its means.
    path
        New file.
    overwrite
        Replace what is there.

    Raises
    ------
    OutputError
        The place is taken or cannot be written.
    """
    readme = path.with_name(f"{path.stem}_README.txt")
    text = (
        f"{path.name}: {found.first} compared with {found.second}, gene by gene.\n\n{NOTICE}\n"
        f"{ASSUMPTIONS[found.errors]}\n\n{COLUMNS}"
    )
    with (
        written_whole(readme, overwrite=overwrite) as new_readme,
        written_whole(path, overwrite=overwrite) as new,
    ):
        new_readme.write_text(text, encoding="utf-8")
        table = harmless_table(differences_table(found, unit))
        table.to_csv(new, index=False, float_format="%.6g")
