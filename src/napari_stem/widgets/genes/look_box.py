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
    from collections.abc import Mapping

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
IN_ORDER = "Keeps its order for colour-blind eyes"
COLORMAP_TIPS = {name: (name, IN_ORDER) for name in COLORMAPS} | {
    "turbo": ("turbo", "Vivid, but colour-blind eyes cannot order its colours")
}
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
# by the setting that they choose: title, what there is to choose from, and the tooltip of the whole
CHOICES: dict[str, tuple[str, Mapping[str, str | tuple[str, str]], str]] = {
    "range_kind": ("Range", RANGES, RANGE_TIP),
    "colormap": ("Colours", COLORMAP_TIPS, "Colours of the expression, from low to high"),
    "mix_colours": ("Colours", MIXES, MIX_TIP),
    "spot_shape": ("Spots as", SHAPES, SHAPE_TIP),
}


class LookBox(QWidget):
    """Asks how maps are drawn."""

    def __init__(self, settings: DisplaySettings) -> None:
        super().__init__()
        self._settings = settings
        whole, far = (0, 100), (-LARGEST_VALUE, LARGEST_VALUE)
        self.percents = [number(whole, at, decimals=1, suffix=" %") for at in (1, 99)]
        self.values = [number(far, at, decimals=3, step=0.1) for at in (0, 5)]
        self._boxes = {"percentile": self.percents, "fixed": self.values}
        self.choices = {
            name: choice(options, tip, partial(self._ask, name))
            for name, (_, options, tip) in CHOICES.items()
        }
        for place, name in enumerate(COLORMAPS):
            self.choices["colormap"].setItemIcon(place, _strip(name))
        self.choices["colormap"].setIconSize(ICON)
        self.opacity = slider((0, 100), 0, "How strongly the map covers the slide")
        self._lay_out()
        for box in (*self.percents, *self.values):
            box.setKeyboardTracking(False)
            box.valueChanged.connect(lambda _: self._ask("range_kind", settings.range_kind))
        self.opacity.valueChanged.connect(lambda value: settings.update(opacity_percent=value))

    def follow(self) -> None:
        """Show what the settings say."""
        settings = self._settings
        if boxes := self._boxes.get(settings.range_kind):
            _show(boxes, (settings.range_low, settings.range_high))
        for name, box in self.choices.items():
            box.setCurrentIndex(box.findData(getattr(settings, name)))
        self.opacity.setValue(settings.opacity_percent)
        is_mixed = settings.arrangement == MIX
        self._form.setRowVisible(self.choices["colormap"], not is_mixed)
        self._form.setRowVisible(self.choices["mix_colours"], is_mixed)
        for kind, shown in self._rows.items():
            self._form.setRowVisible(shown, settings.range_kind == kind)

    def suggest_fixed(self, low: float, high: float) -> None:
        """Where fixed values have not been chosen yet, start from what is on show."""
        if self._settings.range_kind != "fixed":
            _show(self.values, (low, high))

    def _ask(self, name: str, value: str) -> None:
        asked: dict[str, object] = {name: value}
        if boxes := self._boxes.get(value):
            asked["range_low"], asked["range_high"] = sorted(box.value() for box in boxes)
        self._settings.ask(**asked)

    def _lay_out(self) -> None:
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._rows = {kind: row_widget(a, QLabel("–"), b) for kind, (a, b) in self._boxes.items()}
        for name, (title, _, _) in CHOICES.items():
            self._form.addRow(title, self.choices[name])
            if name == "range_kind":
                for limits in self._rows.values():
                    self._form.addRow("From, to", limits)
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
