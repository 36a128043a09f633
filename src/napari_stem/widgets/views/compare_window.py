"""The comparison of two groups in a window of its own: table and volcano plot, both choose genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton, QSplitter, QWidget

from napari_stem.texts import NOTICE, count
from napari_stem.widgets.common.form import line
from napari_stem.widgets.common.hints import few_samples
from napari_stem.widgets.common.parts import Note, row, stack
from napari_stem.widgets.common.table import Column, Table, TableView, marked
from napari_stem.widgets.views.plots import VolcanoPlot

if TYPE_CHECKING:
    import pandas as pd

    from napari_stem.results import Prediction

EXPLANATION = (
    "Samples are joint: errors that spots share, within a neighbourhood and over the slide, are in them as far "
    "as the training sections show them."
)
GENE, DIFFERENCE, INTERVAL, STANDARDISED, PROBABILITY, Q_VALUE = range(6)
COLUMNS = (
    Column("gene", "Gene", "Click to see its map"),
    Column("difference", "Difference", "Predicted mean of A minus that of B", "+.2f"),
    Column(
        "interval", "90% interval", "Of the difference", order="width", widest="+0.00 to +00.00"
    ),
    Column(
        "standardised",
        "Std. diff.",
        "The difference in standard deviations between single spots (Cohen's d)",
        "+.2f",
    ),
    Column(
        "probability",
        "P(A > B)",
        "Probability that the mean of A is above that of B, from the samples",
        ".2f",
    ),
    Column(
        "q_value",
        "FDR",
        "False discovery rate: expected share of wrong directions if this gene and all surer ones are called "
        "different, the mean of min(P, 1 - P) over them (Bayesian; s-value of Stephens 2017)",
        ".1%",
        order="surest",
    ),
)
LIMIT = 0.05  # false discovery rate
SIZE = (1120, 640)


@dataclass(frozen=True)
class Compared:
    """A finished comparison.

    Attributes
    ----------
    found
        The differences.
    n_a, n_b
        Spots in the groups.
    prediction
        What was compared.
    """

    found: pd.DataFrame
    n_a: int
    n_b: int
    prediction: Prediction

    @property
    def slide_name(self) -> str:
        """Of the prediction's slide."""
        return str(self.prediction.provenance["slide"])


class CompareWindow(QWidget):
    """Shows which genes differ between two groups."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, Qt.WindowType.Window)
        self.folder = ""
        self.heading, self.explanation, self.message = Note(), Note(EXPLANATION), Note()
        self.search = line("Find a gene", is_search=True)
        self.table = Table(COLUMNS)
        self.view = TableView(self.table, sort_by=Q_VALUE)
        self.plot = VolcanoPlot()
        self.save_button = QPushButton("Save as CSV…")
        self._lay_out()
        self.resize(*SIZE)
        self.search.textChanged.connect(self.table.filter)
        self.view.chosen.connect(self.plot.mark)
        self.plot.gene_clicked.connect(self.choose)

    def show_differences(self, compared: Compared) -> None:
        """Show which genes differ, and what to be wary of."""
        found, slide_name = compared.found, compared.slide_name
        first, second = found[["group_a", "group_b"]].iloc[0]
        self.setWindowTitle(f"{first} compared with {second}, predicted on {slide_name}")
        n_called = int((found.q_value <= LIMIT).sum())
        told = (
            f"{slide_name}. A: {first} ({count(compared.n_a, 'spot')}), "
            f"B: {second} ({count(compared.n_b, 'spot')}). "
            f"{n_called:,} of {count(len(found), 'gene')} differ at a false "
            f"discovery rate of {LIMIT:.0%}."
        )
        wary = few_samples(compared.prediction.n_kept_draws)
        self.heading.setText(" ".join(filter(None, (told, wary, NOTICE))))
        self.table.fill(_frame(found))
        self.view.sortByColumn(Q_VALUE, Qt.SortOrder.AscendingOrder)
        self.view.scrollToTop()
        self.plot.show_differences(found, LIMIT)
        self.message.setText("")

    def choose(self, gene: str) -> None:
        """Choose a gene as if it had been clicked in the table."""
        self.search.clear()
        place = self.table.row_of(gene)
        if place is not None:
            index = self.table.index(place, GENE)
            self.view.setCurrentIndex(index)
            self.view.scrollTo(index)

    def _lay_out(self) -> None:
        left, right = QWidget(), QWidget()
        stack(left, self.search, self.view)
        stack(right, self.explanation, self.plot, stretched=1)
        splitter = QSplitter(Qt.Orientation.Horizontal)
        splitter.addWidget(left)
        splitter.addWidget(right)
        splitter.setSizes([620, 500])
        below = row(self.message, self.save_button, stretched=0)
        stack(self, self.heading, splitter, below, stretched=1, is_window=True)


def _frame(found: pd.DataFrame) -> pd.DataFrame:
    """Table of a comparison: a row for every gene."""
    frame = found.rename_axis(None).assign(
        interval=[f"{low:+.2f} to {high:+.2f}" for low, high in found[["q05", "q95"]].to_numpy()],
        width=found["q95"] - found["q05"],
        surest=range(len(found)),  # as they come
    )
    return marked(frame, frame.index[found["by_chance"]])
