"""Compare: the gene's mean in every region, and a choice of two groups to compare in all genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_stem.widgets.common.parts import note
from napari_stem.widgets.common.table import TIP, Column, Table, TableView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QShowEvent

    from napari_stem.evaluation.groups import GroupSummary

REST = "everything else"
NO_REGION = "Draw or import regions to see the means in them and to compare them."
COLUMNS = (
    Column("region", "Region", "Drawn or imported, or all regions of a class"),
    Column("area_mm2", "mm²", "Area in square millimetres", ".2f", widest="000.00"),
    Column("n_spots", "Spots", "Predicted spots in it", ",", widest="0,000"),
    Column("mean", "Mean (90% interval)", widest="0.00 (0.00 to 0.00)"),
)
INTERVAL_TIP = (
    "Cautious: the interval of a region's mean is the mean of its spots' intervals, as if all of them "
    "erred alike. Samples of different spots are drawn independently given the image; an error that "
    "spots share is not among them.\nAs sampled, if every spot erred by itself: {}."
)
MOST_ROWS_SEEN = 7
SHORTEST_CHOICE = 12


class ComparePanel(QWidget):
    """Shows regions in numbers; asks which two to compare."""

    opened = Signal()
    compare_requested = Signal(int, int)  # places in the list of groups; -1: everything else

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.heading = note(NO_REGION)
        self.table = Table(COLUMNS)
        self.view = TableView(self.table)
        self.view.setSelectionMode(TableView.SelectionMode.NoSelection)
        self.first, self.second = QComboBox(), QComboBox()
        for box in (self.first, self.second):
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            box.setMinimumContentsLength(SHORTEST_CHOICE)  # a long name must not widen the dock
        self.button = QPushButton("Compare in all genes…")
        self.message = note("")
        self._names: tuple[str, ...] = ()
        self._lay_out()
        self.button.clicked.connect(self._ask)
        self.show_groups(())
        self.show_message("")
        self.setEnabled(False)

    def showEvent(self, event: QShowEvent) -> None:
        """Tell that numbers are wanted."""
        super().showEvent(event)
        self.opened.emit()

    def show_groups(self, names: Sequence[str]) -> None:
        """Offer regions and classes; what was chosen stays chosen where it is still there."""
        if tuple(names) == self._names and self.second.count():
            return
        had_names, self._names = bool(self._names), tuple(names)
        for box, others in ((self.first, ()), (self.second, (REST,))):
            chosen = box.currentText()
            box.clear()
            for place, name in enumerate(names):
                box.addItem(name, place)
            for other in others:
                box.addItem(other, -1)
            box.setCurrentIndex(max(0, box.findText(chosen) if had_names else 0))
        if self.second.currentIndex() == self.first.currentIndex():
            self.second.setCurrentIndex(min(1, self.second.count() - 1))
        self.button.setEnabled(bool(names))
        self.view.setVisible(bool(names))

    def show_summaries(self, gene: str, unit: str, summaries: Sequence[GroupSummary]) -> None:
        """Show the gene's mean in every group."""
        self.heading.setText(f"{gene} predicted, {unit}" if summaries else NO_REGION)
        parts = [each.summary for each in summaries]
        self.table.fill(
            pd.DataFrame(
                {
                    "region": [part.name for part in parts],
                    "area_mm2": [part.area_mm2 for part in parts],
                    "n_spots": [part.n_spots for part in parts],
                    "mean": [_mean(each, gene) for each in summaries],
                    TIP: [
                        f"{each.summary.name}\n\n{INTERVAL_TIP.format(_sampled(each))}"
                        for each in summaries
                    ],
                }
            )
        )
        self.view.fit(MOST_ROWS_SEEN)

    def show_message(self, text: str) -> None:
        """Say what is going on; no text: nothing is."""
        self.message.setText(text)
        self.message.setVisible(bool(text))

    def show_busy(self, *, is_busy: bool) -> None:
        """Take no other question while one is answered."""
        self.button.setEnabled(not is_busy and bool(self._names))

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow("Compare", self.first)
        form.addRow("with", self.second)
        self.second.setToolTip("A spot that lies in both counts for the first")
        self.button.setToolTip(
            "Which genes differ, by how much and how surely: table and volcano plot"
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.heading)
        layout.addWidget(self.view)
        layout.addLayout(form)
        layout.addWidget(self.button)
        layout.addWidget(self.message)

    def _ask(self) -> None:
        first, second = self.first.currentData(), self.second.currentData()
        if first is None or second is None:
            return
        if first == second:
            self.show_message("Choose two different regions.")
            return
        self.compare_requested.emit(int(first), int(second))


def _mean(each: GroupSummary, gene: str) -> str:
    estimate = each.summary.genes.get(gene)
    if estimate is None:
        return "no spots"
    return f"{estimate.mean:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def _sampled(each: GroupSummary) -> str:
    if not np.isfinite(each.low):
        return "not known, as the samples were not kept"
    return f"{each.low:.2f} to {each.high:.2f}"
