"""The pixel size of a slide: asked for, or measured along something of known length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QLabel, QPushButton, QWidget

from napari_stem.widgets.common.form import number
from napari_stem.widgets.common.parts import Note, button, row, row_widget, stack

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image, Shapes
    from napari.viewer import Viewer

    from napari_stem.geometry import Mpp

OBJECTIVES_UM = {"40×": 0.25, "20×": 0.5, "10×": 1.0}  # as most scanners have them
EXPLANATION = (
    "How large is a pixel? Choose the objective it was scanned with, enter the size, or measure "
    "something of known length, such as a scale bar."
)
CHANGE = "For slides whose file is wrong about it; regions stay where they are on the picture"
KEPT = "The slide is being predicted with this pixel size; cancel the run, or wait for its end"

DECIMALS = 4  # of the field
LEAST_UM, MOST_UM = 0.01, 100.0  # of a pixel, as measured along a line
EDGE_PIXELS, SCREEN_PIXELS = 4, 800  # width of the ruler on a screen that shows the whole slide


class PixelSizeBox(QWidget):
    """Asks for a pixel size in the three ways in which people know it; ``stated`` takes it, in um per pixel."""

    def __init__(self, viewer: Viewer, stated: Callable[[float], None]) -> None:
        super().__init__()
        self._viewer, self._stated = viewer, stated
        self._layer: Image | None = None  # that shows the slide
        self._ruler: Shapes | None = None  # a line is drawn in it along something of known length
        # shown in its place where the size is known, until it is asked for again
        self.change_button = button("Change pixel size…", CHANGE, self._change)
        self.explanation = Note(EXPLANATION)
        self.objectives: dict[str, QPushButton] = {}
        for title, um in OBJECTIVES_UM.items():
            tip = f"Scanned with a {title} objective: {um:g} µm per pixel"
            self.objectives[title] = button(title, tip, lambda *_, um=um: stated(um))
        self.value = number(
            (0, 100), 0.5, decimals=DECIMALS, suffix=" µm", step=0.05, empty="not known"
        )
        self.use_button = button("Use", act=lambda: self._stated(self.value.value()))
        self.measure_button = button(
            "Measure a known length…",
            "Draw a line on the slide and say how long it is",
            self._measure,
        )
        # of the line that was drawn
        self.length = number((0.1, 100_000), 1000, decimals=1, suffix=" µm", step=100)
        self.length_button = button("Use", act=self._use_measured)
        self.length_row = row_widget(
            QLabel("Its length"), self.length, self.length_button, stretched=1
        )
        stack(
            self,
            self.explanation,
            row(*self.objectives.values()),
            row(QLabel("Pixel size"), self.value, self.use_button, stretched=1),
            self.measure_button,
            self.length_row,
        )
        self.value.valueChanged.connect(lambda value: self.use_button.setEnabled(value > 0))
        self.ask(None, None)

    def ask(self, mpp: Mpp | None, layer: Image | None) -> None:
        """Begin anew, at the pixel size that is known of the slide that a layer shows."""
        is_other, self._layer = layer is not self._layer, layer
        if is_other:  # a line on another slide is of other pixels
            self.put_ruler_away()
        self.setVisible(layer is not None and mpp is None)
        self.change_button.setVisible(layer is not None and mpp is not None)
        self.explanation.setText(EXPLANATION)
        self.length_row.setVisible(False)
        self.value.setValue(0.0 if mpp is None else mpp.x_um)
        self.use_button.setEnabled(mpp is not None)

    def keep(self, *, is_kept: bool) -> None:
        """Offer no other pixel size while something is being predicted with this one."""
        for widget in (self.change_button, self):
            widget.setEnabled(not is_kept)
        self.change_button.setToolTip(KEPT if is_kept else CHANGE)

    def _change(self) -> None:
        self.setVisible(True)
        self.change_button.setVisible(False)

    def _measure(self) -> None:
        """Hand the user a ruler."""
        self.explanation.setText("Drag a line along something of known length on the slide.")
        self.put_ruler_away()
        slide_layer = self._layer
        if slide_layer is None:
            return
        width = EDGE_PIXELS * max(slide_layer.level_shapes[0][:2]) / SCREEN_PIXELS
        self._ruler = ruler = self._viewer.add_shapes(
            ndim=2,
            name="Known length",
            edge_color="#0077bb",
            edge_width=width,
            scale=slide_layer.scale,
            translate=slide_layer.translate,
            affine=slide_layer.affine,
            units=slide_layer.units,
            axis_labels=slide_layer.axis_labels,
        )
        ruler.current_edge_width = width
        ruler.events.data.connect(self._show_measured)
        self._viewer.layers.selection.active = ruler
        ruler.mode = "add_line"

    def put_ruler_away(self) -> None:
        """Take the ruler and its line away."""
        ruler, self._ruler = self._ruler, None
        if ruler is None:
            return
        layers, is_in_hand = self._viewer.layers, self._viewer.layers.selection.active is ruler
        if ruler in layers:
            layers.remove(ruler)
        if is_in_hand and self._layer in layers:
            layers.selection.active = self._layer

    def _show_measured(self, event: Any) -> None:
        if length_px := self._length_px():
            length = f"{length_px:,.0f}"
            self.explanation.setText(f"The line is {length} pixels long. How long is it really?")
            self.length_row.setVisible(True)

    def _use_measured(self) -> None:
        length_px = self._length_px()
        self.put_ruler_away()
        if length_px:
            self._stated(min(MOST_UM, max(LEAST_UM, self.length.value() / length_px)))

    def _length_px(self) -> float:
        """Length of the line that was drawn last, in level-0 px; 0 where there is none."""
        lines = self._ruler.data if self._ruler is not None else []
        return float(np.linalg.norm(np.subtract(*lines[-1][:2]))) if lines else 0.0


def is_said(mpp: Mpp, stated_um: float) -> bool:
    """Whether a size, as it is said in sentences or stands in the field, is the one that was stated."""
    said = float(f"{mpp.x_um:.3g}"), round(mpp.x_um, DECIMALS)
    return any(abs(each - stated_um) < 1e-9 for each in said)
