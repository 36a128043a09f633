"""Genes: find one, see its map or its uncertainty, choose the colours' range."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QAbstractItemView,
    QButtonGroup,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QRadioButton,
    QSlider,
    QTreeView,
    QVBoxLayout,
    QWidget,
)

from napari_stem.widgets.gene_table import GENE, RELIABILITY, GeneTable, filtered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qtpy.QtCore import QModelIndex

VIEWS = {
    "Expression": ("mean", "The predicted expression: the mean of all samples"),
    "Uncertainty": ("sd", "How much the samples of a spot differ (standard deviation)"),
    "Slide only": ("none", "Hide the map"),
}
RANGES = {
    "Each gene's own range": "gene",
    "One range for all genes": "all",
    "Keep as it is": "kept",
}
RANGE_TIP = (
    "Own range: 1st to 99th percentile of each gene.\nOne range: the same colours mean the same "
    "values for every gene.\nKeep: stays as you set it with napari's contrast limits."
)


class GenesPanel(QWidget):
    """Asks for a gene and for how it is shown."""

    gene_chosen = Signal(str)
    view_chosen = Signal(str)  # "mean", "sd" or "none"
    range_chosen = Signal(str)  # "gene", "all" or "kept"
    opacity_chosen = Signal(float)  # 0 to 1

    def __init__(self, opacity_percent: int = 70, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.table = GeneTable()
        self.proxy = filtered(self.table)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find a gene")
        self.search.setClearButtonEnabled(True)
        self.view = self._gene_view()
        self.views = QButtonGroup(self)
        self.range_choice = QComboBox()
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self._lay_out()
        self.opacity.setRange(0, 100)
        self.opacity.setValue(opacity_percent)
        self.opacity.setToolTip("How strongly the map covers the slide")
        self.search.textChanged.connect(self._filter)
        self.view.selectionModel().currentRowChanged.connect(self._tell_gene)
        self.views.idClicked.connect(self._tell_view)
        self.range_choice.activated.connect(self._tell_range)
        self.opacity.valueChanged.connect(self._tell_opacity)
        self._add_keys()
        self.setEnabled(False)

    def show_genes(self, genes: Sequence[str], reliability: Mapping[str, float | None]) -> None:
        """List the genes of a prediction, in the model's order."""
        self.table.set_genes(genes, reliability)
        self.setEnabled(bool(genes))

    def choose(self, gene: str) -> bool:
        """Choose a gene as if it had been clicked; False where it is not in the list."""
        found = self.proxy.match(
            self.proxy.index(0, GENE),
            Qt.ItemDataRole.DisplayRole,
            gene,
            1,
            Qt.MatchFlag.MatchExactly,
        )
        if found:
            self.view.setCurrentIndex(found[0])
            self.view.scrollTo(found[0])
        return bool(found)

    def gene(self) -> str:
        """Return the chosen gene, empty where there is none."""
        index = self.view.currentIndex()
        return str(index.siblingAtColumn(GENE).data()) if index.isValid() else ""

    def step(self, rows: int) -> None:
        """Go to the next gene (1) or the one before (-1), as listed; stops at the ends."""
        n_rows = self.proxy.rowCount()
        if not n_rows:
            return
        row = self.view.currentIndex().row() + rows
        self.view.setCurrentIndex(self.proxy.index(min(max(row, 0), n_rows - 1), GENE))

    def shown(self) -> str:
        """Return what is shown: ``mean``, ``sd`` or ``none``."""
        return str([name for name, _ in VIEWS.values()][max(0, self.views.checkedId())])

    def range_kind(self) -> str:
        """How the colours' range is chosen: ``gene``, ``all`` or ``kept``."""
        return str(self.range_choice.currentData())

    def show_range(self, kind: str) -> None:
        """Show how the colours' range is chosen, without asking for it."""
        self.range_choice.setCurrentIndex(self.range_choice.findData(kind))

    def _gene_view(self) -> QTreeView:
        view = QTreeView()
        view.setModel(self.proxy)
        view.setRootIsDecorated(False)
        view.setUniformRowHeights(True)
        view.setSortingEnabled(True)
        view.sortByColumn(-1, Qt.SortOrder.AscendingOrder)  # the model's own order at first
        view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        view.header().setStretchLastSection(False)
        view.header().setSectionResizeMode(GENE, QHeaderView.ResizeMode.Stretch)
        view.header().setSectionResizeMode(RELIABILITY, QHeaderView.ResizeMode.ResizeToContents)
        view.setMinimumHeight(160)
        return view

    def _lay_out(self) -> None:
        views = QHBoxLayout()
        for number, (title, (_, tip)) in enumerate(VIEWS.items()):
            button = QRadioButton(title)
            button.setToolTip(tip)
            self.views.addButton(button, number)
            views.addWidget(button)
        self.views.button(0).setChecked(True)
        for title, kind in RANGES.items():
            self.range_choice.addItem(title, kind)
        self.range_choice.setToolTip(RANGE_TIP)
        form = QFormLayout()
        form.addRow("Colours", self.range_choice)
        form.addRow("Map strength", self.opacity)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.search)
        layout.addWidget(self.view)
        layout.addLayout(views)
        layout.addLayout(form)

    def _add_keys(self) -> None:
        for key, rows in ((Qt.Key.Key_PageDown, 1), (Qt.Key.Key_PageUp, -1)):
            shortcut = QShortcut(QKeySequence(key), self)
            shortcut.activated.connect(self._step_down if rows > 0 else self._step_up)
        self.view.setToolTip("Page Down: next gene. Page Up: previous gene.")

    def _step_down(self) -> None:
        self.step(1)

    def _step_up(self) -> None:
        self.step(-1)

    def _filter(self, text: str) -> None:
        self.proxy.setFilterFixedString(text.strip())

    def _tell_gene(self, current: QModelIndex) -> None:
        if current.isValid():
            self.gene_chosen.emit(str(current.siblingAtColumn(GENE).data()))

    def _tell_view(self) -> None:
        self.view_chosen.emit(self.shown())

    def _tell_range(self) -> None:
        self.range_chosen.emit(self.range_kind())

    def _tell_opacity(self, percent: int) -> None:
        self.opacity_chosen.emit(percent / 100)
