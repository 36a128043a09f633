"""How maps look: the range and the kind of colours, the shape of spots, how strongly they cover the slide."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QSlider,
    QWidget,
)

from napari_stem.layers import ColourRange

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_stem.layers import SpotShape
    from napari_stem.layers.colours import RangeKind

RANGES: dict[str, RangeKind] = {
    "Each gene's own range": "gene",
    "One range for all genes": "all",
    "Percentiles of each gene": "percentile",
    "Fixed values": "fixed",
}
RANGE_TIP = (
    "Own range: 1st to 99th percentile of each gene.\nOne range: the same colours mean the same "
    "values for every gene.\nPercentiles: of each gene, as you choose.\nFixed: the values you type, or "
    "set with napari's contrast limits, for every gene."
)
COLORMAPS = ("viridis", "magma", "inferno", "cividis", "turbo")  # turbo: not for colour-blind eyes
COLORMAP_TIPS = {"turbo": "Vivid, but colour-blind eyes cannot order its colours"}
SHAPES = {"Squares": "square", "Circles": "circle"}
ICON = QSize(48, 12)
LARGEST_VALUE = 1e6


@dataclass(frozen=True)
class MapLook:
    """How maps are drawn.

    Attributes
    ----------
    colours, colormap
        How the limits of the colours are chosen, and the colours of the expression.
    shape
        Of the spots.
    opacity_percent
        How strongly maps cover the slide.
    """

    colours: ColourRange = field(default_factory=ColourRange)
    colormap: str = COLORMAPS[0]
    shape: SpotShape = "square"
    opacity_percent: int = 70

    def as_names(self) -> dict[str, Any]:
        """Return it as plain names and numbers, for files."""
        return {
            "range_kind": self.colours.kind,
            "range_low": self.colours.low,
            "range_high": self.colours.high,
            "colormap": self.colormap,
            "spot_shape": self.shape,
            "opacity_percent": self.opacity_percent,
        }

    @classmethod
    def of_names(cls, told: Mapping[str, Any]) -> MapLook:
        """Read what `as_names` wrote; what is missing or unknown is at its default."""
        usual = cls()
        kind = next((kind for kind in RANGES.values() if kind == told.get("range_kind")), None)
        colours = usual.colours
        low, high = _number(told.get("range_low")), _number(told.get("range_high"))
        if kind is not None and low is not None and high is not None:
            colours = ColourRange(kind, low, high)
        colormap, percent = told.get("colormap"), _number(told.get("opacity_percent"))
        return cls(
            colours,
            str(colormap) if colormap in COLORMAPS else usual.colormap,
            "circle" if told.get("spot_shape") == "circle" else "square",
            usual.opacity_percent if percent is None else int(percent),
        )


class MapLookBox(QWidget):
    """Asks how maps are drawn."""

    changed = Signal()
    opacity_changed = Signal(float)  # 0 to 1

    def __init__(self, opacity_percent: int = 70, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.range_choice, self.colormap_choice, self.shape_choice = (
            QComboBox(),
            QComboBox(),
            QComboBox(),
        )
        self.percents = _pair(0, 100, (1, 99), decimals=1, suffix=" %")
        self.values = _pair(-LARGEST_VALUE, LARGEST_VALUE, (0, 5), decimals=3, suffix="")
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setValue(opacity_percent)
        self.opacity.setToolTip("How strongly the map covers the slide")
        self._fill()
        self._lay_out()
        self.range_choice.activated.connect(self._on_range)
        for box in (*self.percents, *self.values):
            box.valueChanged.connect(self._tell)
        self.colormap_choice.activated.connect(self._tell)
        self.shape_choice.activated.connect(self._tell)
        self.opacity.valueChanged.connect(self._tell_opacity)
        self._show_rows()

    def colours(self) -> ColourRange:
        """How the limits of the colours are chosen."""
        kind = self.range_choice.currentData()
        pair = {"percentile": self.percents, "fixed": self.values}.get(kind)
        if pair is None:
            return ColourRange(kind)
        low, high = sorted(box.value() for box in pair)
        return ColourRange(kind, low, high)

    def colormap(self) -> str:
        """Name of the colours of the expression."""
        return str(self.colormap_choice.currentData())

    def shape(self) -> SpotShape:
        """Squares or circles."""
        return "circle" if self.shape_choice.currentData() == "circle" else "square"

    def look(self) -> MapLook:
        """Return all of it."""
        return MapLook(self.colours(), self.colormap(), self.shape(), int(self.opacity.value()))

    def show_look(self, look: MapLook) -> None:
        """Show another look, without asking for it; its opacity is asked for where it differs."""
        boxes = {"percentile": self.percents, "fixed": self.values}.get(look.colours.kind, ())
        for box, value in zip(boxes, (look.colours.low, look.colours.high), strict=False):
            with QSignalBlocker(box):
                box.setValue(value)
        for choice, data in (
            (self.range_choice, look.colours.kind),
            (self.colormap_choice, look.colormap),
            (self.shape_choice, look.shape),
        ):
            choice.setCurrentIndex(choice.findData(data))
        self.opacity.setValue(look.opacity_percent)
        self._show_rows()

    def show_fixed(self, low: float, high: float) -> None:
        """Show limits that the user has set elsewhere, without asking for them."""
        self.range_choice.setCurrentIndex(self.range_choice.findData("fixed"))
        self._type_fixed(low, high)
        self._show_rows()

    def suggest_fixed(self, low: float, high: float) -> None:
        """Where fixed values have not been chosen yet, start from what is on show."""
        if self.range_choice.currentData() != "fixed":
            self._type_fixed(low, high)

    def _type_fixed(self, low: float, high: float) -> None:
        for box, value in zip(self.values, (low, high), strict=True):
            with QSignalBlocker(box):
                box.setValue(value)

    def _fill(self) -> None:
        for title, kind in RANGES.items():
            self.range_choice.addItem(title, kind)
        self.range_choice.setToolTip(RANGE_TIP)
        for name in COLORMAPS:
            self.colormap_choice.addItem(_strip(name), name, name)
            tip = COLORMAP_TIPS.get(name, "Keeps its order for colour-blind eyes")
            self.colormap_choice.setItemData(self.colormap_choice.count() - 1, tip, 3)  # tool tip
        self.colormap_choice.setIconSize(ICON)
        self.colormap_choice.setToolTip("Colours of the expression, from low to high")
        for title, shape in SHAPES.items():
            self.shape_choice.addItem(title, shape)
        self.shape_choice.setToolTip(
            "Squares fill the grid of spots. Circles have the spots' true diameter, as on the slide; "
            "where there are too many for circles, squares remain."
        )

    def _lay_out(self) -> None:
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.addRow("Range", self.range_choice)
        self._percent_row, self._value_row = _row(self.percents), _row(self.values)
        self._form.addRow("From, to", self._percent_row)
        self._form.addRow("From, to", self._value_row)
        self._form.addRow("Colours", self.colormap_choice)
        self._form.addRow("Spots as", self.shape_choice)
        self._form.addRow("Map strength", self.opacity)

    def _show_rows(self) -> None:
        kind = self.range_choice.currentData()
        self._form.setRowVisible(self._percent_row, kind == "percentile")
        self._form.setRowVisible(self._value_row, kind == "fixed")

    def _on_range(self) -> None:
        self._show_rows()
        self.changed.emit()

    def _tell(self) -> None:
        self.changed.emit()

    def _tell_opacity(self, percent: int) -> None:
        self.opacity_changed.emit(percent / 100)


def _pair(
    lowest: float, highest: float, values: tuple[float, float], *, decimals: int, suffix: str
) -> tuple[QDoubleSpinBox, QDoubleSpinBox]:
    boxes = QDoubleSpinBox(), QDoubleSpinBox()
    for box, value in zip(boxes, values, strict=True):
        box.setRange(lowest, highest)
        box.setDecimals(decimals)
        box.setSuffix(suffix)
        box.setValue(value)
        box.setSingleStep(1 if suffix else 0.1)
        box.setKeyboardTracking(False)
    return boxes


def _row(boxes: tuple[QDoubleSpinBox, QDoubleSpinBox]) -> QWidget:
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(boxes[0], 1)
    layout.addWidget(QLabel("–"))
    layout.addWidget(boxes[1], 1)
    return row


def _strip(name: str) -> QIcon:
    """Strip of a colormap, from low to high."""
    from napari.utils.colormaps import ensure_colormap

    steps = np.linspace(0, 1, ICON.width())
    colours = (ensure_colormap(name).map(steps)[:, :3] * 255).astype(np.uint8)
    pixels = np.ascontiguousarray(np.broadcast_to(colours, (ICON.height(), *colours.shape)))
    image = QImage(
        pixels.data, ICON.width(), ICON.height(), 3 * ICON.width(), QImage.Format.Format_RGB888
    )
    return QIcon(QPixmap.fromImage(image.copy()))


def _number(value: object) -> float | None:
    """Return a finite number, None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if np.isfinite(value) else None
