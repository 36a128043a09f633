"""One row per gene, as a Qt item model that is sorted by numbers rather than by their text."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt

GENE = 0  # the column of names
Role = Qt.ItemDataRole
SORT_ROLE = int(Role.UserRole)


class GeneRows(QAbstractTableModel):
    """What tables of genes share; a child says how many rows there are and what stands in a cell."""

    titles: tuple[str, ...] = ()
    tips: tuple[str, ...] = ()

    def n_rows(self) -> int:
        """Count of genes."""
        raise NotImplementedError

    def sorted_by(self, row: int, column: int) -> str | float:
        """Return what a cell is sorted by."""
        raise NotImplementedError

    def text(self, row: int, column: int) -> str:
        """Return what a cell shows."""
        raise NotImplementedError

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Count of genes, for Qt."""
        return 0 if parent is not None and parent.isValid() else self.n_rows()

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Count of columns, for Qt."""
        return 0 if parent is not None and parent.isValid() else len(self.titles)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Role.DisplayRole
    ) -> Any:
        """Titles and what they mean, for Qt."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Role.DisplayRole:
            return self.titles[section]
        return self.tips[section] if role == Role.ToolTipRole else None

    def data(self, index: QModelIndex, role: int = Role.DisplayRole) -> Any:
        """Return what a cell shows, or is sorted by, for Qt."""
        if not index.isValid() or index.row() >= self.n_rows():
            return None
        row, column = index.row(), index.column()
        if role == Role.TextAlignmentRole and column != GENE:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == SORT_ROLE:
            return self.sorted_by(row, column)
        return self.text(row, column) if role == Role.DisplayRole else None


def sortable(table: GeneRows) -> QSortFilterProxyModel:
    """Make a table sortable, and filterable by gene."""
    proxy = QSortFilterProxyModel()
    proxy.setSourceModel(table)
    proxy.setSortRole(SORT_ROLE)
    proxy.setFilterKeyColumn(GENE)
    proxy.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
    return proxy
