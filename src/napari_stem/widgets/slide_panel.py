"""Slide: which one, how large its pixels are, opening another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_stem.widgets.parts import note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.slide.base import Slide

FILE_FILTER = (
    "Slides (*.svs *.tif *.tiff *.ndpi *.scn *.bif *.qptiff *.jpg *.jpeg *.png);;All files (*)"
)
NO_SLIDE = "Open a slide to begin, or drag one into the window."


class SlidePanel(QWidget):
    """Asks for slides; knows their names, not the viewer."""

    open_requested = Signal(str)  # path
    sample_requested = Signal()
    slide_chosen = Signal(int)  # place in the list given to ``show_slides``
    pixel_size_requested = Signal(float)  # um per pixel

    def __init__(self, folder: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.folder = folder
        self.open_button = QPushButton("Open slide…")
        self.open_button.setToolTip("Open a whole-slide image: SVS, tiled or OME-TIFF, JPEG or PNG")
        self.sample_button = QPushButton("Open sample")
        self.sample_button.setToolTip("A breast cancer section (HER2ST, C5) that comes with Stem")
        self.choice = QComboBox()
        self.choice.setToolTip("The slide that regions, maps and export belong to")
        self.details = note(NO_SLIDE)
        self.pixel_size = QDoubleSpinBox()
        self.pixel_size_row = self._pixel_size_row()
        self.unusable = note("")
        self.progress_text = note("")
        self.progress = QProgressBar()
        self._lay_out()
        self.open_button.clicked.connect(self._ask_for_file)
        self.sample_button.clicked.connect(self.sample_requested)
        self.choice.activated.connect(self.slide_chosen)

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
        self.pixel_size_row.setVisible(slide is not None and slide.mpp is None)
        if slide is None:
            self.details.setText(NO_SLIDE)
            return
        pixels = f"{slide.size.width_px:,} × {slide.size.height_px:,} pixels"
        if slide.mpp is None:
            self.details.setText(
                f"{pixels}. The file does not say how large a pixel is: enter it to go on."
            )
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

    def _pixel_size_row(self) -> QWidget:
        self.pixel_size.setRange(0.01, 100.0)
        self.pixel_size.setDecimals(4)
        self.pixel_size.setSingleStep(0.05)
        self.pixel_size.setValue(0.5)
        self.pixel_size.setSuffix(" µm")
        self.pixel_size.setToolTip("About 0.25 µm for a 40× scan, 0.5 µm for a 20× scan")
        row = QWidget()
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(QLabel("Pixel size"))
        layout.addWidget(self.pixel_size, 1)
        self.pixel_size_button = QPushButton("Use")
        self.pixel_size_button.clicked.connect(self._request_pixel_size)
        layout.addWidget(self.pixel_size_button)
        return row

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.addWidget(self.open_button)
        buttons.addWidget(self.sample_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        for widget in (
            self.choice,
            self.details,
            self.pixel_size_row,
            self.unusable,
            self.progress_text,
            self.progress,
        ):
            layout.addWidget(widget)
        self.show_slides([], -1)
        self.show_details(None)
        self.show_unusable([])
        self.show_busy("")

    def _request_pixel_size(self) -> None:
        self.pixel_size_requested.emit(self.pixel_size.value())

    def _ask_for_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open slide", self.folder, FILE_FILTER)
        if path:
            self.folder = str(Path(path).parent)
            self.open_requested.emit(path)
