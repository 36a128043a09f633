"""Inspect: what is predicted at the spot under the cursor."""

from __future__ import annotations

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_stem.widgets.parts import note

POINT_AT = "Point at the map to read a spot."


class InspectPanel(QWidget):
    """Shows one spot."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.readout = note(POINT_AT)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.readout)

    def show_spot(
        self, gene: str, mean: float, low: float, high: float, unit: str, *, is_unlike: bool
    ) -> None:
        """Show the prediction of one spot with its 90% interval, and whether to doubt it."""
        told = f"{gene} predicted {mean:.2f} (90% interval {low:.2f} to {high:.2f}), {unit}"
        if is_unlike:
            told += (
                ". This spot looks unlike the tissue that the model learnt from: do not rely on it."
            )
        self.readout.setText(told)

    def show_nothing(self) -> None:
        """Show that no predicted spot lies under the cursor."""
        self.readout.setText(POINT_AT)
