"""The encoder of the chosen model: one line where it is ready, else what to do and the buttons for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QPushButton, QToolButton, QWidget

from napari_stem import hub
from napari_stem.encoders.hub import encoders_in
from napari_stem.encoders.registry import list_encoders
from napari_stem.errors import EncoderError
from napari_stem.widgets.common.download_control import DownloadControl, DownloadRow
from napari_stem.widgets.common.parts import button, in_window_words, linked_note, row, stack
from napari_stem.widgets.model import encoder_window as encoders
from napari_stem.widgets.model.encoder_window import EncoderWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_stem.widgets.common.memory import Remembered
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.model.encoder_window import Row

_Looked = tuple[list[dict[str, Any]], str, tuple[str, ...], bool]


class EncoderBox(QWidget):
    """Shows what the chosen model looks through, and leads to the list of all encoders.

    Parameters
    ----------
    folder, is_offline
        As `EncoderWindow` has them.
    """

    def __init__(self, folder: str, *, is_offline: bool) -> None:
        super().__init__()
        self.window_of_all = EncoderWindow(folder, is_offline=is_offline, parent=self)
        self.line = linked_note()
        self.all_button = QToolButton()
        self.all_button.setText("All…")
        self.all_button.setToolTip("All encoders: which are ready, and how to get the others")
        self.download_button = QPushButton("Download")
        self.token_button = QPushButton("Enter token…")
        self.folder_button = button("Use a folder…", encoders.FOLDER_TIP)
        self.row = DownloadRow()
        self._lacking: tuple[Row, ...] = ()
        top = row(self.line, stretched=0)
        top.addWidget(self.all_button, 0, Qt.AlignmentFlag.AlignTop)
        others = row(self.token_button, self.folder_button)
        stack(self, top, self.download_button, others, self.row)
        self.all_button.clicked.connect(self.show_all)
        self.token_button.clicked.connect(self.window_of_all.token_dialog.open)
        self.show_encoders((), is_busy=False)

    def show_encoders(self, rows: Sequence[Row], *, is_busy: bool) -> None:
        """Say how it stands with the encoders of the chosen model; none: nothing is known yet.

        While a download is on its way (``is_busy``), no second one is offered.
        """
        self._lacking = tuple(each for each in rows if each["status"] != "ready")
        if not self._lacking:
            names = " + ".join(str(each["name"]) for each in rows)
            self.line.setText(f"Encoder: {names}, ready" if rows else "")
        else:
            self.line.setText("<br>".join(encoders.message(each) for each in self._lacking))
        gettable = self.gettable()
        size = sum(int(each["size_mb"]) for each in gettable)
        self.download_button.setText(f"Download ({size:,} MB)")
        self.download_button.setVisible(bool(gettable) and not is_busy)
        self.token_button.setVisible(any(each["gate"] == "terms" for each in gettable))
        self.folder_button.setVisible(bool(gettable))

    def show_all(self) -> None:
        """Open the list of all encoders."""
        self.window_of_all.show()
        self.window_of_all.raise_()

    def gettable(self) -> list[Row]:
        """Return the encoders that the chosen model lacks and that can be downloaded."""
        return [each for each in self._lacking if each["status"] in encoders.GETTABLE]


class EncoderControl:
    """Keeps the dock's encoder box true, and does what it asks for; the token goes to huggingface_hub alone.

    Parameters
    ----------
    jobs, box
        What it works with.
    changed
        Called when some encoder became ready, or is no more.
    """

    def __init__(self, jobs: Jobs, box: EncoderBox, changed: Callable[[], None]) -> None:
        self._jobs, self._box, self._window = jobs, box, box.window_of_all
        self._wanted, self._changed = "", changed
        self.downloads = DownloadControl(jobs, (box.row, self._window.row), self._on_ended)
        if self._window.folder:
            hub.use_encoder_folder(Path(self._window.folder))
        jobs.start(_settle, self._window.is_offline_chosen, done=self._window.show_offline)
        self._connect()
        self.refresh()

    def _connect(self) -> None:
        box, window = self._box, self._window
        box.download_button.clicked.connect(
            lambda: self.download([each["name"] for each in box.gettable()])
        )
        window.download_button.clicked.connect(lambda: self.download([window.chosen()]))
        window.offline.toggled.connect(self._choose_offline)
        for asking in (box.folder_button, window.folder_button):
            asking.clicked.connect(self._ask_for_folder)
        window.no_folder_button.clicked.connect(lambda: self.use_folder(""))
        window.token_dialog.accepted.connect(lambda: self.store_token(window.token_dialog.take()))
        window.forget_button.clicked.connect(self.forget_token)

    def want(self, encoder: str) -> None:
        """Tell which encoder the chosen model needs; empty: none."""
        if encoder != self._wanted:
            self.downloads.show_message("")  # of another encoder
        self._wanted = encoder
        self._show()

    def missing(self) -> str:
        """Say what has to be done before the chosen model can look; empty where nothing is."""
        return encoders.missing(self._needed())

    def refresh(self) -> None:
        """Look anew at what is on this computer."""
        self._jobs.start(_look, done=self._take)

    def download(self, names: Sequence[str]) -> None:
        """Download encoders, one after the other."""
        if self.downloads.is_busy:
            return
        self.downloads.start("encoder", names, done=lambda _: None)
        self._show()

    def use_folder(self, folder: str) -> None:
        """Look for encoders in a folder of the user's; empty: in none any more."""
        self._jobs.start(_use_folder, folder, done=lambda _: self.refresh())

    def prefer(self, remembered: Remembered) -> None:
        """Follow what was changed in napari's Preferences."""
        if remembered.encoder_folder != self._window.folder:
            self.use_folder(remembered.encoder_folder)
        if remembered.works_offline != self._window.is_offline_chosen:
            self._choose_offline(remembered.works_offline)

    def store_token(self, token: str) -> None:
        """Hand a token to Hugging Face's library."""
        if token:
            self._jobs.start(
                _answer,
                lambda: hub.store_token(token),
                "Hugging Face knows you now; download again.",
                done=self._on_answered,
            )

    def forget_token(self) -> None:
        """Have Hugging Face's library forget its token."""
        said = "The token is forgotten on this computer."
        self._jobs.start(_answer, hub.forget_token, said, done=self._on_answered)

    def close(self) -> None:
        """Close the window."""
        self._window.close()

    def _needed(self) -> list[Row]:
        try:
            names = encoders.names_of(self._wanted) if self._wanted else ()
        except EncoderError:
            return [encoders.unknown(self._wanted)]
        return [self._window.rows[name] for name in names if name in self._window.rows]

    def _take(self, looked: _Looked) -> None:
        rows, folder, found, is_known = looked
        self._window.show_encoders(rows)
        self._window.show_folder(folder, found)
        self._window.show_token(is_known=is_known)
        self._show()

    def _show(self) -> None:
        is_busy = self.downloads.is_busy
        self._box.show_encoders(self._needed(), is_busy=is_busy)
        self._window.show_busy(is_busy=is_busy)
        self._changed()

    def _on_ended(self) -> None:
        self._show()
        self.refresh()

    def _choose_offline(self, is_wanted: bool) -> None:
        self._window.is_offline_chosen = is_wanted
        self._window.show_offline(is_wanted)
        hub.work_offline(is_wanted=is_wanted)

    def _ask_for_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(
            self._box, "Choose the folder of encoders", self._window.folder
        )
        if folder:
            self.use_folder(folder)

    def _on_answered(self, sentence: str) -> None:
        self.downloads.show_message(in_window_words(sentence))
        self.refresh()


def _settle(is_offline_wanted: bool) -> bool:
    """Work offline where it was chosen here; else as the environment says, which is returned."""
    if is_offline_wanted:
        hub.work_offline(is_wanted=True)
    return hub.is_offline()


def _look() -> _Looked:
    folder = hub.encoder_folder()
    found = encoders_in(folder) if folder is not None else ()
    return list_encoders(), str(folder or ""), found, hub.has_token()


def _use_folder(chosen: str) -> None:
    """Look into a folder from now on; where an encoder's own was chosen, into the one that holds it."""
    folder = Path(chosen)
    if chosen and not encoders_in(folder) and folder.name in encoders_in(folder.parent):
        folder = folder.parent
    hub.use_encoder_folder(folder if chosen else None)


def _answer(ask: Callable[[], object], said: str) -> str:
    """Ask Hugging Face's library for something; what to say of it."""
    try:
        ask()
    except EncoderError as error:
        return str(error)
    return said
