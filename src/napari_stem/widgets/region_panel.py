"""Region: where to predict."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_stem.widgets.parts import count, note

NO_REGION = "Draw around the tissue of interest, or take all of it."
HOW_TO_DRAW = "Click to set corners on the slide; double-click to close the outline."


class RegionPanel(QWidget):
    """Asks for regions; shows how much they hold."""

    draw_requested = Signal()
    tissue_requested = Signal()
    clear_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.draw_button = QPushButton("Draw polygon")
        self.draw_button.setToolTip("Outline a region on the slide; several are possible")
        self.tissue_button = QPushButton("Whole tissue")
        self.tissue_button.setToolTip("Find the tissue on the slide and take all of it")
        self.clear_button = QPushButton("Clear")
        self.clear_button.setToolTip("Remove all regions of this slide")
        self.summary = note(NO_REGION)
        buttons = QHBoxLayout()
        for button, signal in (
            (self.draw_button, self.draw_requested),
            (self.tissue_button, self.tissue_requested),
            (self.clear_button, self.clear_requested),
        ):
            button.clicked.connect(signal)
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        layout.addWidget(self.summary)

    def show_drawing(self) -> None:
        """Say how a polygon is drawn."""
        self.summary.setText(HOW_TO_DRAW)

    def show_busy(self, text: str) -> None:
        """Say what is being done; no text: nothing is."""
        self.tissue_button.setEnabled(not text)
        if text:
            self.summary.setText(text)

    def show_summary(self, n_regions: int, area_mm2: float, n_spots: int) -> None:
        """Say how much the regions hold."""
        if n_regions == 0:
            self.summary.setText(NO_REGION)
            return
        held = f"{count(n_regions, 'region')}, {area_mm2:.2f} mm², {count(n_spots, 'spot')}"
        if n_spots == 0:
            held += ". No spot fits in: draw a larger region, or set the spots closer together."
        self.summary.setText(held)
