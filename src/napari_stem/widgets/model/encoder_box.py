"""The encoder of the chosen model: one line where it is ready, else what to do and the buttons for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QToolButton, QVBoxLayout, QWidget

from napari_stem.widgets.common.download_control import DownloadRow
from napari_stem.widgets.common.parts import linked_note
from napari_stem.widgets.model import encoder_words
from napari_stem.widgets.model.encoder_window import EncoderWindow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.widgets.model.encoder_words import Row


class EncoderBox(QWidget):
    """Shows what the chosen model looks through, and leads to the list of all encoders."""

    download_requested = Signal(object)  # names of encoders

    def __init__(
        self, folder: str = "", *, is_offline: bool = False, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.window_of_all = EncoderWindow(folder, is_offline=is_offline, parent=self)
        self.line = linked_note()
        self.all_button = QToolButton()
        self.all_button.setText("All…")
        self.all_button.setToolTip("All encoders: which are ready, and how to get the others")
        self.download_button = QPushButton("Download")
        self.token_button = QPushButton("Enter token…")
        self.folder_button = QPushButton("Use a folder…")
        self.folder_button.setToolTip(self.window_of_all.folder_button.toolTip())
        self.row = DownloadRow()
        self._lacking: tuple[Row, ...] = ()
        self._is_busy = False
        self._lay_out()
        self.all_button.clicked.connect(self.show_all)
        self.download_button.clicked.connect(self._ask_for_lacking)
        self.token_button.clicked.connect(self.window_of_all.ask_for_token)
        self.folder_button.clicked.connect(self.window_of_all.ask_for_folder)
        self.window_of_all.download_requested.connect(self.download_requested)
        self.show_encoders(())

    def show_encoders(self, rows: Sequence[Row]) -> None:
        """Say how it stands with the encoders of the chosen model; none: nothing is known yet."""
        self._lacking = tuple(row for row in rows if row["status"] != "ready")
        if not self._lacking:
            names = " + ".join(str(row["name"]) for row in rows)
            self.line.setText(f"Encoder: {names}, ready" if rows else "")
        else:
            self.line.setText("<br>".join(encoder_words.told(row) for row in self._lacking))
        self._show_buttons()

    def show_busy(self, *, is_busy: bool) -> None:
        """Offer no second download while one is on its way."""
        self._is_busy = is_busy
        self._show_buttons()
        self.window_of_all.show_busy(is_busy=is_busy)

    def show_all(self) -> None:
        """Open the list of all encoders."""
        self.window_of_all.show()
        self.window_of_all.raise_()

    def _show_buttons(self) -> None:
        gettable = [row for row in self._lacking if row["status"] in encoder_words.GETTABLE]
        size = sum(int(row["size_mb"]) for row in gettable)
        self.download_button.setText(f"Download ({size:,} MB)")
        self.download_button.setVisible(bool(gettable) and not self._is_busy)
        self.token_button.setVisible(any(row["gate"] == "terms" for row in gettable))
        self.folder_button.setVisible(bool(gettable))

    def _ask_for_lacking(self) -> None:
        names = [r["name"] for r in self._lacking if r["status"] in encoder_words.GETTABLE]
        self.download_requested.emit(names)

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(self.line, 1)
        top.addWidget(self.all_button, 0, Qt.AlignmentFlag.AlignTop)
        others = QHBoxLayout()
        others.addWidget(self.token_button)
        others.addWidget(self.folder_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(top)
        layout.addWidget(self.download_button)
        layout.addLayout(others)
        layout.addWidget(self.row)
