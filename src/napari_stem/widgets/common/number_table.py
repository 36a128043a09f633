"""A table of names with numbers that copes with tens of thousands of rows: sorted here, not by Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTreeView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NO_PARENT = QModelIndex()
GAP_PX = 14
TABLE_HEIGHT_PX = 150


@dataclass(frozen=True)
class NumberColumn:
    """What stands above a column and how its numbers are written, as ``format`` does."""

    title: str
    tip: str
    form: str = "+.2f"
    least: float = -np.inf  # what is smaller is said to be so


class NumberTable(QAbstractTableModel):
    """Names in the first column, numbers in the others; missing numbers come last."""

    def __init__(self, name_title: str, columns: Sequence[NumberColumn]) -> None:
        super().__init__()
        self._name_title, self._columns = name_title, tuple(columns)
        self._names: tuple[str, ...] = ()
        self._numbers: NDArray[np.float64] = np.zeros((len(self._columns), 0))
        self._order: NDArray[np.int64] = np.zeros(0, np.int64)
        self._sorted_by: tuple[int, bool] | None = None

    def fill(self, names: Sequence[str], numbers: NDArray[np.float64]) -> None:
        """Show other rows.

        Parameters
        ----------
        names
            Of the rows.
        numbers
            (columns, rows) float64; NaN is shown as a dash.
        """
        self.beginResetModel()
        self._names, self._numbers = tuple(names), np.asarray(numbers, dtype=np.float64)
        self._arrange()
        self.endResetModel()

    def name(self, row: int) -> str:
        """Name in a row, as sorted now."""
        return self._names[int(self._order[row])]

    def row_of(self, name: str) -> int | None:
        """Row of a name, as sorted now, or None."""
        if name not in self._names:
            return None
        return int(np.flatnonzero(self._order == self._names.index(name))[0])

    def rowCount(self, parent: QModelIndex = NO_PARENT) -> int:
        """Count of rows, for Qt."""
        return 0 if parent.isValid() else len(self._names)

    def columnCount(self, parent: QModelIndex = NO_PARENT) -> int:
        """Count of columns, for Qt."""
        return 0 if parent.isValid() else len(self._columns) + 1

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Text and alignment of a cell, for Qt."""
        place, column = self._order[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return self._names[place] if column == 0 else self._text(column - 1, place)
        if role == Qt.ItemDataRole.TextAlignmentRole and column:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None

    def headerData(
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> Any:
        """Title and tip of a column, for Qt."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self._columns[section - 1].title if section else self._name_title
        if role == Qt.ItemDataRole.ToolTipRole and section:
            return self._columns[section - 1].tip
        return None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; a negative one restores the order in which rows came."""
        self.beginResetModel()
        self._sorted_by = None if column < 0 else (column, order == Qt.SortOrder.DescendingOrder)
        self._arrange()
        self.endResetModel()

    def _text(self, column: int, place: int) -> str:
        value = self._numbers[column, place]
        about = self._columns[column]
        if value < about.least:
            return f"<{about.least:g}"
        return "–" if np.isnan(value) else format(value, about.form)

    def _arrange(self) -> None:
        if self._sorted_by is None:
            self._order = np.arange(len(self._names))
            return
        column, is_falling = self._sorted_by
        if column == 0:
            order = np.argsort(np.array(self._names), kind="stable")
            self._order = order[::-1] if is_falling else order
            return
        numbers = self._numbers[column - 1]
        self._order = np.argsort(-numbers if is_falling else numbers, kind="stable")


class NumberView(QTreeView):
    """Shows a `NumberTable`; a click or the arrow keys choose a row."""

    name_chosen = Signal(str)

    def __init__(self, table: NumberTable, *, sort_by: int) -> None:
        super().__init__()
        self.table = table
        self.setModel(table)
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setSortingEnabled(True)
        self.sortByColumn(sort_by, Qt.SortOrder.DescendingOrder)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setMinimumHeight(TABLE_HEIGHT_PX)
        header = self.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        width = self.fontMetrics().horizontalAdvance
        for column in range(1, table.columnCount()):
            title = str(table.headerData(column, Qt.Orientation.Horizontal))
            self.setColumnWidth(column, max(width(title + "  "), width("+0.00e-00")) + GAP_PX)
        self._chosen = ""
        self._is_marking = False
        self.selectionModel().currentRowChanged.connect(self._tell)
        table.modelReset.connect(self._mark)

    def choose(self, name: str) -> None:
        """Mark a row as chosen, telling nobody."""
        self._chosen = name
        self._mark()

    def _mark(self) -> None:
        row = self.table.row_of(self._chosen)
        self._is_marking = True
        try:
            self.setCurrentIndex(QModelIndex() if row is None else self.table.index(row, 0))
        finally:
            self._is_marking = False

    def _tell(self, current: QModelIndex) -> None:
        if current.isValid() and not self._is_marking:
            self._chosen = self.table.name(current.row())
            self.name_chosen.emit(self._chosen)
