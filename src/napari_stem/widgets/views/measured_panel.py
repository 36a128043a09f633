"""Measured: load counts beside a prediction, flip between the two, see how far they agree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from qtpy.QtCore import Signal
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QButtonGroup,
    QFileDialog,
    QHBoxLayout,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from napari_stem.widgets.common.keys import SEE_DIFFERENCE, SEE_MEASURED, SEE_PREDICTED
from napari_stem.widgets.common.parts import note
from napari_stem.widgets.common.table import Column, Table, TableView

if TYPE_CHECKING:
    from napari_stem.evaluation.beside import Beside

PREDICTED, MEASURED, DIFFERENCE = "predicted", "measured", "difference"
VIEWS = {
    PREDICTED: ("Predicted", SEE_PREDICTED, "The map of the prediction"),
    MEASURED: (
        "Measured",
        SEE_MEASURED,
        "What was measured, in the same unit and the same colours",
    ),
    DIFFERENCE: (
        "Difference",
        SEE_DIFFERENCE,
        "Predicted minus measured: red where too much is predicted, blue where too little",
    ),
}
COLUMNS = (
    Column("gene", "Gene"),
    Column(
        "pcc", "PCC", "Correlation of the predicted mean with the measured value over spots", "+.2f"
    ),
    Column(
        "coverage",
        "In 90%",
        "Share of spots whose measured value the 90% interval holds",
        ".0%",
        widest="100%",
    ),
    Column(
        "difference", "Off by", "Mean of predicted minus measured, in the unit of the map", "+.2f"
    ),
)
TABLE_HEIGHT_PX = 150
START = (
    "Counts measured on this very slide: a table (.h5ad, raw counts, as st/ID.h5ad of a HEST data set) or "
    "a folder of Space Ranger (Visium)."
)


class MeasuredPanel(QWidget):
    """Asks for measured data and for what of it is shown."""

    load_requested = Signal(str)
    predict_requested = Signal()  # at the measured spots
    save_requested = Signal(str)
    remove_requested = Signal()
    view_chosen = Signal(str)
    gene_chosen = Signal(object)

    def __init__(self, folder: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.folder = folder
        self.table_button = QPushButton("Counts (.h5ad)…")
        self.visium_button = QPushButton("Visium folder…")
        self.remove_button = QPushButton("Remove")
        self.save_button = QPushButton("Save table…")
        self.save_button.setToolTip("Correlation, coverage and difference of every gene, as CSV")
        self.predict_button = QPushButton("Predict at the measured spots")
        self.predict_button.setToolTip("With the model and settings of Model")
        self.summary = note(START)
        self.message = note("")
        self.views = QButtonGroup(self)
        self.table = Table(COLUMNS)
        self.view = TableView(self.table, sort_by=1)
        self.view.setMinimumHeight(TABLE_HEIGHT_PX)
        self.plot_place = QVBoxLayout()
        self.results = QWidget()
        self._lay_out()
        self.table_button.clicked.connect(self._ask_for_table)
        self.visium_button.clicked.connect(self._ask_for_folder)
        self.save_button.clicked.connect(self._ask_where_to_save)
        self.predict_button.clicked.connect(self.predict_requested)
        self.remove_button.clicked.connect(self.remove_requested)
        self.view.chosen.connect(self.gene_chosen)
        self.views.idClicked.connect(lambda _: self.view_chosen.emit(self.shown()))
        self.show_nothing()
        self.setEnabled(False)

    def shown(self) -> str:
        """Return ``predicted``, ``measured`` or ``difference``."""
        return str(list(VIEWS)[max(0, self.views.checkedId())])

    def show_view(self, view: str) -> None:
        """Mark what is shown, without asking for it."""
        self.views.button(list(VIEWS).index(view)).setChecked(True)

    def choose_view(self, view: str) -> None:
        """Choose what is shown, as a click would."""
        if self.isEnabled() and not self.results.isHidden():
            self.show_view(view)
            self.view_chosen.emit(view)

    def show_nothing(self) -> None:
        """No data are loaded."""
        self.summary.setText(START)
        self.results.hide()
        self.remove_button.hide()
        self.show_message("")
        self.show_view(PREDICTED)

    def show_busy(self, text: str) -> None:
        """Say what is going on; no text: nothing is."""
        self.show_message(text)
        for button in (self.table_button, self.visium_button):
            button.setEnabled(not text)

    def show_message(self, text: str) -> None:
        """Say something besides the summary."""
        self.message.setText(text)
        self.message.setVisible(bool(text))

    def show_agreement(self, name: str, found: Beside) -> None:
        """Say how much was matched, and list the genes."""
        self.summary.setText(told(name, found))
        self.table.fill(
            pd.DataFrame(
                {
                    "gene": found.genes,
                    "pcc": found.pcc,
                    "coverage": found.coverage,
                    "difference": found.difference,
                },
                index=list(found.genes),
            )
        )
        self.predict_button.setVisible(is_elsewhere(found))
        self.results.show()
        self.remove_button.show()

    def _ask_for_table(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Measured counts", self.folder, "Tables of counts (*.h5ad);;All files (*)"
        )
        self._tell(path)

    def _ask_for_folder(self) -> None:
        self._tell(QFileDialog.getExistingDirectory(self, "Visium folder (outs)", self.folder))

    def _tell(self, path: str) -> None:
        if path:
            self.folder = str(Path(path).parent)
            self.load_requested.emit(path)

    def _ask_where_to_save(self) -> None:
        suggested = str(Path(self.folder) / "agreement.csv")
        path, _ = QFileDialog.getSaveFileName(self, "Save table", suggested, "Tables (*.csv)")
        if path:
            self.save_requested.emit(path if path.endswith(".csv") else f"{path}.csv")

    def _lay_out(self) -> None:
        loading = QHBoxLayout()
        for button in (self.table_button, self.visium_button, self.remove_button):
            loading.addWidget(button)
        views = QHBoxLayout()
        for number, (view, (title, key, tip)) in enumerate(VIEWS.items()):
            button = QRadioButton(title)
            button.setToolTip(f"{tip} ({key.sequence})")
            self.views.addButton(button, number)
            views.addWidget(button)
            shortcut = QShortcut(QKeySequence(key.sequence), self)
            shortcut.activated.connect(lambda view=view: self.choose_view(view))
        results = QVBoxLayout(self.results)
        results.setContentsMargins(0, 0, 0, 0)
        results.addWidget(self.predict_button)
        results.addLayout(views)
        results.addWidget(self.view)
        results.addLayout(self.plot_place)
        results.addWidget(self.save_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(loading)
        for widget in (self.message, self.summary, self.results):
            layout.addWidget(widget)


def told(name: str, found: Beside) -> str:
    """Say what was matched with what, and how well the genes agree."""
    n_spots, n_genes = len(found.rows), len(found.genes)
    how = "by name" if found.matched_by == "name" else "by position"
    lines = [
        f"{name}: {n_spots:,} of {found.n_predicted:,} predicted spots matched {how} with "
        f"{n_spots:,} of {len(found.spots):,} measured ones"
        + (f", {found.apart_um:.0f} µm apart (median)." if found.apart_um >= 1 else ".")
    ]
    if found.n_genes_left_out:
        lines.append(f"{found.n_genes_left_out:,} predicted genes were not measured.")
    known = found.pcc[np.isfinite(found.pcc)]
    if len(known):
        lines.append(
            f"{n_genes:,} genes: median PCC {np.median(known):.2f}; the 90% intervals hold "
            f"{found.coverage.mean():.0%} of the measured values."
        )
    if is_elsewhere(found):
        lines.append("So they are of different tissue; predict at the measured spots to compare.")
    return " ".join(lines)


def is_elsewhere(found: Beside) -> bool:
    """Whether predicted and measured spots do not overlap by half."""
    return found.apart_um > found.spots.diameter_um / 2
