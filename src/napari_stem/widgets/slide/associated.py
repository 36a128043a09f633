"""The images that a scanner took beside a slide: its label, which may name a patient, and the whole glass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QLabel, QScrollArea, QVBoxLayout, QWidget

from napari_stem.widgets.common.parts import Note, close_button, stack
from napari_stem.widgets.common.pictures import pixmap_within

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from napari_stem.slide.base import Slide

WARNING = (
    "The label may show a patient's name or number. These images are shown here only: they go into "
    "no export, report or session."
)
LONGEST_PX = 420  # of an image in the window
SIZE_PX = (480, 640)
TITLES = {"label": "Label", "macro": "Macro (the whole glass)", "thumbnail": "Thumbnail"}


def associated_pixels(slide: Slide) -> dict[str, NDArray[np.uint8]]:
    """Read the images beside a slide, the label first: (h, w, 3) uint8 by name.

    SlideError where one is damaged.
    """
    names = sorted(slide.associated, key=lambda name: (name != "label", name != "macro", name))
    return {name: slide.associated[name].whole() for name in names}


class AssociatedBox(QDialog):
    """Shows the images beside a slide, (h, w, 3) uint8 by name, with a warning; ``title`` names the slide."""

    def __init__(
        self, title: str, images: Mapping[str, NDArray[np.uint8]], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"Label and macro of {title}")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.pictures: dict[str, QLabel] = {}
        held = QWidget()
        rows = QVBoxLayout(held)
        for name, pixels in images.items():
            rows.addWidget(QLabel(TITLES.get(name, name.capitalize())))
            self.pictures[name] = _picture(pixels, self.devicePixelRatioF())
            rows.addWidget(self.pictures[name])
        rows.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setWidget(held)
        stack(self, Note(WARNING), scroll, close_button(self), stretched=1, is_window=True)
        self.resize(*SIZE_PX)


def _picture(pixels: NDArray[np.uint8], ratio: float) -> QLabel:
    pixmap = pixmap_within(pixels, min(round(LONGEST_PX * ratio), max(pixels.shape)))
    pixmap.setDevicePixelRatio(ratio)
    label = QLabel()
    label.setPixmap(pixmap)
    return label
