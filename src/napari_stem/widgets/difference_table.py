"""The genes that differ between two groups, as a sortable Qt item model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt

if TYPE_CHECKING:
    from napari_stem.evaluation.differences import Differences

GENE, DIFFERENCE, INTERVAL, STANDARDISED, PROBABILITY, Q_VALUE = range(6)
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
Role = Qt.ItemDataRole
SORT_ROLE = int(Role.UserRole)


class DifferenceTable(QAbstractTableModel):
    """One row per gene."""

    def __init__(self) -> None:
        super().__init__()
        self._found: Differences | None = None

    def set_differences(self, found: Differences | None) -> None:
        """Show another comparison."""
        self.beginResetModel()
        self._found = found
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Count of genes."""
        is_cell = parent is not None and parent.isValid()
        return 0 if self._found is None or is_cell else len(self._found.genes)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Count of columns."""
        return 0 if parent is not None and parent.isValid() else len(TITLES)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Role.DisplayRole
    ) -> Any:
        """Titles and what they mean."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Role.DisplayRole:
            return TITLES[section]
        return TIPS[section] if role == Role.ToolTipRole else None

    def data(self, index: QModelIndex, role: int = Role.DisplayRole) -> Any:
        """Return what a cell shows, or is sorted by."""
        found = self._found
        if found is None or not index.isValid():
            return None
        row, column = index.row(), index.column()
        if role == Role.TextAlignmentRole and column != GENE:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == SORT_ROLE:
            return found.genes[row] if column == GENE else self._number(found, row, column)
        return self._text(found, row, column) if role == Role.DisplayRole else None

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


def sorted_differences(table: DifferenceTable) -> QSortFilterProxyModel:
    """Make the table sortable, by numbers rather than by their text."""
    proxy = QSortFilterProxyModel()
    proxy.setSourceModel(table)
    proxy.setSortRole(SORT_ROLE)
    proxy.setFilterKeyColumn(GENE)
    proxy.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
    return proxy
