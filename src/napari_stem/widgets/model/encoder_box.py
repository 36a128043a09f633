"""The encoder of the chosen model: one line where it is ready, else what to do and the buttons for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget

from napari_stem.errors import EncoderError
from napari_stem.widgets.common.download_control import DownloadRow
from napari_stem.widgets.common.parts import button, linked_note, row, stack
from napari_stem.widgets.model import encoder_window as encoders
from napari_stem.widgets.model.encoder_window import EncoderWindow

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_stem.widgets.common.memory import Remembered
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.model.encoder_window import Row


class EncoderBox(QWidget):
    """Shows what the chosen model looks through, and leads to the list of all encoders.

    Parameters
    ----------
    changed
        Called when some encoder became ready, or is no more.
    """

    def __init__(self, jobs: Jobs, remembered: Remembered, changed: Callable[[], None]) -> None:
        super().__init__()
        self._changed = changed
        self._wanted = ""  # encoder of the chosen model
        self.row = DownloadRow()
        self.window_of_all = window = EncoderWindow(
            jobs, remembered, self.row, self._show, parent=self
        )
        self.line = linked_note()
        tip = "All encoders: which are ready, and how to get the others"
        self.all_button = button("All…", tip, self._show_all, is_small=True)
        self.download_button = button(
            "Download", act=lambda: window.download([each["name"] for each in self._gettable()])
        )
        self.token_button = button("Enter token…", act=window.token_dialog.open)
        self.folder_button = button("Use a folder…", encoders.FOLDER_TIP, window.ask_for_folder)
        top = row(self.line, stretched=0)
        top.addWidget(self.all_button, 0, Qt.AlignmentFlag.AlignTop)
        others = row(self.token_button, self.folder_button)
        stack(self, top, self.download_button, others, self.row)
        self._show_needed()

    def want(self, encoder: str) -> None:
        """Tell which encoder the chosen model needs; empty: none."""
        if encoder != self._wanted:
            self.window_of_all.downloads.show_message("")  # of another encoder
        self._wanted = encoder
        self._show()

    def missing(self) -> str:
        """Say what has to be done before the chosen model can look; empty where nothing is."""
        return encoders.missing(self._needed())

    def _needed(self) -> list[Row]:
        try:
            names = encoders.names_of(self._wanted) if self._wanted else ()
        except EncoderError:
            return [encoders.unknown(self._wanted)]
        return [self.window_of_all.rows[name] for name in names if name in self.window_of_all.rows]

    def _gettable(self) -> list[Row]:
        return [each for each in self._needed() if each["status"] in encoders.GETTABLE]

    def _show(self) -> None:
        self._show_needed()
        self._changed()

    def _show_needed(self) -> None:
        """Say how it stands with the encoders of the chosen model; nothing may be known of them yet."""
        rows = self._needed()
        lacking = [each for each in rows if each["status"] != "ready"]
        names = " + ".join(str(each["name"]) for each in rows)
        ready = f"Encoder: {names}, ready" if rows else ""
        self.line.setText("<br>".join(encoders.message(each) for each in lacking) or ready)
        gettable = self._gettable()
        size = sum(int(each["size_mb"]) for each in gettable)
        self.download_button.setText(f"Download ({size:,} MB)")
        # while a download is on its way, no second one is offered
        self.download_button.setVisible(bool(gettable) and not self.window_of_all.downloads.is_busy)
        self.token_button.setVisible(any(each["gate"] == "terms" for each in gettable))
        self.folder_button.setVisible(bool(gettable))

    def _show_all(self) -> None:
        self.window_of_all.show()
        self.window_of_all.raise_()
