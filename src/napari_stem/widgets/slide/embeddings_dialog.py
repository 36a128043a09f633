"""Asks for a file of embeddings, and for what such files do not always say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_stem.widgets.common.parts import button, note, row

if TYPE_CHECKING:
    from napari_stem.encoders.precomputed import Stated

FILES = "Embeddings (*.h5 *.hdf5 *.h5ad *.pt *.npz);;All files (*)"
PLACES = "Places of patches (*.h5 *.hdf5 *.npz *.npy);;All files (*)"
AS_FILE_SAYS = "as the file says"


class EmbeddingsDialog(QDialog):
    """One file, and four fields that may stay empty."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Embeddings of this slide, from a file")
        self.path = _line("file, or a folder that ends in .zarr")
        self.encoder = _line(f"{AS_FILE_SAYS}; such as uni")
        self.places = _line(AS_FILE_SAYS)
        self.side_px = _number(
            " px", AS_FILE_SAYS, "Side of a patch in pixels of the slide's finest level"
        )
        self.tolerance_um = _number(
            " µm",
            "a tenth of a patch",
            "How far a patch's centre may lie from the spot it stands for",
        )
        self.folder_button = button(
            "Folder…", "LazySlide keeps its results in a folder that ends in .zarr"
        )
        standard = QDialogButtonBox.StandardButton
        self.buttons = QDialogButtonBox(standard.Ok | standard.Cancel)
        self._ok = self.buttons.button(standard.Ok)
        self._ok.setEnabled(False)
        self._lay_out()
        self.setMinimumWidth(460)
        self.folder_button.clicked.connect(self._ask_for_folder)
        self.path.textChanged.connect(lambda text: self._ok.setEnabled(bool(text.strip())))
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)

    def chosen(self) -> tuple[Path, Stated]:
        """File, and what it does not say."""
        from napari_stem.encoders.precomputed import Stated

        places = self.places.text().strip()
        return Path(self.path.text().strip()), Stated(
            encoder=self.encoder.text().strip() or None,
            patch_px=self.side_px.value() or None,
            coordinates=Path(places) if places else None,
            tolerance_um=self.tolerance_um.value() or None,
        )

    def _lay_out(self) -> None:
        form = QFormLayout()
        line = self._with_button(self.path, FILES)
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

        asking = button("…")
        asking.clicked.connect(ask)
        return row(field, asking, stretched=0)


def _line(placeholder: str) -> QLineEdit:
    field = QLineEdit()
    field.setPlaceholderText(placeholder)
    return field


def _number(suffix: str, empty: str, tip: str) -> QDoubleSpinBox:
    """Make a field for a length; 0 stands for what ``empty`` says."""
    box = QDoubleSpinBox()
    box.setRange(0, 100_000)
    box.setDecimals(1)
    box.setSuffix(suffix)
    box.setSpecialValueText(empty)
    box.setToolTip(tip)
    return box
