"""Slide: which one, how large its pixels are, opening another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_stem.widgets.common.keys import WHOLE_SLIDE
from napari_stem.widgets.common.parts import note
from napari_stem.widgets.slide.overview import Overview
from napari_stem.widgets.slide.pixel_size_box import PixelSizeBox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.slide.base import Slide

FILE_FILTER = (
    "Slides (*.svs *.tif *.tiff *.btf *.ndpi *.scn *.bif *.qptiff *.mrxs *.dcm *.vms *.czi *.jpg *.jpeg *.png "
    "*.jp2 *.bmp *.webp);;All files (*)"
)


CHANGE = "For slides whose file is wrong about it; regions stay where they are on the picture"
KEPT = "The slide is being predicted with this pixel size; cancel the run, or wait for its end"


class SlidePanel(QWidget):
    """Asks for slides; knows their names, not the viewer."""

    open_requested = Signal(str)  # path
    sample_requested = Signal()
    slide_chosen = Signal(int)  # place in the list given to ``show_slides``
    pixel_size_requested = Signal(float)  # um per pixel
    measure_requested = Signal()
    measured = Signal(float)  # um of the line that was drawn
    fit_requested = Signal()
    associated_requested = Signal()

    def __init__(self, folder: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.folder = folder
        self.open_button = QPushButton("Open slide…")
        self.open_button.setToolTip("Open a whole-slide image, or drag one onto this panel")
        self.sample_button = QPushButton("Open sample")
        self.sample_button.setToolTip("A breast cancer section (HER2ST, C5) that comes with Stem")
        self.choice = QComboBox()
        self.choice.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.choice.setToolTip("The slide that regions, maps and export belong to")
        self.details = note("")
        self.pixel_size = PixelSizeBox()
        self.change_button = QPushButton("Change pixel size…")
        self.change_button.setToolTip(CHANGE)
        self.overview = Overview()
        self.fit_button = QPushButton("Whole slide")
        self.fit_button.setToolTip(f"Show all of the slide ({WHOLE_SLIDE.sequence})")
        self.associated_button = QPushButton("Label and macro…")
        self.associated_button.setToolTip(
            "The images that the scanner took beside the slide; the label may name the patient"
        )
        self.preparing = note("")
        self.unusable = note("")
        self.progress_text = note("")
        self.progress = QProgressBar()
        self._lay_out()
        self.open_button.clicked.connect(self._ask_for_file)
        self.sample_button.clicked.connect(self.sample_requested)
        self.choice.activated.connect(self.slide_chosen)
        self.change_button.clicked.connect(self._change)
        self.fit_button.clicked.connect(self.fit_requested)
        self.associated_button.clicked.connect(self.associated_requested)
        self.pixel_size.stated.connect(self.pixel_size_requested)
        self.pixel_size.measure_requested.connect(self.measure_requested)
        self.pixel_size.measured.connect(self.measured)

    def show_slides(self, names: Sequence[str], chosen: int) -> None:
        """List the open slides; ``chosen`` is -1 where there is none."""
        self.choice.blockSignals(True)
        self.choice.clear()
        self.choice.addItems(list(names))
        self.choice.setCurrentIndex(chosen)
        self.choice.blockSignals(False)
        self.choice.setVisible(bool(names))

    def show_details(self, slide: Slide | None) -> None:
        """Say how large the slide is, and ask for its pixel size where it is unknown."""
        self.pixel_size.ask(None if slide is None else slide.mpp)
        self.pixel_size.setVisible(slide is not None and slide.mpp is None)
        self.change_button.setVisible(slide is not None and slide.mpp is not None)
        self.details.setVisible(slide is not None)
        self.fit_button.setVisible(slide is not None)
        self.associated_button.setVisible(slide is not None and bool(slide.associated))
        if slide is None:
            return
        pixels = f"{slide.size.width_px:,} × {slide.size.height_px:,} pixels"
        if slide.mpp is None:
            self.details.setText(f"{pixels}. The file does not say how large a pixel is.")
            return
        width_mm = slide.size.width_px * slide.mpp.x_um / 1000
        height_mm = slide.size.height_px * slide.mpp.y_um / 1000
        self.details.setText(
            f"{width_mm:.1f} × {height_mm:.1f} mm, {pixels}, {slide.mpp.x_um:.3f} µm per pixel"
        )

    def show_unusable(self, sentences: Sequence[str]) -> None:
        """Say of other images in the viewer why they cannot be used."""
        self.unusable.setText("\n".join(sentences))
        self.unusable.setVisible(bool(sentences))

    def show_busy(self, text: str, done: int = 0, total: int = 0) -> None:
        """Show that a slide is being opened; no text: none is."""
        busy = bool(text)
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        self.progress.setVisible(busy)
        self.progress_text.setText(text)
        self.progress_text.setVisible(busy)
        self.open_button.setEnabled(not busy)
        self.sample_button.setEnabled(not busy)

    def show_preparing(self, text: str, done: int = 0, total: int = 0) -> None:
        """Say how far a slide is that is seen already; no text: it is ready."""
        share = f" ({done / total:.0%})" if total > 1 else ""
        self.preparing.setText(f"{text}{share}" if text else "")
        self.preparing.setVisible(bool(text))

    def show_measured(self, length_px: float) -> None:
        """Ask how long the line is that was drawn on the slide."""
        self.pixel_size.show_measured(length_px)

    def keep_pixel_size(self, *, is_kept: bool) -> None:
        """Offer no other pixel size while something is being predicted with this one."""
        for widget in (self.change_button, self.pixel_size):
            widget.setEnabled(not is_kept)
        self.change_button.setToolTip(KEPT if is_kept else CHANGE)

    def _change(self) -> None:
        self.pixel_size.setVisible(True)
        self.change_button.setVisible(False)

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.addWidget(self.open_button)
        buttons.addWidget(self.sample_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        looking = QHBoxLayout()
        looking.addWidget(self.fit_button)
        looking.addWidget(self.associated_button)
        for widget in (self.choice, self.overview):
            layout.addWidget(widget)
        layout.addLayout(looking)
        for widget in (
            self.preparing,
            self.details,
            self.change_button,
            self.pixel_size,
            self.unusable,
            self.progress_text,
            self.progress,
        ):
            layout.addWidget(widget)
        self.show_slides([], -1)
        self.show_details(None)
        self.show_unusable([])
        self.show_busy("")
        self.show_preparing("")
        self.overview.setVisible(False)

    def _ask_for_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open slide", self.folder, FILE_FILTER)
        if path:
            self.folder = str(Path(path).parent)
            self.open_requested.emit(path)
