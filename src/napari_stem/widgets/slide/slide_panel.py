"""Slide: which one, how large its pixels are, opening another; its label and macro images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QDialog, QLabel, QScrollArea, QVBoxLayout, QWidget

from napari_stem.widgets.common.keys import WHOLE_SLIDE
from napari_stem.widgets.common.parts import Note, ProgressBar, button, close_button, row, stack
from napari_stem.widgets.common.pictures import pixmap_within
from napari_stem.widgets.slide.overview import Overview
from napari_stem.widgets.slide.pixel_size import PixelSizeBox

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_stem.slide.base import Slide

CHANGE = "For slides whose file is wrong about it; regions stay where they are on the picture"
WARNING = (
    "The label may show a patient's name or number. These images are shown here only: they go into "
    "no export, report or session."
)
LONGEST_PX = 420  # of an image in the window
SIZE_PX = (480, 640)
TITLES = {"label": "Label", "macro": "Macro (the whole glass)", "thumbnail": "Thumbnail"}
KEPT = "The slide is being predicted with this pixel size; cancel the run, or wait for its end"


class SlidePanel(QWidget):
    """Shows slides by name, how large the chosen one is, and how far it has been opened."""

    def __init__(self, folder: str = "") -> None:
        super().__init__()
        self.folder = folder
        self.open_button = button(
            "Open slide…", "Open a whole-slide image, or drag one onto this panel"
        )
        self.sample_button = button(
            "Open sample", "A breast cancer section (HER2ST, C5) that comes with Stem"
        )
        self.choice = QComboBox()
        self.choice.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.choice.setToolTip("The slide that regions, maps and export belong to")
        self.back_button = button("", "Show it again, with its regions and maps")
        self.overview = Overview()
        self.fit_button = button("Whole slide", f"Show all of the slide ({WHOLE_SLIDE.sequence})")
        self.associated_button = button(
            "Label and macro…",
            "The images that the scanner took beside the slide; the label may name the patient",
        )
        self.pixel_size = PixelSizeBox()
        self.change_button = button("Change pixel size…", CHANGE)
        self.details, self.preparing = Note(), Note()
        self.unusable, self.progress_text = Note(), Note()
        self.progress = ProgressBar()
        stack(
            self,
            row(self.open_button, self.sample_button),
            self.back_button,
            self.choice,
            self.overview,
            row(self.fit_button, self.associated_button),
            self.preparing,
            self.details,
            self.change_button,
            self.pixel_size,
            self.unusable,
            self.progress_text,
            self.progress,
        )
        self.show_slides([], -1)
        self.offer_back("")
        self.show_details(None)
        self.show_unusable([])
        self.show_busy("")
        self.show_preparing("")
        self.overview.setVisible(False)
        self.change_button.clicked.connect(self._change)

    def show_slides(self, names: Sequence[str], chosen: int) -> None:
        """List the open slides; ``chosen`` is -1 where there is none."""
        self.choice.clear()
        self.choice.addItems(list(names))
        self.choice.setCurrentIndex(chosen)
        self.choice.setVisible(bool(names))

    def offer_back(self, name: str) -> None:
        """Offer to undo the removal of a slide; an empty name: of none."""
        self.back_button.setText(f"Bring back {name}")
        self.back_button.setVisible(bool(name))

    def show_details(self, slide: Slide | None) -> None:
        """Say how large the slide is, and ask for its pixel size where it is unknown."""
        self.pixel_size.ask(None if slide is None else slide.mpp)
        self.pixel_size.setVisible(slide is not None and slide.mpp is None)
        self.change_button.setVisible(slide is not None and slide.mpp is not None)
        self.fit_button.setVisible(slide is not None)
        self.associated_button.setVisible(slide is not None and bool(slide.associated))
        self.details.say("" if slide is None else _size_of(slide))

    def show_unusable(self, sentences: Sequence[str]) -> None:
        """Say of other images in the viewer why they cannot be used."""
        self.unusable.say("\n".join(sentences))

    def show_busy(self, text: str, done: int = 0, total: int = 0) -> None:
        """Show that a slide is being opened; no text: none is."""
        self.progress.show_share(done, total)
        self.progress.setVisible(bool(text))
        self.progress_text.say(text)
        self.open_button.setEnabled(not text)
        self.sample_button.setEnabled(not text)

    def show_preparing(self, text: str, done: int = 0, total: int = 0) -> None:
        """Say how far a slide is that is seen already; no text: it is ready."""
        share = f" ({done / total:.0%})" if total > 1 else ""
        self.preparing.say(f"{text}{share}" if text else "")

    def keep_pixel_size(self, *, is_kept: bool) -> None:
        """Offer no other pixel size while something is being predicted with this one."""
        for widget in (self.change_button, self.pixel_size):
            widget.setEnabled(not is_kept)
        self.change_button.setToolTip(KEPT if is_kept else CHANGE)

    def _change(self) -> None:
        self.pixel_size.setVisible(True)
        self.change_button.setVisible(False)


def _size_of(slide: Slide) -> str:
    pixels = f"{slide.size.width_px:,} × {slide.size.height_px:,} pixels"
    if slide.mpp is None:
        return f"{pixels}. The file does not say how large a pixel is."
    width_mm = slide.size.width_px * slide.mpp.x_um / 1000
    height_mm = slide.size.height_px * slide.mpp.y_um / 1000
    return f"{width_mm:.1f} × {height_mm:.1f} mm, {pixels}, {slide.mpp.x_um:.3f} µm per pixel"


def associated_pixels(slide: Slide) -> dict[str, NDArray[np.uint8]]:
    """Read the images beside a slide, the label first: (h, w, 3) uint8 by name.

    Raises
    ------
    SlideError
        One is damaged.
    """
    names = sorted(slide.associated, key=lambda name: (name != "label", name != "macro", name))
    return {name: slide.associated[name][:, :, :] for name in names}


class AssociatedBox(QDialog):
    """Shows the images, with a warning.

    Parameters
    ----------
    title
        Name of the slide.
    images
        (h, w, 3) uint8 by name.
    """

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
        layout = QVBoxLayout(self)
        layout.addWidget(Note(WARNING))
        layout.addWidget(scroll, 1)
        layout.addWidget(close_button(self))
        self.resize(*SIZE_PX)


def _picture(pixels: NDArray[np.uint8], ratio: float) -> QLabel:
    pixmap = pixmap_within(pixels, min(round(LONGEST_PX * ratio), max(pixels.shape)))
    pixmap.setDevicePixelRatio(ratio)
    label = QLabel()
    label.setPixmap(pixmap)
    return label
