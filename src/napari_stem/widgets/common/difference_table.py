"""The genes that differ between two groups, as a sortable Qt item model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.widgets.common.gene_rows import GENE, GeneRows

if TYPE_CHECKING:
    from napari_stem.evaluation.differences import Differences

DIFFERENCE, INTERVAL, STANDARDISED, PROBABILITY, Q_VALUE = range(1, 6)
TITLES = ("Gene", "Difference", "90% interval", "Std. diff.", "P(A > B)", "Wrong calls")
TIPS = (
    "Click to see its map",
    "Predicted mean of A minus that of B",
    "Of the difference",
    "The difference in standard deviations between single spots (Cohen's d)",
    "Probability that the mean of A is above that of B, from the samples",
    "Expected share of wrong directions if this gene and all surer ones are called different: the mean "
    "of min(P, 1 - P) over them (Bayesian false discovery rate; s-value of Stephens 2017)",
)


class DifferenceTable(GeneRows):
    """One row per gene."""

    titles, tips = TITLES, TIPS

    def __init__(self) -> None:
        super().__init__()
        self._found: Differences | None = None

    def set_differences(self, found: Differences | None) -> None:
        """Show another comparison."""
        self.beginResetModel()
        self._found = found
        self.endResetModel()

    def n_rows(self) -> int:
        """Count of genes."""
        return 0 if self._found is None else len(self._found.genes)

    def sorted_by(self, row: int, column: int) -> str | float:
        """Return what a cell is sorted by."""
        found = self._found
        if found is None:
            return ""
        return found.genes[row] if column == GENE else self._number(found, row, column)

    def text(self, row: int, column: int) -> str:
        """Return what a cell shows."""
        return "" if self._found is None else self._text(self._found, row, column)

    def _number(self, found: Differences, row: int, column: int) -> float:
        if column == INTERVAL:
            return float(found.high[row] - found.low[row])
        if column == Q_VALUE:  # among equally sure genes the larger difference comes first
            return float(found.q_value[row]) - 1e-9 * float(abs(found.difference[row]))
        values = {
            DIFFERENCE: found.difference,
            STANDARDISED: found.standardised,
            PROBABILITY: found.probability,
        }[column]
        return float(np.nan_to_num(values[row]))

    def _text(self, found: Differences, row: int, column: int) -> str:
        if column == GENE:
            return found.genes[row]
        if column == DIFFERENCE:
            return f"{found.difference[row]:+.2f}"
        if column == INTERVAL:
            return f"{found.low[row]:+.2f} to {found.high[row]:+.2f}"
        if column == STANDARDISED:
            value = found.standardised[row]
            return f"{value:+.2f}" if np.isfinite(value) else "–"
        if column == PROBABILITY:
            return f"{found.probability[row]:.2f}"
        return f"{found.q_value[row]:.1%}"
