"""Whole tissue: find it, more or less of it, without small pieces."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_stem.errors import RegionError
from napari_stem.slide.tissue import TissueSettings
from napari_stem.widgets.common.parts import note

MOST_MM2 = 100.0


class TissueBox(QWidget):
    """Asks for the outlines of the tissue; holds how they are looked for."""

    requested = Signal()
    settings_changed = Signal()

    def __init__(
        self, settings: TissueSettings | None = None, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        wanted = settings or TissueSettings()
        self.button = QPushButton("Whole tissue")
        self.button.setToolTip("Find the tissue on the slide and take all of it")
        self.sensitivity = QSlider(Qt.Orientation.Horizontal)
        self.sensitivity.setRange(0, 100)
        self.sensitivity.setPageStep(10)
        self.sensitivity.setValue(wanted.sensitivity)
        self.sensitivity.setToolTip(
            "To the right, faint and smooth tissue is taken too; the middle suits most slides"
        )
        self.min_area = QDoubleSpinBox()
        self.min_area.setRange(0.0, MOST_MM2)
        self.min_area.setDecimals(2)
        self.min_area.setSingleStep(0.05)
        self.min_area.setSuffix(" mm²")
        self.min_area.setValue(wanted.min_area_mm2)
        self.min_area.setKeyboardTracking(False)
        self.min_area.setToolTip("Smaller pieces of tissue, dust and debris are left out")
        self.told = note("")
        self._lay_out()
        self.show_settings(is_shown=False)
        self.tell("")
        self.button.clicked.connect(self.requested)
        self.sensitivity.valueChanged.connect(self.settings_changed)
        self.min_area.valueChanged.connect(self.settings_changed)

    def settings(self) -> TissueSettings:
        """Return the settings as chosen."""
        return TissueSettings(self.sensitivity.value(), round(self.min_area.value(), 2))

    def show_settings(self, *, is_shown: bool) -> None:
        """Show the settings once there are outlines that they can change."""
        self._details.setVisible(is_shown)

    def show_busy(self, *, is_busy: bool) -> None:
        """Show that the tissue is being looked for the first time."""
        self.button.setEnabled(not is_busy)
        self.button.setText("Looking for tissue …" if is_busy else "Whole tissue")

    def tell(self, text: str) -> None:
        """Say what was left out, or that nothing was found."""
        self.told.setText(text)
        self.told.setVisible(bool(text))

    def _lay_out(self) -> None:
        slider = QHBoxLayout()
        slider.addWidget(QLabel("Less"))
        slider.addWidget(self.sensitivity, 1)
        slider.addWidget(QLabel("More tissue"))
        form = QFormLayout()
        form.addRow("Leave out pieces under", self.min_area)
        self._details = QWidget()
        inner = QVBoxLayout(self._details)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.setSpacing(4)
        inner.addLayout(slider)
        inner.addLayout(form)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.button)
        layout.addWidget(self._details)
        layout.addWidget(self.told)


def remembered_settings(sensitivity: int, min_area_mm2: float) -> TissueSettings:
    """Return the settings of an earlier session; the defaults where a file edited by hand holds others."""
    try:
        return TissueSettings(sensitivity, min_area_mm2)
    except RegionError:
        return TissueSettings()
