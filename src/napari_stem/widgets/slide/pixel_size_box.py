"""How large is a pixel: stated, by objective, or measured along something of known length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_stem.widgets.common.parts import note

if TYPE_CHECKING:
    from napari_stem.geometry import Mpp

OBJECTIVES_UM = {"40×": 0.25, "20×": 0.5, "10×": 1.0}  # as most scanners have them
EXPLANATION = (
    "How large is a pixel? Choose the objective it was scanned with, enter the size, or measure "
    "something of known length, such as a scale bar."
)
HOW_TO_MEASURE = "Drag a line along something of known length on the slide."


class PixelSizeBox(QWidget):
    """Asks for a pixel size in the three ways in which people know it."""

    stated = Signal(float)  # um per pixel
    measure_requested = Signal()
    measured = Signal(float)  # um of the line that was drawn

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.explanation = note(EXPLANATION)
        self.objectives = {title: QPushButton(title) for title in OBJECTIVES_UM}
        self.value = self._length_box(0.01, 100.0, 0.5, 4)
        self.use_button = QPushButton("Use")
        self.measure_button = QPushButton("Measure a known length…")
        self.measure_button.setToolTip("Draw a line on the slide and say how long it is")
        self.length = self._length_box(0.1, 100_000.0, 1000.0, 1)
        self.length_button = QPushButton("Use")
        self._lay_out()
        self.use_button.clicked.connect(lambda: self.stated.emit(self.value.value()))
        self.measure_button.clicked.connect(self._measure)
        self.length_button.clicked.connect(lambda: self.measured.emit(self.length.value()))
        self.ask(None)

    def ask(self, mpp: Mpp | None) -> None:
        """Begin anew, at the pixel size that is known."""
        self.explanation.setText(EXPLANATION)
        self.length_row.setVisible(False)
        if mpp is not None:
            self.value.setValue(mpp.x_um)

    def show_measured(self, length_px: float) -> None:
        """Ask how long the line is."""
        self.explanation.setText(
            f"The line is {length_px:,.0f} pixels long. How long is it really?"
        )
        self.length_row.setVisible(True)

    def _measure(self) -> None:
        self.explanation.setText(HOW_TO_MEASURE)
        self.measure_requested.emit()

    def _length_box(self, low: float, high: float, value: float, decimals: int) -> QDoubleSpinBox:
        box = QDoubleSpinBox()
        box.setRange(low, high)
        box.setDecimals(decimals)
        box.setSingleStep(value / 10)
        box.setValue(value)
        box.setSuffix(" µm")
        return box

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.explanation)
        row = QHBoxLayout()
        for title, um in OBJECTIVES_UM.items():
            button = self.objectives[title]
            button.setToolTip(f"Scanned with a {title} objective: {um:g} µm per pixel")
            button.clicked.connect(lambda *_, um=um: self.stated.emit(um))
            row.addWidget(button)
        layout.addLayout(row)
        layout.addWidget(_row(QLabel("Pixel size"), self.value, self.use_button))
        layout.addWidget(self.measure_button)
        self.length_row = _row(QLabel("Its length"), self.length, self.length_button)
        layout.addWidget(self.length_row)


def _row(*widgets: QWidget) -> QWidget:
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    for place, widget in enumerate(widgets):
        layout.addWidget(widget, 1 if place == 1 else 0)
    return row
