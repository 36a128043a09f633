"""The list of genes: find one by typing, sort, mark favourites, go to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QModelIndex, Qt, QTimer, Signal
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_stem.widgets.common.keys import NEXT_GENE, PREVIOUS_GENE
from napari_stem.widgets.common.parts import note
from napari_stem.widgets.common.table import Role, TableView
from napari_stem.widgets.genes.favourites import recall_favourites, remember_favourites
from napari_stem.widgets.genes.gene_table import CLUSTERING, GENE, STAR, GeneTable

if TYPE_CHECKING:
    from qtpy.QtCore import QObject
    from qtpy.QtGui import QShowEvent

LIST_HEIGHT_PX = 190


class GeneList(QWidget):
    """Search field and table; knows which gene is chosen, also while the table hides it."""

    gene_chosen = Signal(str)
    gene_picked = Signal(str)  # double-clicked, or Enter pressed
    favourites_changed = Signal()
    clustering_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.table = GeneTable()
        self.favourites = recall_favourites()
        self.table.set_favourites(self.favourites)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find a gene, also by its other names")
        self.search.setClearButtonEnabled(True)
        self.view = self._new_view()
        self._gene = ""
        self.told = note("")
        self.told.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.search)
        layout.addWidget(self.view)
        layout.addWidget(self.told)
        self.search.textChanged.connect(self._filter)
        self.search.returnPressed.connect(self._take_first)
        self.view.chosen.connect(self._take)
        self.view.clicked.connect(self._on_click)
        self.view.activated.connect(self._on_activated)
        self.view.header().sectionClicked.connect(self._on_header)
        self._add_keys()

    def gene(self) -> str:
        """Return the chosen gene, empty where there is none."""
        return self._gene

    def forget(self) -> None:
        """Choose none."""
        self._gene = ""
        self.view.choose("")

    def choose(self, gene: str) -> bool:
        """Choose a gene, listed at the moment or not; False where it is not predicted."""
        if gene not in self.table.frame.index:
            return False
        self.view.choose(gene)
        self._take(gene)
        return True

    def step(self, rows: int) -> None:
        """Go to the next gene (1) or the one before (-1), as listed; stops at the ends."""
        n_rows = self.table.rowCount()
        if not n_rows:
            return
        current = self.table.row_of(self._gene)
        row = 0 if current is None else current + rows
        self._go_to(min(max(row, 0), n_rows - 1))

    def toggle_favourite(self, gene: str) -> None:
        """Add a gene to the favourites, or take it out; remembered at once."""
        self.favourites ^= {gene}
        remember_favourites(self.favourites)
        self.table.set_favourites(self.favourites)
        self.favourites_changed.emit()

    def showEvent(self, event: QShowEvent) -> None:
        """Have the chosen gene in sight when the panel opens."""
        super().showEvent(event)
        QTimer.singleShot(0, self._centre)

    def _centre(self) -> None:
        row = self.table.row_of(self._gene)
        if row is not None:
            centre = QAbstractItemView.ScrollHint.PositionAtCenter
            self.view.scrollTo(self.table.index(row, GENE), centre)

    def _new_view(self) -> TableView:
        view = TableView(self.table)
        view.setSortingEnabled(True)
        view.sortByColumn(-1, Qt.SortOrder.AscendingOrder)  # the model's own order at first
        view.header().setSectionResizeMode(STAR, QHeaderView.ResizeMode.Fixed)
        view.stretch(GENE)
        view.name_column = GENE
        view.setMinimumHeight(LIST_HEIGHT_PX)
        return view

    def _add_keys(self) -> None:
        for key, act in (
            (NEXT_GENE, self._step_down),
            (PREVIOUS_GENE, self._step_up),
        ):
            QShortcut(QKeySequence(key.sequence), self).activated.connect(act)
        self.view.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take the key F, which the view would search for, as the favourites' key."""
        is_key = watched is self.view and event.type() == QEvent.Type.KeyPress
        if is_key and event.key() == Qt.Key.Key_F and not event.modifiers():
            self._star_chosen()
            return True
        return bool(super().eventFilter(watched, event))

    def _step_down(self) -> None:
        self.step(1)

    def _step_up(self) -> None:
        self.step(-1)

    def _star_chosen(self) -> None:
        if self._gene:
            self.toggle_favourite(self._gene)

    def _filter(self, text: str) -> None:
        self.table.filter(text)
        is_in_vain = bool(text.strip()) and not self.table.rowCount()
        if is_in_vain:
            self.told.setText(self.table.search.why_not(text))
        self.told.setVisible(is_in_vain)

    def _take_first(self) -> None:
        if self.table.rowCount():
            self._go_to(0)

    def _go_to(self, row: int) -> None:
        self.choose(self.table.name(row))

    def _take(self, gene: str) -> None:
        if gene != self._gene:
            self._gene = gene
            self.gene_chosen.emit(gene)

    def _on_click(self, index: QModelIndex) -> None:
        if index.column() == STAR:
            self.toggle_favourite(str(index.data(Role.UserRole)))

    def _on_activated(self, index: QModelIndex) -> None:
        if index.column() != STAR:
            self.gene_picked.emit(str(index.data(Role.UserRole)))

    def _on_header(self, column: int) -> None:
        if column == CLUSTERING:
            self.clustering_wanted.emit()
