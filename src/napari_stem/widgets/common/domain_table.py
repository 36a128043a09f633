"""The domains of a prediction: their colours, which are the map's, names that can be changed, shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.spatial_analysis.domains import Domains

NAME, SHARE, AGAIN, HIGH = range(4)
HEADERS = ("Domain", "Area", "Again", "High in it")
TIPS = {
    NAME: "Double-click to give it a name of your own",
    SHARE: "Share of the predicted area",
    AGAIN: (
        "How far single samples find this domain again: overlap with the most alike domain of a sample, "
        "on average (100%: the same spots). In brackets what chance alone would give."
    ),
    HIGH: "Genes predicted highest here compared with elsewhere",
}
# Okabe and Ito's eight, which colour-blind eyes tell apart, then Tableau's where there are more.
COLOURS = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999",
    "#8c564b", "#bcbd22", "#9467bd", "#17becf", "#e377c2", "#2ca02c", "#aec7e8", "#ffbb78",
)  # fmt: skip
ROW_PX, MOST_ROWS = 22, 9


def colours_of(n_domains: int) -> list[str]:
    """Colours of so many domains; beyond sixteen they repeat."""
    return [COLOURS[i % len(COLOURS)] for i in range(n_domains)]


class DomainTable(QTableWidget):
    """One row per domain."""

    renamed = Signal(int, str)  # which, how
    domain_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__(0, len(HEADERS))
        self.setHorizontalHeaderLabels(list(HEADERS))
        for column, tip in TIPS.items():
            self.horizontalHeaderItem(column).setToolTip(tip)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(ROW_PX)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        header = self.horizontalHeader()
        for column in (NAME, SHARE, AGAIN):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(HIGH, QHeaderView.ResizeMode.Stretch)
        self._is_filling = False
        self.itemChanged.connect(self._on_changed)
        self.currentCellChanged.connect(self._on_row)

    def show_domains(self, domains: Domains) -> None:
        """List them, the largest first."""
        self._is_filling = True
        chosen = self.currentRow()
        try:
            self.setRowCount(len(domains.names))
            colours, shares = colours_of(len(domains.names)), domains.shares
            for row, name in enumerate(domains.names):
                again = "–"
                if domains.stability is not None:
                    found, chance = domains.stability.found_again, domains.stability.by_chance
                    again = f"{found[row]:.0%} ({chance[row]:.0%})"
                high = ", ".join(domains.markers[row]) or "–"
                self._set_row(row, (name, f"{shares[row]:.0%}", again, high), colours[row])
            if 0 <= chosen < self.rowCount():
                self.setCurrentCell(chosen, NAME)
        finally:
            self._is_filling = False
        n_rows = min(MOST_ROWS, len(domains.names))
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + n_rows * ROW_PX + 4)

    def _set_row(self, row: int, texts: Sequence[str], colour: str) -> None:
        swatch = QPixmap(12, 12)
        swatch.fill(QColor(colour))
        for column, text in enumerate(texts):
            item = QTableWidgetItem(text)
            item.setToolTip(f"{text}\n{TIPS[column]}")
            if column == NAME:
                item.setIcon(QIcon(swatch))
            else:
                item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
            self.setItem(row, column, item)

    def _on_changed(self, item: QTableWidgetItem) -> None:
        name = item.text().strip()
        if not self._is_filling and item.column() == NAME and name:
            self.renamed.emit(item.row(), name)

    def _on_row(self, row: int, _column: int, before: int, _column_before: int) -> None:
        if not self._is_filling and row >= 0 and row != before:
            self.domain_chosen.emit(row)
