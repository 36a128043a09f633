"""The view of the table of regions, and the editor of their classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QItemSelection, QModelIndex, QPoint, Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QComboBox,
    QMenu,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from napari_stem.layers.from_files import CLASS, NAME
from napari_stem.spatial.region_files import CLASS_COLOURS, Colour
from napari_stem.widgets.common.keys import REMOVE_REGION, shortcut
from napari_stem.widgets.common.table import Column, Table, TableView

if TYPE_CHECKING:
    from collections.abc import Callable


NAME_COLUMN, CLASS_COLUMN, AREA_COLUMN, SPOTS_COLUMN = range(4)
NO_CLASS = "–"
COLUMNS = (
    Column(
        NAME,
        "Name",
        "Double-click to rename; a name that is taken gets a number",
        is_editable=True,
        is_text=True,
    ),
    Column(
        CLASS,
        "Class",
        "Double-click to choose a class, or type one of your own",
        form=lambda name: name or NO_CLASS,
        colour="colour",
        is_editable=True,
        is_text=True,
    ),
    Column("area_mm2", "mm²", "Area in square millimetres", ".2f"),
    Column("n_spots", "Spots", "Spots that will be predicted in it", ",", widest="000,000"),
)
ROW_PX = 26  # there is a list to choose from in it, now and then


class ClassEditor(QStyledItemDelegate):
    """A list of classes, into which others can be typed."""

    def createEditor(
        self, parent: QWidget, option: QStyleOptionViewItem, index: QModelIndex
    ) -> QWidget:
        """Offer QuPath's classes and those in use."""
        used = set(index.model().frame[CLASS]) - {""}
        box = QComboBox(parent)
        box.setEditable(True)
        box.addItems([NO_CLASS, *CLASS_COLOURS, *sorted(used - set(CLASS_COLOURS))])
        box.activated.connect(lambda: self._done(box))
        return box

    def _done(self, box: QComboBox) -> None:
        self.commitData.emit(box)
        self.closeEditor.emit(box)


class RegionView(TableView):
    """Regions as rows of a `Table`, by their numbers: choose, rename, classify, recolour, remove."""

    selected = Signal(list)  # numbers of the regions in the rows that the user chose

    def __init__(
        self,
        table: Table,
        remove: Callable[[list[int]], None],
        recolour: Callable[[str, Colour], None],
    ) -> None:
        super().__init__(table)
        self._remove, self._recolour = remove, recolour
        self._editor = ClassEditor(self)
        self.setItemDelegateForColumn(CLASS_COLUMN, self._editor)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.stretch(CLASS_COLUMN)
        self.verticalHeader().setDefaultSectionSize(ROW_PX)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._open_menu)
        delete = shortcut(REMOVE_REGION, self, self.remove_chosen)
        delete.setContext(Qt.ShortcutContext.WidgetShortcut)
        self.clicked.connect(self._tell_selected)  # again, as another may be selected on the canvas

    def selectionChanged(self, selected: QItemSelection, deselected: QItemSelection) -> None:
        """Tell of rows that were chosen by a click or a key."""
        super().selectionChanged(selected, deselected)
        self._tell_selected()

    def chosen_numbers(self) -> list[int]:
        """Numbers of the regions in the chosen rows."""
        return [self.table.key(each.row()) for each in self.selectionModel().selectedRows()]

    def remove_chosen(self) -> None:
        """Remove the chosen regions."""
        if numbers := self.chosen_numbers():
            self._remove(numbers)

    def _tell_selected(self) -> None:
        self.selected.emit(self.chosen_numbers())

    def _open_menu(self, place: QPoint) -> None:
        index = self.indexAt(place)
        if not index.isValid():
            return
        row = self.table.frame.iloc[index.row()]
        name, colour = row[CLASS], QColor(row["colour"])
        menu = QMenu(self)
        menu.addAction("Rename", lambda: self.edit(index.siblingAtColumn(NAME_COLUMN)))
        menu.addAction("Choose class", lambda: self.edit(index.siblingAtColumn(CLASS_COLUMN)))
        if name:
            menu.addAction(f"Colour of “{name}”…", lambda: self._ask_colour(name, colour))
        menu.addSeparator()
        menu.addAction("Remove", self.remove_chosen)
        menu.exec(self.viewport().mapToGlobal(place))

    def _ask_colour(self, name: str, colour: QColor) -> None:
        colour = QColorDialog.getColor(colour, self, "Colour of the class")
        if colour.isValid():
            self._recolour(name, colour.getRgb()[:3])
