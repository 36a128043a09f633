"""The genes that are shown together: a button for each, which takes it out again."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QGridLayout, QToolButton, QVBoxLayout, QWidget

from napari_stem.model.genes import MARK
from napari_stem.widgets.common.parts import note
from napari_stem.widgets.genes.mixed_layers import mixed_colours
from napari_stem.widgets.state import MIX, MOST_GENES

if TYPE_CHECKING:
    from napari_stem.widgets.state import DisplaySettings

SWATCH_PX = 12
N_IN_A_ROW = 2
LEFT = Qt.AlignmentFlag.AlignLeft
PURE_GREEN = "#00ff00"  # napari's; Qt's own is darker


class PickedGenes(QWidget):
    """Shows the genes that are shown together, in the order in which they were picked."""

    def __init__(self, settings: DisplaySettings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self.buttons: list[QToolButton] = []
        self.message = note("")
        self._grid = QGridLayout()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self._grid)
        layout.addWidget(self.message)

    def pick(self, gene: str) -> None:
        """Add a gene; where there is no room, the one picked last makes room."""
        settings = self._settings
        most = MOST_GENES.get(settings.arrangement, 0)
        if most and gene not in settings.genes:
            settings.ask(picked=(*settings.picked[: most - 1], gene))

    def follow(self) -> None:
        """Show what the settings say."""
        arrangement = self._settings.arrangement
        self.setVisible(arrangement in MOST_GENES)
        if arrangement not in MOST_GENES:
            return
        while self.buttons:
            button = self.buttons.pop()
            self._grid.removeWidget(button)
            button.setParent(None)
        genes = self._settings.genes
        colours = (
            mixed_colours(len(genes), self._settings.mix_colours) if arrangement == MIX else ()
        )
        for place, gene in enumerate(genes):
            button = QToolButton()
            mark = f" ({MARK})" if gene in self._settings.by_chance else ""
            button.setText(f"{gene}{mark}  ×")
            button.setToolTip(f"Take {gene} out")
            if place < len(colours):
                button.setIcon(_swatch(colours[place]))
                button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
            button.clicked.connect(partial(self._drop, gene))
            self._grid.addWidget(button, place // N_IN_A_ROW, place % N_IN_A_ROW, LEFT)
            self.buttons.append(button)
        free = MOST_GENES[arrangement] - len(genes)
        if free:
            more = "another" if genes else "a"
            self.message.setText(f"Double-click {more} gene in the list to add it ({free} more).")
        else:
            self.message.setText("Click a gene here to take it out.")

    def _drop(self, gene: str, *_: object) -> None:
        self._settings.ask(picked=tuple(g for g in self._settings.picked if g != gene))


def _swatch(colour: str) -> QIcon:
    pixmap = QPixmap(SWATCH_PX, SWATCH_PX)
    pixmap.fill(QColor(PURE_GREEN if colour == "green" else colour))
    return QIcon(pixmap)
