"""The table of regions: a Qt item model, its editor for classes, its view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QPoint, Qt, Signal
from qtpy.QtGui import QColor, QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QComboBox,
    QHeaderView,
    QMenu,
    QStyledItemDelegate,
    QTableView,
    QWidget,
)

from napari_stem.spatial.region_files import CLASS_COLOURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtCore import QAbstractItemModel
    from qtpy.QtWidgets import QStyleOptionViewItem

    from napari_stem.spatial.region_files import Colour

NAME, CLASS, AREA, SPOTS = range(4)
TITLES = ("Name", "Class", "mm²", "Spots")
TIPS = (
    "Double-click to rename",
    "Double-click to choose a class, or type one of your own",
    "Area in square millimetres",
    "Spots that will be predicted in it",
)
NO_CLASS = "–"
MAX_ROWS_SHOWN = 7
NUMBERS_WIDTH = 56
Flag = Qt.ItemFlag
Role = Qt.ItemDataRole


@dataclass(frozen=True)
class RegionRow:
    """What the table says of one region."""

    number: int
    name: str
    classification: str
    colour: Colour
    area_mm2: float
    n_spots: int


class RegionTable(QAbstractTableModel):
    """Regions in the order of drawing; names and classes can be edited."""

    renamed = Signal(int, str)  # number of the region, new name
    classified = Signal(int, str)  # number of the region, new class

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[RegionRow] = []

    def set_rows(self, rows: Sequence[RegionRow]) -> None:
        """Show these regions."""
        same = [row.number for row in rows] == [row.number for row in self.rows]
        if same:  # keeps the selection and an editor that is open
            self.rows = list(rows)
            if rows:
                self.dataChanged.emit(self.index(0, 0), self.index(len(rows) - 1, SPOTS))
            return
        self.beginResetModel()
        self.rows = list(rows)
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Count of regions."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Count of columns."""
        return 0 if parent is not None and parent.isValid() else len(TITLES)

    def data(self, index: QModelIndex, role: int = Role.DisplayRole) -> Any:
        """Text, colour or tooltip of a cell."""
        row, column = self.rows[index.row()], index.column()
        if role in {Role.DisplayRole, Role.EditRole}:
            shown = row.classification or ("" if role == Role.EditRole else NO_CLASS)
            return (row.name, shown, f"{row.area_mm2:.2f}", f"{row.n_spots:,}")[column]
        if role == Role.DecorationRole and column == CLASS:
            return QColor(*row.colour)
        if role == Role.TextAlignmentRole and column in {AREA, SPOTS}:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Role.ToolTipRole:
            return TIPS[column]
        return None

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Role.DisplayRole
    ) -> Any:
        """Title of a column."""
        if orientation == Qt.Orientation.Horizontal and role == Role.DisplayRole:
            return TITLES[section]
        return None

    def flags(self, index: QModelIndex) -> Any:
        """Names and classes can be edited."""
        plain = Flag.ItemIsEnabled | Flag.ItemIsSelectable
        return plain | Flag.ItemIsEditable if index.column() in {NAME, CLASS} else plain

    def setData(self, index: QModelIndex, value: Any, role: int = Role.EditRole) -> bool:
        """Ask for another name or class; it shows once the region has it."""
        if role != Role.EditRole:
            return False
        row, text = self.rows[index.row()], str(value).strip()
        if index.column() == NAME and text and text != row.name:
            self.renamed.emit(row.number, text)
        elif index.column() == CLASS and text.strip(NO_CLASS) != row.classification:
            self.classified.emit(row.number, text.strip(NO_CLASS))
        return True


class ClassEditor(QStyledItemDelegate):
    """A list of classes, into which others can be typed."""

    def createEditor(
        self, parent: QWidget, option: QStyleOptionViewItem, index: QModelIndex
    ) -> QWidget:
        """Offer QuPath's classes and those in use."""
        model = index.model()
        used = {row.classification for row in model.rows} - {""}
        box = QComboBox(parent)
        box.setEditable(True)
        box.addItems([NO_CLASS, *CLASS_COLOURS, *sorted(used - set(CLASS_COLOURS))])
        box.activated.connect(lambda: self._done(box))
        return box

    def setEditorData(self, editor: QWidget, index: QModelIndex) -> None:
        """Show the class as it is."""
        editor.setCurrentText(str(index.data(Role.EditRole)) or NO_CLASS)

    def setModelData(self, editor: QWidget, model: QAbstractItemModel, index: QModelIndex) -> None:
        """Ask for the class that was chosen."""
        model.setData(index, editor.currentText(), Role.EditRole)

    def _done(self, box: QComboBox) -> None:
        self.commitData.emit(box)
        self.closeEditor.emit(box)


class RegionView(QTableView):
    """Regions as rows: choose, rename, classify, recolour, remove."""

    region_chosen = Signal(int)  # number
    removal_requested = Signal(object)  # numbers
    colour_requested = Signal(str, object)  # class, (red, green, blue)

    def __init__(self, table: RegionTable, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._table = table
        self.setModel(table)
        self._editor = ClassEditor(self)
        self.setItemDelegateForColumn(CLASS, self._editor)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.verticalHeader().hide()
        header = self.horizontalHeader()
        for column in (NAME, CLASS):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
        for column in (AREA, SPOTS):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
            header.resizeSection(column, NUMBERS_WIDTH)
        header.setHighlightSections(False)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._open_menu)
        self.clicked.connect(self._choose)
        delete = QShortcut(QKeySequence.StandardKey.Delete, self)
        delete.setContext(Qt.ShortcutContext.WidgetShortcut)
        delete.activated.connect(self.remove_chosen)
        table.modelReset.connect(self.fit)
        self.fit()

    def chosen(self) -> list[int]:
        """Return the numbers of the chosen regions."""
        rows = self.selectionModel().selectedRows()
        return [self._table.rows[index.row()].number for index in rows]

    def remove_chosen(self) -> None:
        """Ask for the removal of the chosen regions."""
        numbers = self.chosen()
        if numbers:
            self.removal_requested.emit(numbers)

    def fit(self) -> None:
        """Be as tall as the rows, up to a limit."""
        n_rows = self._table.rowCount()
        self.setVisible(n_rows > 0)
        row = self.verticalHeader().defaultSectionSize()
        header = self.horizontalHeader().sizeHint().height()
        self.setFixedHeight(header + row * min(n_rows, MAX_ROWS_SHOWN) + 2 * self.frameWidth() + 2)

    def _choose(self, index: QModelIndex) -> None:
        self.region_chosen.emit(self._table.rows[index.row()].number)

    def _open_menu(self, place: QPoint) -> None:
        index = self.indexAt(place)
        if not index.isValid():
            return
        row = self._table.rows[index.row()]
        menu = QMenu(self)
        menu.addAction("Rename", lambda: self.edit(index.siblingAtColumn(NAME)))
        menu.addAction("Choose class", lambda: self.edit(index.siblingAtColumn(CLASS)))
        if row.classification:
            menu.addAction(f"Colour of “{row.classification}”…", lambda: self._ask_colour(row))
        menu.addSeparator()
        menu.addAction("Remove", self.remove_chosen)
        menu.exec(self.viewport().mapToGlobal(place))

    def _ask_colour(self, row: RegionRow) -> None:
        colour = QColorDialog.getColor(QColor(*row.colour), self, "Colour of the class")
        if colour.isValid():
            rgb = (colour.red(), colour.green(), colour.blue())
            self.colour_requested.emit(row.classification, rgb)
