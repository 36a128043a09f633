"""What the file of a slide does not say and a model may ask: species, tissue, embeddings made elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QLineEdit, QVBoxLayout, QWidget

from napari_stem.widgets.common.parts import note
from napari_stem.widgets.model.embeddings_dialog import EmbeddingsDialog

if TYPE_CHECKING:
    from collections.abc import Sequence

SPECIES = {"Not stated": "", "Human": "human", "Mouse": "mouse"}
HERE, FILE = "Computed here", "From a file…"


class AboutSlideBox(QWidget):
    """Asks about the active slide; nothing needs an answer."""

    changed = Signal()  # species or tissue
    embeddings_chosen = Signal(object, object)  # path, `Stated`
    embeddings_dropped = Signal()  # computed here again

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.species = QComboBox()
        for title, name in SPECIES.items():
            self.species.addItem(title, name)
        self.species.setToolTip("Of the slide; a model of another species does not predict it")
        self.tissue = QLineEdit()
        self.tissue.setPlaceholderText("not stated")
        self.tissue.setToolTip(
            "Of the slide, such as breast; you are warned where a model is of another"
        )
        self.embeddings = QComboBox()
        self.embeddings.addItems([HERE, FILE])
        self.embeddings.setToolTip(
            "Image features of the slide: computed by the encoder, or read from a file of CLAM, TRIDENT, "
            "LazySlide or slide2vec, which needs no encoder here"
        )
        self.embeddings_text, self.warning = note(""), note("")
        self.warning.setObjectName("warning")
        self.dialog = EmbeddingsDialog(self)
        self._lay_out()
        self.species.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.tissue.editingFinished.connect(self.changed)
        self.embeddings.activated.connect(self._choose_embeddings)
        self.dialog.chosen.connect(self.embeddings_chosen)
        self.dialog.rejected.connect(self._keep_embeddings)
        self._has_file = False
        self.show_embeddings("", ())
        self.show_warning("")

    def show_answers(self, species: str, tissue: str) -> None:
        """Show what was answered for a slide."""
        for field in (self.species, self.tissue):
            field.blockSignals(True)
        self.species.setCurrentIndex(max(0, self.species.findData(species)))
        self.tissue.setText(tissue)
        for field in (self.species, self.tissue):
            field.blockSignals(False)

    def show_embeddings(self, text: str, notes: Sequence[str], *, is_file: bool = False) -> None:
        """Say where the embeddings come from, and what does not quite fit."""
        self._has_file = is_file
        self._keep_embeddings()
        self.embeddings_text.setText("\n".join((text, *notes)).strip())
        self.embeddings_text.setVisible(bool(self.embeddings_text.text()))

    def show_warning(self, text: str) -> None:
        """Say what speaks against the chosen model for this slide; no text: nothing does."""
        self.warning.setText(text)
        self.warning.setVisible(bool(text))

    def _keep_embeddings(self) -> None:
        self.embeddings.setCurrentIndex(int(self._has_file))

    def _choose_embeddings(self, index: int) -> None:
        if index:
            self.dialog.open()
        elif self._has_file:
            self.embeddings_dropped.emit()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        form.addRow("Species", self.species)
        form.addRow("Tissue", self.tissue)
        form.addRow("Embeddings", self.embeddings)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self.embeddings_text)
        layout.addWidget(self.warning)
