"""Inspect: what is predicted at the spot under the cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_stem.widgets.common.parts import note
from napari_stem.widgets.views.spot_inspector import SpotInspector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.layers import Reading

POINT_AT = "Point at the map to read a spot; click to look at it closely."
UNLIKE = ". This spot looks unlike the tissue that the model learnt from: do not rely on it."


class InspectPanel(QWidget):
    """Shows the spot under the cursor in a line, the clicked one in depth."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.readout = note(POINT_AT)
        self.spot = SpotInspector()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.readout)
        layout.addWidget(self.spot)

    def show_spot(self, readings: Sequence[Reading], unit: str, *, is_unlike: bool) -> None:
        """Show what is predicted at one spot with its 90% intervals, and whether to doubt it."""
        told = "\n".join(
            f"{r.gene} predicted {r.mean:.2f} (90% interval {r.low:.2f} to {r.high:.2f}), {unit}"
            for r in readings
        )
        self.readout.setText(told + (UNLIKE if is_unlike else ""))

    def show_score(self, title: str, value: float, *, is_unlike: bool) -> None:
        """Show the score of one spot, and whether to doubt it."""
        self.readout.setText(f"{value:+.2f}: {title}" + (UNLIKE if is_unlike else ""))

    def show_nothing(self) -> None:
        """Show that no predicted spot lies under the cursor."""
        self.readout.setText(POINT_AT)
