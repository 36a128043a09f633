"""Which values get the first and the last colour of a map, and what a map is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Field = Literal["mean", "sd"]
RangeKind = Literal["gene", "all", "percentile", "fixed"]
FIELD_TITLES: dict[str, str] = {"mean": "predicted", "sd": "predicted, uncertainty (SD)"}
PERCENTILES = (1.0, 99.0)
NARROWEST = 1e-6  # limits closer than this show no difference


@dataclass(frozen=True)
class ColourRange:
    """How the limits of the colours are chosen.

    Attributes
    ----------
    kind
        ``gene``: 1st to 99th percentile of each gene; ``all``: of all genes together;
        ``percentile``: of each gene, from ``low`` to ``high`` percent; ``fixed``: the values ``low`` and
        ``high`` for every gene, in the prediction's unit.
    low, high
        Percent or values, as ``kind`` says.
    """

    kind: RangeKind = "gene"
    low: float = PERCENTILES[0]
    high: float = PERCENTILES[1]

    def limits(
        self, values: ArrayLike, of_all: tuple[float, float] | None = None
    ) -> tuple[float, float]:
        """(low, high) for one map, with low < high.

        Parameters
        ----------
        values
            Any shape, float; NaN is left out.
        of_all
            Limits of all genes, where they are known already.
        """
        if self.kind == "fixed":
            return apart(self.low, self.high)
        if self.kind == "all" and of_all is not None:
            return of_all
        if self.kind == "percentile":
            return colour_limits(values, (self.low, self.high))
        return colour_limits(values)

    def for_another_unit(self) -> ColourRange:
        """Return the nearest choice for values of another unit: limits of expression mean nothing there."""
        return self if self.kind == "percentile" else ColourRange()


def colour_limits(
    values: ArrayLike, percentiles: tuple[float, float] = PERCENTILES
) -> tuple[float, float]:
    """Percentiles of what is predicted so far; (0, 1) where nothing is.

    Parameters
    ----------
    values
        Any shape, float; NaN is left out.
    percentiles
        Of the first and the last colour, 0 to 100.

    Returns
    -------
    (low, high) with low < high, as a viewer wants them.
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if known.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(known, sorted(percentiles)))
    return apart(low, high)


def apart(low: float, high: float) -> tuple[float, float]:
    """Return limits that differ: a gene without any spread still needs two."""
    if high - low < NARROWEST:
        return low - 0.5, low + 0.5
    return low, high


def map_title(gene: str, field: Field, unit: str = "") -> str:
    """Name of a map as the layer list and the legend show it: always says that it is predicted."""
    return f"{gene} {FIELD_TITLES[field]}" + (f", {unit}" if unit else "")


def score_title(name: str, n_used: int, n_named: int) -> str:
    """Name of the map of a score: which set, how much of it, that it is predicted, and its unit."""
    genes = "gene" if n_named == 1 else "genes"
    return f"Score of {name}, {n_used} of {n_named} {genes}, predicted, mean z-score"
