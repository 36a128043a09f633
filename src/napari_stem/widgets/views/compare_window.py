"""The comparison of two groups in a window of its own: table and volcano plot, both choose genes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QPushButton,
    QSplitter,
    QTreeView,
    QVBoxLayout,
    QWidget,
)

from napari_stem.widgets.common.difference_table import (
    Q_VALUE,
    DifferenceTable,
)
from napari_stem.widgets.common.gene_rows import GENE, sortable
from napari_stem.widgets.common.parts import count, note
from napari_stem.widgets.common.plots import VolcanoPlot

if TYPE_CHECKING:
    from napari_stem.evaluation.differences import Differences

ERRORS = {
    "Spots of a region err alike (cautious)": "alike",
    "Every spot errs by itself (as sampled)": "independent",
}
EXPLANATIONS = {
    "alike": "The model draws its samples spot by spot; an error that the spots of a region share is not "
    "among them. Therefore each region is taken to be wrong as a whole by as much as each of its spots may "
    "be, and the two regions independently of each other.",
    "independent": "Spots are taken to err independently of each other. An error that they share is left "
    "out: intervals are too narrow and probabilities too extreme by an unknown amount.",
}
LIMIT = 0.05  # expected share of wrong calls among the genes called different
SIZE = (1120, 640)
NOTICE = "Predicted from the image, not measured. For research use only, not for diagnosis."


class CompareWindow(QWidget):
    """Shows which genes differ between two groups."""

    gene_chosen = Signal(str)
    errors_chosen = Signal(str)  # "alike" or "independent"
    save_requested = Signal(str, bool)  # path, may overwrite

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, Qt.WindowType.Window)
        self.folder = ""
        self.heading, self.explanation, self.message = note(""), note(""), note("")
        self.errors_choice = QComboBox()
        for title, errors in ERRORS.items():
            self.errors_choice.addItem(title, errors)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find a gene")
        self.search.setClearButtonEnabled(True)
        self.table = DifferenceTable()
        self.proxy = sortable(self.table)
        self.view = self._gene_view()
        self.plot = VolcanoPlot()
        self.save_button = QPushButton("Save as CSV…")
        self._names = ("A", "B")
        self._lay_out()
        self.resize(*SIZE)
        self.search.textChanged.connect(self.proxy.setFilterFixedString)
        self.view.selectionModel().currentRowChanged.connect(self._tell_gene)
        self.plot.gene_clicked.connect(self.choose)
        self.errors_choice.activated.connect(self._tell_errors)
        self.save_button.clicked.connect(self._ask)

    def errors(self) -> str:
        """Return how spots are taken to err: ``alike`` or ``independent``."""
        return str(self.errors_choice.currentData())

    def show_differences(self, found: Differences, n_a: int, n_b: int, unit: str) -> None:
        """Show a comparison of groups of so many spots."""
        self._names = found.first, found.second
        self.setWindowTitle(f"{found.first} compared with {found.second}, predicted")
        n_called = int((found.q_value <= LIMIT).sum())
        self.heading.setText(
            f"A: {found.first} ({count(n_a, 'spot')}), B: {found.second} ({count(n_b, 'spot')}). "
            f"{n_called:,} of {count(len(found.genes), 'gene')} differ with at most {LIMIT:.0%} of wrong "
            f"calls expected. {NOTICE}"
        )
        self.explanation.setText(EXPLANATIONS[found.errors])
        self.table.set_differences(found)
        self.view.sortByColumn(Q_VALUE, Qt.SortOrder.AscendingOrder)
        self.view.scrollToTop()
        self.plot.show_differences(found, unit, LIMIT)
        self.show_message("")

    def choose(self, gene: str) -> None:
        """Choose a gene as if it had been clicked in the table."""
        self.search.clear()
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

    def show_message(self, text: str) -> None:
        """Say what was done."""
        self.message.setText(text)

    def _lay_out(self) -> None:
        left, right = QWidget(), QWidget()
        table_layout, plot_layout = QVBoxLayout(left), QVBoxLayout(right)
        for layout in (table_layout, plot_layout):
            layout.setContentsMargins(0, 0, 0, 0)
        table_layout.addWidget(self.search)
        table_layout.addWidget(self.view)
        plot_layout.addWidget(self.errors_choice)
        plot_layout.addWidget(self.explanation)
        plot_layout.addWidget(self.plot, 1)
        splitter = QSplitter(Qt.Orientation.Horizontal)
        splitter.addWidget(left)
        splitter.addWidget(right)
        splitter.setSizes([620, 500])
        buttons = QHBoxLayout()
        buttons.addWidget(self.message, 1)
        buttons.addWidget(self.save_button)
        layout = QVBoxLayout(self)
        layout.addWidget(self.heading)
        layout.addWidget(splitter, 1)
        layout.addLayout(buttons)

    def _gene_view(self) -> QTreeView:
        view = QTreeView()
        view.setModel(self.proxy)
        view.setRootIsDecorated(False)
        view.setUniformRowHeights(True)
        view.setSortingEnabled(True)
        view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        view.header().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        return view

    def _tell_gene(self, current: QModelIndex) -> None:
        if current.isValid():
            gene = str(current.siblingAtColumn(GENE).data())
            self.plot.mark(gene)
            self.gene_chosen.emit(gene)

    def _tell_errors(self) -> None:
        self.errors_chosen.emit(self.errors())

    def _ask(self) -> None:
        name = "_".join(("differences", *self._names)).replace(" ", "-").replace("/", "-")
        suggested = str(Path(self.folder) / f"{name}.csv")
        chosen, _ = QFileDialog.getSaveFileName(
            self, "Save the comparison", suggested, "Table (*.csv)"
        )
        if not chosen:
            return
        path = Path(chosen)
        if path.suffix.lower() != ".csv":
            path = path.with_name(f"{path.name}.csv")
        self.folder = str(path.parent)
        self.save_requested.emit(str(path), path == Path(chosen))
