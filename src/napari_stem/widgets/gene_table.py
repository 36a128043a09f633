"""The genes of a prediction as Qt item models: name and reliability, sorted and filtered."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GENE, RELIABILITY = 0, 1
HEADERS = ("Gene", "Reliability")
TIPS = (
    "Type above to find a gene; click the header to sort",
    "How well predictions of this gene followed measurements on tissue that the model never saw:\n"
    "1 is perfect, 0 is no better than chance. It may be lower on your slide.",
)
SORT_ROLE = Qt.ItemDataRole.UserRole
NO_PARENT = QModelIndex()


class GeneTable(QAbstractTableModel):
    """One row per gene, in the model's order."""

    def __init__(self) -> None:
        super().__init__()
        self._genes: tuple[str, ...] = ()
        self._reliability: dict[str, float] = {}

    def set_genes(self, genes: Sequence[str], reliability: Mapping[str, float | None]) -> None:
        """Show other genes.

        Parameters
        ----------
        genes
            Names.
        reliability
            Correlation with measurements on a held-out section, for the genes where it is known.
        """
        self.beginResetModel()
        self._genes = tuple(genes)
        known = {g: v for g, v in reliability.items() if v is not None and math.isfinite(v)}
        self._reliability = {g: float(v) for g, v in known.items()}
        self.endResetModel()

    def rowCount(self, parent: QModelIndex = NO_PARENT) -> int:
        """Count of genes."""
        return 0 if parent.isValid() else len(self._genes)

    def columnCount(self, parent: QModelIndex = NO_PARENT) -> int:
        """Gene and reliability."""
        return 0 if parent.isValid() else len(HEADERS)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what one cell shows, says or is sorted by."""
        gene = self._genes[index.row()]
        if role == Qt.ItemDataRole.ToolTipRole:
            return TIPS[index.column()]
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() == RELIABILITY:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role not in {Qt.ItemDataRole.DisplayRole, SORT_ROLE}:
            return None
        if index.column() == GENE:
            return gene
        value = self._reliability.get(gene)
        if role == SORT_ROLE:
            return -2.0 if value is None else value  # below every correlation
        return "–" if value is None else f"{value:.2f}"

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Titles of the columns."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return HEADERS[section]
        return TIPS[section] if role == Qt.ItemDataRole.ToolTipRole else None


def filtered(table: GeneTable) -> QSortFilterProxyModel:
    """Wrap the table in a view that filters by name, whatever the case, and sorts on request."""
    proxy = QSortFilterProxyModel()
    proxy.setSourceModel(table)
    proxy.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
    proxy.setFilterKeyColumn(GENE)
    proxy.setSortRole(SORT_ROLE)
    return proxy
