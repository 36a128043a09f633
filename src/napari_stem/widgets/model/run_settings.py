"""How finely and how often a run predicts, and where it computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QSpinBox

from napari_stem.settings import SamplingSettings

if TYPE_CHECKING:
    from napari_stem.widgets.common.memory import Remembered

DEVICES = {
    "Automatic": "auto",
    "Processor (CPU)": "cpu",
    "NVIDIA graphics card": "cuda",
    "Apple graphics": "mps",
}


class RunSettings(QObject):
    """The fields that hold them; a panel lays them out."""

    def __init__(self, remembered: Remembered, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.pitch = QDoubleSpinBox()
        self.pitch.setRange(5.0, 2000.0)
        self.pitch.setDecimals(0)
        self.pitch.setSingleStep(10.0)
        self.pitch.setSuffix(" µm")
        self.pitch.setValue(200.0)
        self.pitch.setToolTip("From the centre of one spot to the next; the model's own is best")
        self.n_draws = _number(
            2, 1000, remembered.n_draws, "More samples: steadier uncertainty, longer runs"
        )
        self.n_steps = _number(
            1, 1000, remembered.n_steps, "Steps from noise to one sample; 16 suffice"
        )
        self.seed = _number(
            0, 2**31 - 1, remembered.seed, "The same number gives the same map again"
        )
        self.device = QComboBox()
        for title, name in DEVICES.items():
            self.device.addItem(title, name)
        self.device.setCurrentIndex(max(0, self.device.findData(remembered.device)))
        self.device.setToolTip("Where to compute; Automatic takes a graphics card if there is one")

    def chosen(self) -> SamplingSettings:
        """Return the parameters as chosen."""
        return SamplingSettings(
            n_draws=self.n_draws.value(),
            n_steps=self.n_steps.value(),
            seed=self.seed.value(),
            device=self.device.currentData(),
        )


def _number(low: int, high: int, value: int, tip: str) -> QSpinBox:
    box = QSpinBox()
    box.setRange(low, high)
    box.setValue(value)
    box.setToolTip(tip)
    return box
