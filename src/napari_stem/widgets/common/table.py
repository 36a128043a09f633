"""One table over a DataFrame: sorted by its numbers rather than by their text, filtered, chosen from.

Rows are places in arrays and no cell has an object of its own, so that tens of thousands of rows cost little.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSignalBlocker, Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent, QKeySequence
from qtpy.QtWidgets import QAbstractItemView, QApplication, QHeaderView, QTableView

from napari_stem.cells import harmless, harmless_table
from napari_stem.io import written_whole
from napari_stem.model.genes import MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

NO_PARENT = QModelIndex()
GAP_PX, ROW_GAP_PX = 10, 4
GREY = QColor(130, 130, 130)
UNKNOWN = "–"
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
Role = Qt.ItemDataRole
TIP, IS_GREY = "tip", "is_grey"  # columns of a frame that speak of whole rows


@dataclass(frozen=True)
class Column:
    """What one column of a table shows."""

    key: str  # column of the frame
    title: str
    tip: str = ""
    form: str | Callable[[Any], str] = ""  # of a value: a format such as ``+.2f``, or a function
    upper: str = ""  # column of the frame with the other ends, of a column of ranges
    order: str = ""  # column of the frame that rows are sorted by; empty: the same
    colour: str = ""  # column of the frame with a colour shown beside the text
    widest: str = "+0.00"  # text for which there is to be room
    is_editable: bool = False
    is_text: bool = False  # aligned so

    def written(self, value: Any) -> str:
        """Return a value as it is shown; what is not known as a dash."""
        if callable(self.form):
            return self.form(value)
        if isinstance(value, float | np.floating) and np.isnan(value):
            return UNKNOWN
        return format(value, self.form)


class Table(QAbstractTableModel):
    """Shows a frame, whose index holds the rows' keys: names of genes, numbers of regions.

    Where the frame has columns ``tip`` and ``is_grey``, they give what is said of a row and whether it is grey.
    """

    edited = Signal(object, str, str)  # key of the row, key of the column, text

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self.frame = pd.DataFrame({column.key: [] for column in columns})
        self._values: dict[Hashable, NDArray[Any]] = {}
        self._order: NDArray[np.int64] = np.zeros(0, np.int64)  # place in the frame of each row
        self._sorted_by: tuple[int, bool] | None = None  # column, whether the largest comes first
        self._text = ""  # searched for

    def fill(self, frame: pd.DataFrame) -> None:
        """Show another frame; where it has the same rows, what is chosen or being edited stays so."""
        is_same = self._sorted_by is None and frame.index.equals(self.frame.index)
        self.frame = frame
        self._values = {key: frame[key].to_numpy() for key in frame.columns}
        if not is_same:
            self.arrange()
        elif len(self._order):
            self.dataChanged.emit(
                self.index(0, 0), self.index(len(self._order) - 1, len(self.columns) - 1)
            )

    def filter(self, text: str) -> None:
        """List only rows whose key holds a text, in any case."""
        self._text = text
        self.arrange()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; a negative one restores the order of the frame."""
        self._sorted_by = None if column < 0 else (column, order == Qt.SortOrder.DescendingOrder)
        self.arrange()

    def key(self, row: int) -> Any:
        """Key of a row, as sorted now."""
        return self.frame.index[int(self._order[row])]

    def row_of(self, key: object) -> int | None:
        """Row of a key as sorted now, None where it is not listed."""
        if key not in self.frame.index:
            return None
        rows = np.flatnonzero(self._order == self.frame.index.get_loc(key))
        return int(rows[0]) if len(rows) else None

    def rowCount(self, parent: QModelIndex = NO_PARENT) -> int:
        """Count of listed rows, for Qt."""
        return 0 if parent.isValid() else len(self._order)

    def columnCount(self, parent: QModelIndex = NO_PARENT) -> int:
        """Count of columns, for Qt."""
        return 0 if parent.isValid() else len(self.columns)

    def data(self, index: QModelIndex, role: int = Role.DisplayRole) -> Any:
        """Return what a cell shows or says, for Qt."""
        if not index.isValid() or index.row() >= len(self._order):
            return None
        place, column = int(self._order[index.row()]), self.columns[index.column()]
        if role in {Role.DisplayRole, Role.EditRole}:
            return self.text(place, column)
        if role == Role.UserRole:
            return self.frame.index[place]
        if role == Role.ToolTipRole:
            return self.tip(place, column) or None
        if role == Role.ForegroundRole:
            return GREY if IS_GREY in self._values and self._values[IS_GREY][place] else None
        if role == Role.DecorationRole and column.colour:
            return QColor(self._values[column.colour][place])
        if role == Role.TextAlignmentRole and index.column() and not column.is_text:
            return int(RIGHT)
        return None

    def text(self, place: int, column: Column) -> str:
        """Return what a cell shows, by its place in the frame."""
        keys = filter(None, (column.key, column.upper))
        ends = [column.written(self._values[key][place]) for key in keys]
        return UNKNOWN if UNKNOWN in ends else " to ".join(ends)

    def tip(self, place: int, column: Column) -> str:
        """Return what is said of a cell: of its row, else of its column."""
        if TIP in self._values:
            return str(self._values[TIP][place])
        # long texts may be cut off
        return f"{self.text(place, column)}\n{column.tip}" if column.is_text else column.tip

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Role.DisplayRole
    ) -> Any:
        """Title and tip of a column, for Qt."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Role.DisplayRole:
            return self.columns[section].title
        if role == Role.TextAlignmentRole and self._sorted_by is None and section:
            # above its numbers; where it is sorted by, the arrow would lie over it
            return None if self.columns[section].is_text else int(RIGHT)
        return self.columns[section].tip or None if role == Role.ToolTipRole else None

    def flags(self, index: QModelIndex) -> Any:
        """Whether a cell can be edited, for Qt."""
        plain = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        is_editable = index.isValid() and self.columns[index.column()].is_editable
        return plain | Qt.ItemFlag.ItemIsEditable if is_editable else plain

    def setData(self, index: QModelIndex, value: Any, role: int = Role.EditRole) -> bool:
        """Ask for another text; it shows once the frame has it."""
        if role != Role.EditRole:
            return False
        self.edited.emit(
            self.key(index.row()), self.columns[index.column()].key, str(value).strip()
        )
        return True

    def arrange(self) -> None:
        """Choose and sort the rows anew."""
        self.beginResetModel()
        self._order = self.ordered()
        self.endResetModel()

    def ordered(self) -> NDArray[np.int64]:
        """Places of the rows that are listed, as sorted; what is not known comes last either way."""
        order, wanted = np.argsort(self.sort_keys(), kind="stable"), self._text.lower()
        is_listed = np.array([wanted in str(name).lower() for name in self.frame.index], bool)
        return np.asarray(order[is_listed[order]])

    def sort_keys(self) -> NDArray[np.float64]:
        """(rows,) by which to sort, the smallest first; NaN where not known."""
        if self._sorted_by is None:
            return np.arange(len(self.frame), dtype=np.float64)
        number, is_largest_first = self._sorted_by
        column = self.columns[number]
        values = self._values.get(column.order or column.key, np.zeros(0))
        if values.dtype == object:  # texts: by their places in the alphabet
            values = np.unique([str(value).upper() for value in values], return_inverse=True)[1]
        keys = values.astype(np.float64)
        return -keys if is_largest_first else keys


def marked(frame: pd.DataFrame, by_chance: Collection[str]) -> pd.DataFrame:
    """Frame of genes for a `Table`: those that cannot be told from chance are grey and say so."""
    is_grey = frame.index.isin(list(by_chance))
    names = [
        f"{gene} ({MARK})" if grey else gene
        for gene, grey in zip(frame.index, is_grey, strict=True)
    ]
    return frame.assign(gene=names, **{IS_GREY: is_grey})


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Save a table for spreadsheets, in place of what is there; OutputError where it cannot be written."""
    with written_whole(path, overwrite=True) as fresh:
        harmless_table(table).to_csv(fresh)


class TableView(QTableView):
    """Shows a `Table`; a click or the arrow keys choose a row, which stays marked wherever it moves to.

    By the column ``sort_by`` the largest comes first; None where rows are not to be sorted. The chosen row is
    marked in ``name_column``, which gets all the room that is left.
    """

    chosen = Signal(object)  # key of the row

    def __init__(self, table: Table, *, sort_by: int | None = None, name_column: int = 0) -> None:
        super().__init__()
        self.table = table
        self.name_column = name_column
        self._chosen: object = None
        self.setModel(table)
        table.setParent(self)  # else what is connected to it would outlive the window
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # long names often differ at their ends
        self.setTabKeyNavigation(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        trigger = QAbstractItemView.EditTrigger
        self.setEditTriggers(trigger.DoubleClicked | trigger.EditKeyPressed)
        if sort_by is not None:
            self.setSortingEnabled(True)
            self.sortByColumn(sort_by, Qt.SortOrder.DescendingOrder)
        self.verticalHeader().hide()
        self.verticalHeader().setMinimumSectionSize(0)
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + ROW_GAP_PX)
        header, width = self.header(), self.fontMetrics().horizontalAdvance
        header.setSectionsClickable(sort_by is not None)
        header.setHighlightSections(False)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setMinimumSectionSize(10)
        # Widths known beforehand: to ask every cell takes seconds with 20,000 rows, and cells that are folded
        # away give wrong ones.
        arrow = "" if sort_by is None else "__"  # room for the arrow of what is sorted
        for place, column in enumerate(table.columns):
            wide = max(width(column.title + arrow), width(column.widest))
            self.setColumnWidth(place, wide + GAP_PX)
        self.stretch(name_column)
        self.selectionModel().currentRowChanged.connect(self._tell)
        table.modelReset.connect(self._mark)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Copy the chosen rows with the titles, as spreadsheets take them, where Qt would copy one cell."""
        rows = sorted(self.selectionModel().selectedRows())
        if not rows or not event.matches(QKeySequence.StandardKey.Copy):
            super().keyPressEvent(event)
            return
        lines = [[column.title for column in self.table.columns]]
        for row in rows:
            lines.append([])
            for place, column in enumerate(self.table.columns):
                text, is_number = row.siblingAtColumn(place).data(), isinstance(column.form, str)
                lines[-1].append(text if is_number and column.form else harmless(text))
        QApplication.clipboard().setText("\n".join(map("\t".join, lines)))

    def header(self) -> QHeaderView:
        """Titles of the columns."""
        return self.horizontalHeader()

    def stretch(self, column: int) -> None:
        """Give a column all the room that is left."""
        self.header().setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)

    def choose(self, key: object) -> None:
        """Mark a row as chosen, telling nobody; a key that is not listed marks none."""
        self._chosen = key
        self._mark()

    def fit(self, most_rows: int) -> None:
        """Be as tall as the rows, up to a limit."""
        row = self.verticalHeader().defaultSectionSize()
        n_rows = min(self.table.rowCount(), most_rows)
        header = self.header().sizeHint().height()
        self.setFixedHeight(header + n_rows * row + 2 * self.frameWidth() + 4)

    def _mark(self) -> None:
        row = self.table.row_of(self._chosen)
        index = QModelIndex() if row is None else self.table.index(row, self.name_column)
        with QSignalBlocker(self):  # as nobody has chosen
            self.setCurrentIndex(index)
            if index.isValid():
                self.scrollTo(index)

    def _tell(self, current: QModelIndex) -> None:
        if current.isValid():
            self._chosen = self.table.key(current.row())
            self.chosen.emit(self._chosen)
