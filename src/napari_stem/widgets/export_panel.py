"""Export: save a prediction for other programs."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_stem.widgets.parts import note

FORMATS = {
    ".h5ad": ("Save as .h5ad…", "One AnnData file, for scanpy, squidpy and R"),
    ".zarr": ("Save as .zarr…", "An AnnData folder, for large slides and the web"),
}


class ExportPanel(QWidget):
    """Asks where to save."""

    export_requested = Signal(str)  # path, ending in .h5ad or .zarr

    def __init__(self, folder: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.folder = folder
        self.suggested_name = "prediction"
        self.message = note("")
        self.buttons: dict[str, QPushButton] = {}
        row = QHBoxLayout()
        for suffix, (title, tip) in FORMATS.items():
            button = QPushButton(title)
            button.setToolTip(tip)
            self.buttons[suffix] = button
            row.addWidget(button)
        self.buttons[".h5ad"].clicked.connect(self._ask_for_h5ad)
        self.buttons[".zarr"].clicked.connect(self._ask_for_zarr)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.message)
        self.show_message("")
        self.setEnabled(False)

    def show_message(self, text: str) -> None:
        """Say what has been saved, or is being saved."""
        self.message.setText(text)
        self.message.setVisible(bool(text))

    def show_busy(self, *, is_busy: bool) -> None:
        """Keep the buttons away while a file is being written."""
        for button in self.buttons.values():
            button.setEnabled(not is_busy)

    def _ask_for_h5ad(self) -> None:
        self._ask(".h5ad")

    def _ask_for_zarr(self) -> None:
        self._ask(".zarr")

    def _ask(self, suffix: str) -> None:
        suggested = str(Path(self.folder) / f"{self.suggested_name}{suffix}")
        chosen, _ = QFileDialog.getSaveFileName(
            self, "Save the prediction", suggested, f"AnnData (*{suffix})"
        )
        if not chosen:
            return
        path = Path(chosen)
        if path.suffix != suffix:
            path = path.with_name(path.name + suffix)
        self.folder = str(path.parent)
        self.export_requested.emit(str(path))
