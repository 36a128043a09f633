"""The list of genes: find one by typing, sort, mark favourites, go to the next."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QModelIndex, Qt, QTimer, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QWidget

from napari_stem.widgets.common.form import line
from napari_stem.widgets.common.keys import NEXT_GENE, PREVIOUS_GENE, shortcut
from napari_stem.widgets.common.memory import store
from napari_stem.widgets.common.parts import Note, stack
from napari_stem.widgets.common.table import Role, TableView
from napari_stem.widgets.genes.gene_table import GENE, STAR, GeneTable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from qtpy.QtCore import QObject
    from qtpy.QtGui import QShowEvent

    from napari_stem.widgets.state import DisplaySettings

LIST_HEIGHT_PX = 190
FAVOURITES_KEY = "favourite_genes"


class GeneList(QWidget):
    """Search field and table of the genes of a prediction.

    Parameters
    ----------
    favourites_changed
        Called when a gene has become a favourite, or is none any more.
    """

    gene_picked = Signal(str)  # double-clicked, or Enter pressed

    def __init__(self, settings: DisplaySettings, favourites_changed: Callable[[], None]) -> None:
        super().__init__()
        self._settings, self._favourites_changed = settings, favourites_changed
        self.table = GeneTable()
        self.table.set_favourites(recall_favourites())
        self.search = line("Find a gene, also by its other names", is_search=True)
        self.view = self._new_view()
        self.view.installEventFilter(self)
        self.message = Note()
        stack(self, self.search, self.view, self.message)
        self.message.say("")
        self.search.textChanged.connect(self._filter)
        self.search.returnPressed.connect(self._take_first)
        self.view.chosen.connect(self.choose)
        self.view.clicked.connect(self._on_click)
        self.view.activated.connect(self._on_activated)
        for key, rows in ((NEXT_GENE, 1), (PREVIOUS_GENE, -1)):
            shortcut(key, self, partial(self.step, rows))

    def choose(self, gene: str) -> bool:
        """Choose a gene, listed at the moment or not; False where it is not predicted."""
        is_predicted = gene in self.table.frame.index
        if is_predicted:
            self._settings.update(gene=gene)
        return is_predicted

    def step(self, rows: int) -> None:
        """Go to the next gene (1) or the one before (-1), as listed; stops at the ends."""
        n_rows = self.table.rowCount()
        if n_rows:
            current = self.table.row_of(self._settings.gene)
            row = 0 if current is None else current + rows
            self.choose(self.table.name(min(max(row, 0), n_rows - 1)))

    def toggle_favourite(self, gene: str) -> None:
        """Add a gene to the favourites, or take it out; remembered at once."""
        favourites = self.table.favourites ^ {gene}
        remember_favourites(favourites)
        self.table.set_favourites(favourites)
        self._favourites_changed()

    def showEvent(self, event: QShowEvent) -> None:
        """Have the chosen gene in sight when the panel opens."""
        super().showEvent(event)
        QTimer.singleShot(0, self._centre)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take the key F, which the view would search for, as the favourites' key."""
        is_key = watched is self.view and event.type() == QEvent.Type.KeyPress
        if is_key and event.key() == Qt.Key.Key_F and not event.modifiers():
            if self._settings.gene:
                self.toggle_favourite(self._settings.gene)
            return True
        return bool(super().eventFilter(watched, event))

    def _centre(self) -> None:
        row = self.table.row_of(self._settings.gene)
        if row is not None:
            centre = QAbstractItemView.ScrollHint.PositionAtCenter
            self.view.scrollTo(self.table.index(row, GENE), centre)

    def _new_view(self) -> TableView:
        view = TableView(self.table, name_column=GENE)
        view.setSortingEnabled(True)
        view.header().setSectionsClickable(True)
        view.sortByColumn(-1, Qt.SortOrder.AscendingOrder)  # the model's own order at first
        view.header().setSectionResizeMode(STAR, QHeaderView.ResizeMode.Fixed)
        view.setMinimumHeight(LIST_HEIGHT_PX)
        return view

    def _filter(self, text: str) -> None:
        self.table.filter(text)
        is_in_vain = bool(text.strip()) and not self.table.rowCount()
        self.message.say(self.table.search.why_not(text) if is_in_vain else "")

    def _take_first(self) -> None:
        if self.table.rowCount():
            self.choose(self.table.name(0))

    def _on_click(self, index: QModelIndex) -> None:
        if index.column() == STAR:
            self.toggle_favourite(str(index.data(Role.UserRole)))

    def _on_activated(self, index: QModelIndex) -> None:
        if index.column() != STAR:
            self.gene_picked.emit(str(index.data(Role.UserRole)))


def recall_favourites() -> set[str]:
    """Read what was stored last; nothing where it cannot be read."""
    try:
        genes = json.loads(str(store().value(FAVOURITES_KEY, "[]")))
    except ValueError:  # a file edited by hand
        return set()
    return {str(gene) for gene in genes} if isinstance(genes, list) else set()


def remember_favourites(genes: Collection[str]) -> None:
    """Store for the next session."""
    store().setValue(FAVOURITES_KEY, json.dumps(sorted(genes)))
