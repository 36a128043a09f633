"""Export: save a prediction for other programs and for people."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_stem.exporting.kinds import KINDS
from napari_stem.widgets.common.parts import note

GENE_CHOICES = {
    "usual": "Most reliable genes",
    "shown": "The gene on the map",
    "all": "All genes",
}
DATA_KINDS = ("h5ad", "zarr", "spatialdata", "csv")  # which hold all genes unless asked otherwise
MISSING = "{} spots are not predicted yet and are missing."


class ExportPanel(QWidget):
    """Asks what to save, of which genes, and where."""

    export_requested = Signal(str, str, str, bool)  # kind, genes (a key), path, may overwrite
    cancel_requested = Signal()

    def __init__(self, folder: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.folder = folder
        self.suggested_name = "prediction"
        self.kinds = QComboBox()
        for kind, about in KINDS.items():
            self.kinds.addItem(about.title, kind)
        self.kinds.setToolTip("What to save the prediction as")
        self.genes = QComboBox()
        for choice, title in GENE_CHOICES.items():
            self.genes.addItem(title, choice)
        self.genes.setToolTip("Genes to save; a figure holds at most 24")
        self.tip = note("")
        self.save_button = QPushButton("Save…")
        self.cancel_button = QPushButton("Cancel")
        self.progress = QProgressBar()
        self.message = note("")
        self.show_button = QPushButton("Show in folder")
        self._saved: Path | None = None
        self._lay_out()
        self.kinds.currentIndexChanged.connect(self._on_kind)
        self.save_button.clicked.connect(self._ask)
        self.cancel_button.clicked.connect(self.cancel_requested)
        self.show_button.clicked.connect(self._show_in_folder)
        self._on_kind()
        self.show_busy(is_busy=False)
        self.show_message("")
        self.setEnabled(False)

    def kind(self) -> str:
        """Return the chosen kind, a key of `KINDS`."""
        return str(self.kinds.currentData())

    def choose_kind(self, kind: str) -> None:
        """Choose a kind, as a click would."""
        self.kinds.setCurrentIndex(self.kinds.findData(kind))

    def choose_genes(self, choice: str) -> None:
        """Choose genes, a key of `GENE_CHOICES`, as a click would."""
        self.genes.setCurrentIndex(self.genes.findData(choice))

    def show_busy(self, *, is_busy: bool) -> None:
        """Offer Cancel instead of Save while a file is being written."""
        self.save_button.setVisible(not is_busy)
        self.cancel_button.setVisible(is_busy)
        self.progress.setVisible(is_busy)
        self.progress.setRange(0, 0)
        for choice in (self.kinds, self.genes):
            choice.setEnabled(not is_busy)

    def show_progress(self, text: str, done: int, total: int) -> None:
        """Say how far it is."""
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        self.show_message(f"{text} …")

    def show_saved(self, path: Path, n_missing: int) -> None:
        """Say what has been saved and where, and offer to show it."""
        self.show_message(f"Saved {path}. {MISSING.format(n_missing) if n_missing else ''}".strip())
        self._saved = path
        self.show_button.setVisible(True)

    def show_message(self, text: str) -> None:
        """Say what is going on; no text: nothing is."""
        self.message.setText(text)
        self.message.setVisible(bool(text))
        self.show_button.setVisible(False)

    def _on_kind(self) -> None:
        kind = self.kind()
        self.tip.setText(KINDS[kind].tip)
        self.choose_genes("all" if kind in DATA_KINDS else "usual")

    def _ask(self) -> None:
        suffixes = KINDS[self.kind()].suffixes
        suggested = str(Path(self.folder) / f"{self.suggested_name}{suffixes[0]}")
        endings = " ".join(f"*{suffix}" for suffix in suffixes)
        chosen, _ = QFileDialog.getSaveFileName(
            self, "Save the prediction", suggested, f"{self.kinds.currentText()} ({endings})"
        )
        if not chosen:
            return
        path = Path(chosen)
        if path.suffix.lower() not in suffixes:
            path = path.with_name(path.name + suffixes[0])
        self.folder = str(path.parent)
        was_confirmed = str(path) == str(Path(chosen))  # the dialog asked about this very name
        self.export_requested.emit(
            self.kind(), str(self.genes.currentData()), str(path), was_confirmed
        )

    def _show_in_folder(self) -> None:
        if self._saved is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._saved.parent)))

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow("Save as", self.kinds)
        form.addRow("Genes", self.genes)
        buttons = QHBoxLayout()
        buttons.addWidget(self.save_button)
        buttons.addWidget(self.cancel_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self.tip)
        layout.addLayout(buttons)
        for widget in (self.progress, self.message, self.show_button):
            layout.addWidget(widget)
