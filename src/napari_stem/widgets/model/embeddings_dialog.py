"""Asks for a file of embeddings, and for what such files do not always say."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_stem.widgets.common.parts import note

FILES = "Embeddings (*.h5 *.hdf5 *.h5ad *.pt *.npz);;All files (*)"
PLACES = "Places of patches (*.h5 *.hdf5 *.npz *.npy);;All files (*)"
AS_FILE_SAYS = "as the file says"


class EmbeddingsDialog(QDialog):
    """One file, and four fields that may stay empty."""

    chosen = Signal(object, object)  # path, `napari_stem.encoders.precomputed.Stated`

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Embeddings of this slide, from a file")
        self.path, self.encoder, self.places = QLineEdit(), QLineEdit(), QLineEdit()
        self.path.setPlaceholderText("file, or a folder that ends in .zarr")
        self.encoder.setPlaceholderText(f"{AS_FILE_SAYS}; such as uni")
        self.places.setPlaceholderText(AS_FILE_SAYS)
        self.side_px, self.tolerance_um = QDoubleSpinBox(), QDoubleSpinBox()
        for box, suffix, empty in (
            (self.side_px, " px", AS_FILE_SAYS),
            (self.tolerance_um, " µm", "a tenth of a patch"),
        ):
            box.setRange(0, 100_000)
            box.setDecimals(1)
            box.setSuffix(suffix)
            box.setSpecialValueText(empty)
        self.side_px.setToolTip("Side of a patch in pixels of the slide's finest level")
        self.tolerance_um.setToolTip("How far a patch's centre may lie from the spot it stands for")
        standard = QDialogButtonBox.StandardButton
        self.buttons = QDialogButtonBox(standard.Ok | standard.Cancel)
        self._ok = self.buttons.button(standard.Ok)
        self._ok.setEnabled(False)
        self._lay_out()
        self.setMinimumWidth(460)
        self.path.textChanged.connect(lambda text: self._ok.setEnabled(bool(text.strip())))
        self.buttons.accepted.connect(self._hand_on)
        self.buttons.rejected.connect(self.reject)

    def _hand_on(self) -> None:
        from napari_stem.encoders.precomputed import Stated

        places = self.places.text().strip()
        stated = Stated(
            encoder=self.encoder.text().strip() or None,
            patch_px=self.side_px.value() or None,
            coordinates=Path(places) if places else None,
            tolerance_um=self.tolerance_um.value() or None,
        )
        self.accept()
        self.chosen.emit(Path(self.path.text().strip()), stated)

    def _lay_out(self) -> None:
        form = QFormLayout()
        line = self._with_button(self.path, FILES)
        self.folder_button = QPushButton("Folder…")
        self.folder_button.setToolTip("LazySlide keeps its results in a folder that ends in .zarr")
        self.folder_button.clicked.connect(self._ask_for_folder)
        line.addWidget(self.folder_button)
        form.addRow("File", line)
        form.addRow("Made by", self.encoder)
        form.addRow("Patch side", self.side_px)
        form.addRow("Places", self._with_button(self.places, PLACES))
        form.addRow("Tolerance", self.tolerance_um)
        layout = QVBoxLayout(self)
        layout.addWidget(
            note(
                "HDF5 of CLAM or TRIDENT, a LazySlide store or AnnData, files of slide2vec. They must come "
                "from the encoder that the model was trained with."
            )
        )
        layout.addLayout(form)
        layout.addWidget(self.buttons)

    def _ask_for_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Choose a .zarr folder", self.path.text())
        if chosen:
            self.path.setText(chosen)

    def _with_button(self, field: QLineEdit, files: str) -> QHBoxLayout:
        def ask() -> None:
            chosen, _ = QFileDialog.getOpenFileName(self, "Choose a file", field.text(), files)
            if chosen:
                field.setText(chosen)

        button = QPushButton("…")
        button.clicked.connect(ask)
        line = QHBoxLayout()
        line.addWidget(field, 1)
        line.addWidget(button)
        return line
