"""The table of regions, the editor of their classes, and their view."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import pandas as pd
from qtpy.QtCore import QModelIndex, QPoint, Qt, Signal
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
from napari_stem.widgets.common.table import Column, Role, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtCore import QAbstractItemModel
    from qtpy.QtWidgets import QStyleOptionViewItem

    from napari_stem.spatial.region_files import Colour

NAME, CLASS, AREA, SPOTS = range(4)
NO_CLASS = "–"
COLUMNS = (
    Column("name", "Name", "Double-click to rename", is_editable=True),
    Column(
        "classification",
        "Class",
        "Double-click to choose a class, or type one of your own",
        form=lambda name: name or NO_CLASS,
        colour="hex_colour",
        is_editable=True,
        is_text=True,
    ),
    Column("area_mm2", "mm²", "Area in square millimetres", ".2f"),
    Column("n_spots", "Spots", "Spots that will be predicted in it", ","),
)
MAX_ROWS_SHOWN = 7
NUMBERS_WIDTH = 56


@dataclass(frozen=True)
class RegionRow:
    """What the table says of one region."""

    number: int
    name: str
    classification: str
    colour: Colour
    area_mm2: float
    n_spots: int


class RegionTable(Table):
    """Regions in the order of drawing; names and classes can be edited."""

    renamed = Signal(int, str)  # number of the region, new name
    classified = Signal(int, str)  # number of the region, new class

    def __init__(self) -> None:
        super().__init__(COLUMNS)
        self.rows: list[RegionRow] = []

    def set_rows(self, rows: Sequence[RegionRow]) -> None:
        """Show these regions."""
        self.rows = list(rows)
        frame = pd.DataFrame([asdict(row) for row in rows], columns=_KEYS).set_index("number")
        frame["hex_colour"] = [QColor(*row.colour).name() for row in rows]
        self.fill(frame)

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


_KEYS = [field.name for field in fields(RegionRow)]


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
