"""The genes that are shown together: a button for each, which takes it out again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QGridLayout, QToolButton, QVBoxLayout, QWidget

from napari_stem.widgets.common.parts import note

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

SWATCH_PX = 12
N_IN_A_ROW = 2
LEFT = Qt.AlignmentFlag.AlignLeft
SWATCHES = {"magenta": "#ff00ff", "red": "#ff0000", "green": "#00ff00", "blue": "#0000ff"}


class PickedGenes(QWidget):
    """Holds up to a few genes, in the order in which they were picked."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.genes: tuple[str, ...] = ()
        self._most = 1
        self._colours: Callable[[int], Sequence[str]] | None = None
        self.buttons: list[QToolButton] = []
        self.told = note("")
        self._grid = QGridLayout()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self._grid)
        layout.addWidget(self.told)

    def allow(self, most: int, colours: Callable[[int], Sequence[str]] | None = None) -> None:
        """Hold at most so many genes, each with a colour where those of so many are given."""
        self._most, self._colours = most, colours
        self.genes = self.genes[:most]
        self._show()

    def pick(self, gene: str) -> None:
        """Add a gene; where there is no room, the one picked last makes room."""
        if gene in self.genes:
            return
        self.genes = (*self.genes[: self._most - 1], gene)
        self._show()
        self.changed.emit()

    def keep(self, known: Collection[str]) -> None:
        """Drop genes that another model does not know."""
        self.genes = tuple(gene for gene in self.genes if gene in known)
        self._show()

    def _drop(self, gene: str) -> None:
        self.genes = tuple(g for g in self.genes if g != gene)
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        while self.buttons:
            button = self.buttons.pop()
            self._grid.removeWidget(button)
            button.setParent(None)
        colours = self._colours(len(self.genes)) if self._colours is not None else ()
        for place, gene in enumerate(self.genes):
            button = QToolButton()
            button.setText(f"{gene}  ×")
            button.setToolTip(f"Take {gene} out")
            if place < len(colours):
                button.setIcon(_swatch(colours[place]))
                button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
            button.clicked.connect(lambda _=False, gene=gene: self._drop(gene))
            self._grid.addWidget(button, place // N_IN_A_ROW, place % N_IN_A_ROW, LEFT)
            self.buttons.append(button)
        free = self._most - len(self.genes)
        if free:
            more = "another" if self.genes else "a"
            self.told.setText(f"Double-click {more} gene in the list to add it ({free} more).")
        else:
            self.told.setText("Click a gene here to take it out.")


def _swatch(colour: str) -> QIcon:
    pixmap = QPixmap(SWATCH_PX, SWATCH_PX)
    pixmap.fill(QColor(SWATCHES[colour]))
    return QIcon(pixmap)
