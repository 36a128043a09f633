"""Asks for a Hugging Face token; it is handed on once and kept nowhere."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QLineEdit, QVBoxLayout, QWidget

from napari_stem.hub import TOKEN_PAGE
from napari_stem.widgets.common.links import link, linked_note


class TokenDialog(QDialog):
    """A password field."""

    entered = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Hugging Face token")
        text = linked_note(
            "Encoders whose terms must be accepted come only to people whom Hugging Face knows. Make a token "
            f"that may read on {link(TOKEN_PAGE)} and paste it here. Hugging Face's own "
            "library checks and stores it on this computer; this program does not keep it."
        )
        self.field = QLineEdit()
        self.field.setEchoMode(QLineEdit.EchoMode.Password)
        self.field.setPlaceholderText("hf_…")
        standard = QDialogButtonBox.StandardButton
        self.buttons = QDialogButtonBox(standard.Ok | standard.Cancel)
        self._ok = self.buttons.button(standard.Ok)
        self._ok.setEnabled(False)
        layout = QVBoxLayout(self)
        for widget in (text, self.field, self.buttons):
            layout.addWidget(widget)
        self.setMinimumWidth(420)
        self.field.textChanged.connect(lambda typed: self._ok.setEnabled(bool(typed.strip())))
        self.buttons.accepted.connect(self._hand_on)
        self.buttons.rejected.connect(self.reject)
        self.finished.connect(lambda _: self.field.clear())

    def _hand_on(self) -> None:
        token = self.field.text().strip()
        self.field.clear()
        self.accept()
        if token:
            self.entered.emit(token)
