"""A download as users see it: a bar, how much is there and how long it takes, Cancel."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_stem.widgets.common.parts import duration, note

BYTES_PER_MB = 1e6


class DownloadRow(QWidget):
    """Shows one download at a time; hidden while there is nothing to say."""

    cancel_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.cancel_button = QPushButton("Cancel download")
        self.text = note("")
        line = QHBoxLayout()
        line.addWidget(self.bar, 1)
        line.addWidget(self.cancel_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(line)
        layout.addWidget(self.text)
        self.cancel_button.clicked.connect(self.cancel_requested)
        self.show_message("")

    def show_progress(
        self, name: str, n_bytes: int, n_all: int, seconds_left: float | None
    ) -> None:
        """Say how far it is; ``n_all`` is 0 while that is not known."""
        whole, done = round(n_all / BYTES_PER_MB), round(n_bytes / BYTES_PER_MB)
        self.bar.setRange(0, whole)
        self.bar.setValue(min(done, whole))
        told = f"{name}: {done:,} of {whole:,} MB" if n_all else f"{name}: asking Hugging Face …"
        if seconds_left is not None:
            told += f", {duration(seconds_left)} left"
        self._show(told, is_busy=True)

    def show_message(self, text: str) -> None:
        """Say how it ended; no text: nothing is to be seen."""
        self._show(text, is_busy=False)

    def _show(self, text: str, *, is_busy: bool) -> None:
        self.bar.setVisible(is_busy)
        self.cancel_button.setVisible(is_busy)
        self.text.setText(text)
        self.setVisible(bool(text))
