"""The view of the table of regions, and the editor of their classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    from qtpy.QtCore import QAbstractItemModel
    from qtpy.QtWidgets import QStyleOptionViewItem

NAME, CLASS, AREA, SPOTS = range(4)
NO_CLASS = "–"
COLUMNS = (
    Column(
        "name",
        "Name",
        "Double-click to rename; a name that is taken gets a number",
        is_editable=True,
    ),
    Column(
        "classification",
        "Class",
        "Double-click to choose a class, or type one of your own",
        form=lambda name: name or NO_CLASS,
        colour="colour",
        is_editable=True,
        is_text=True,
    ),
    Column("area_mm2", "mm²", "Area in square millimetres", ".2f"),
    Column("n_spots", "Spots", "Spots that will be predicted in it", ","),
)
MAX_ROWS_SHOWN = 7
NUMBERS_WIDTH = 56


class ClassEditor(QStyledItemDelegate):
    """A list of classes, into which others can be typed."""

    def createEditor(
        self, parent: QWidget, option: QStyleOptionViewItem, index: QModelIndex
    ) -> QWidget:
        """Offer QuPath's classes and those in use."""
        used = set(index.model().frame["classification"]) - {""}
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
    """Regions as rows of a `Table`, by their numbers: choose, rename, classify, recolour, remove."""

    region_chosen = Signal(int)  # number
    removal_requested = Signal(object)  # numbers
    colour_requested = Signal(str, object)  # class, (red, green, blue)

    def __init__(self, table: Table) -> None:
        super().__init__()
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
        self.clicked.connect(lambda index: self.region_chosen.emit(int(table.name(index.row()))))
        delete = QShortcut(QKeySequence.StandardKey.Delete, self)
        delete.setContext(Qt.ShortcutContext.WidgetShortcut)
        delete.activated.connect(self.remove_chosen)
        table.modelReset.connect(self.fit)
        self.fit()

    def chosen(self) -> list[int]:
        """Return the numbers of the chosen regions."""
        return [int(self._table.name(each.row())) for each in self.selectionModel().selectedRows()]

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

    def _open_menu(self, place: QPoint) -> None:
        index = self.indexAt(place)
        if not index.isValid():
            return
        row = self._table.frame.iloc[index.row()]
        name, colour = row["classification"], QColor(row["colour"])
        menu = QMenu(self)
        menu.addAction("Rename", lambda: self.edit(index.siblingAtColumn(NAME)))
        menu.addAction("Choose class", lambda: self.edit(index.siblingAtColumn(CLASS)))
        if name:
            menu.addAction(f"Colour of “{name}”…", lambda: self._ask_colour(name, colour))
        menu.addSeparator()
        menu.addAction("Remove", self.remove_chosen)
        menu.exec(self.viewport().mapToGlobal(place))

    def _ask_colour(self, name: str, colour: QColor) -> None:
        colour = QColorDialog.getColor(colour, self, "Colour of the class")
        if colour.isValid():
            self.colour_requested.emit(name, colour.getRgb()[:3])
