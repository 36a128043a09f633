"""How maps look: the range and the kind of colours, the shape of spots, how strongly they cover the slide."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from napari.utils.colormaps import ensure_colormap
from qtpy.QtCore import QSignalBlocker, QSize
from qtpy.QtGui import QIcon, QPixmap
from qtpy.QtWidgets import QDoubleSpinBox, QFormLayout, QLabel, QWidget

from napari_stem.widgets.common.form import number, slider
from napari_stem.widgets.common.parts import choice, row_widget
from napari_stem.widgets.common.pictures import image_of
from napari_stem.widgets.state import COLORMAPS, LARGEST_VALUE, MIX

if TYPE_CHECKING:
    from napari_stem.widgets.state import DisplaySettings

RANGES = {
    "gene": "Each gene's own range",
    "all": "One range for all genes",
    "percentile": "Percentiles of each gene",
    "fixed": "Fixed values",
}
RANGE_TIP = (
    "Own range: 1st to 99th percentile of each gene.\nOne range: the same colours mean the same "
    "values for every gene.\nPercentiles: of each gene, as you choose.\nFixed: the values you type, or "
    "set with napari's contrast limits, for every gene."
)
COLORMAP_TIPS = {"turbo": "Vivid, but colour-blind eyes cannot order its colours"}
IN_ORDER = "Keeps its order for colour-blind eyes"
MIXES = {"safe": "For all eyes", "rgb": "Red, green, blue"}
MIX_TIP = (
    "Colours of three mixed genes. For all eyes: brick red, green and violet, which colour-blind eyes tell "
    "apart; two genes are magenta and green"
)
SHAPES = {"square": "Squares", "circle": "Circles", "smooth": "Smooth"}
SHAPE_TIP = (
    "Squares fill the grid of spots. Circles have the spots' true diameter, as on the slide; where there are "
    "too many for circles, squares remain. Smooth: values go over into those of neighbouring spots; nothing is "
    "drawn where no spot is, and no more is known than by squares."
)
ICON = QSize(48, 12)


class LookBox(QWidget):
    """Asks how maps are drawn."""

    def __init__(self, settings: DisplaySettings) -> None:
        super().__init__()
        self._settings = settings
        colormaps = {name: (name, COLORMAP_TIPS.get(name, IN_ORDER)) for name in COLORMAPS}
        tip = "Colours of the expression, from low to high"
        self.range_choice = choice(RANGES, RANGE_TIP, self._ask_range)
        self.colormap_choice = choice(colormaps, tip, partial(self._ask, "colormap"))
        self.mix_choice = choice(MIXES, MIX_TIP, partial(self._ask, "mix_colours"))
        self.shape_choice = choice(SHAPES, SHAPE_TIP, partial(self._ask, "spot_shape"))
        for place, name in enumerate(COLORMAPS):
            self.colormap_choice.setItemIcon(place, _strip(name))
        self.colormap_choice.setIconSize(ICON)
        self._choices = {
            "range_kind": self.range_choice,
            "colormap": self.colormap_choice,
            "mix_colours": self.mix_choice,
            "spot_shape": self.shape_choice,
        }
        whole, far = (0, 100), (-LARGEST_VALUE, LARGEST_VALUE)
        self.percents = [number(whole, at, decimals=1, suffix=" %") for at in (1, 99)]
        self.values = [number(far, at, decimals=3, step=0.1) for at in (0, 5)]
        self._boxes = {"percentile": self.percents, "fixed": self.values}
        self.opacity = slider((0, 100), 0, "How strongly the map covers the slide")
        self._lay_out()
        for box in (*self.percents, *self.values):
            box.setKeyboardTracking(False)
            box.valueChanged.connect(self._ask_range)
        self.opacity.valueChanged.connect(lambda value: settings.update(opacity_percent=value))

    def follow(self) -> None:
        """Show what the settings say."""
        settings = self._settings
        if boxes := self._boxes.get(settings.range_kind):
            _show(boxes, (settings.range_low, settings.range_high))
        for name, box in self._choices.items():
            box.setCurrentIndex(box.findData(getattr(settings, name)))
        self.opacity.setValue(settings.opacity_percent)
        is_mixed = settings.arrangement == MIX
        self._form.setRowVisible(self.colormap_choice, not is_mixed)
        self._form.setRowVisible(self.mix_choice, is_mixed)
        for kind, shown in self._rows.items():
            self._form.setRowVisible(shown, settings.range_kind == kind)

    def suggest_fixed(self, low: float, high: float) -> None:
        """Where fixed values have not been chosen yet, start from what is on show."""
        if self._settings.range_kind != "fixed":
            _show(self.values, (low, high))

    def _ask(self, name: str, value: str) -> None:
        self._settings.ask(**{name: value})

    def _ask_range(self, _: object) -> None:
        kind = self.range_choice.currentData()
        limits = {}
        if boxes := self._boxes.get(kind):
            low, high = sorted(box.value() for box in boxes)
            limits = {"range_low": low, "range_high": high}
        self._settings.ask(range_kind=kind, **limits)

    def _lay_out(self) -> None:
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.addRow("Range", self.range_choice)
        self._rows: dict[str, QWidget] = {}
        for kind, (low, high) in self._boxes.items():
            self._rows[kind] = row_widget(low, QLabel("–"), high)
            self._form.addRow("From, to", self._rows[kind])
        self._form.addRow("Colours", self.colormap_choice)
        self._form.addRow("Colours", self.mix_choice)
        self._form.addRow("Spots as", self.shape_choice)
        self._form.addRow("Map strength", self.opacity)


def _strip(name: str) -> QIcon:
    steps = np.linspace(0, 1, ICON.width())
    colours = (ensure_colormap(name).map(steps)[:, :3] * 255).astype(np.uint8)
    pixels = np.broadcast_to(colours, (ICON.height(), *colours.shape))
    return QIcon(QPixmap.fromImage(image_of(pixels)))


def _show(boxes: list[QDoubleSpinBox], values: tuple[float, float]) -> None:
    """Show values, without asking for them."""
    for box, value in zip(boxes, values, strict=True):
        with QSignalBlocker(box):
            box.setValue(value)
