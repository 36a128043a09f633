"""Encoders: listed, downloaded, looked for in a folder; the token goes to huggingface_hub alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_stem import hub
from napari_stem.errors import EncoderError
from napari_stem.widgets.common.download_control import DownloadControl
from napari_stem.widgets.common.window_words import in_window_words
from napari_stem.widgets.model import encoder_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.model.encoder_box import EncoderBox
    from napari_stem.widgets.model.encoder_words import Row


class EncoderControl(QObject):
    """Keeps the dock's encoder box true, and does what it asks for."""

    changed = Signal()  # some encoder became ready, or is no more

    def __init__(self, jobs: Jobs, box: EncoderBox, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._jobs, self._box, self._window = jobs, box, box.window_of_all
        self._rows: dict[str, dict[str, Any]] = {}
        self._wanted = ""
        self.downloads = DownloadControl(jobs, (box.row, self._window.row), parent=self)
        if self._window.folder:
            hub.use_encoder_folder(Path(self._window.folder))
        jobs.start(_settle, self._window.is_offline_chosen, done=self._show_offline)
        box.download_requested.connect(self.download)
        self.downloads.ended.connect(self._on_ended)
        self._window.offline_changed.connect(self._on_offline)
        self._window.folder_chosen.connect(self._on_folder)
        self._window.token_entered.connect(partial(self._ask_of_store, _store))
        self._window.forget_requested.connect(partial(self._ask_of_store, _forget))
        self.refresh()

    def want(self, encoder: str) -> None:
        """Tell which encoder the chosen model needs; empty: none."""
        if encoder != self._wanted:
            self.downloads.show_message("")  # of another encoder
        self._wanted = encoder
        self._show()

    def missing(self) -> str:
        """Say what has to be done before the chosen model can look; empty where nothing is."""
        return encoder_words.missing(self._needed())

    def refresh(self) -> None:
        """Look anew at what is on this computer."""
        self._jobs.start(_look, done=self._take)

    def download(self, names: Sequence[str]) -> None:
        """Download encoders, one after the other."""
        if self.downloads.is_busy:
            return
        self._box.show_busy(is_busy=True)
        self.downloads.start("encoder", names, done=lambda _: None)

    def close(self) -> None:
        """End what is on its way, and the window."""
        self.downloads.cancel()
        self._window.close()

    def _needed(self) -> list[Row]:
        try:
            names = encoder_words.names_of(self._wanted) if self._wanted else ()
        except EncoderError:
            return [encoder_words.unknown(self._wanted)]
        return [self._rows[name] for name in names if name in self._rows]

    def _take(self, looked: _Looked) -> None:
        rows, folder, found, is_known = looked
        self._rows = {str(row["name"]): row for row in rows}
        self._window.show_encoders(rows)
        self._window.show_folder(folder, found)
        self._window.show_token(is_known=is_known)
        self._show()

    def _show(self) -> None:
        self._box.show_encoders(self._needed())
        self.changed.emit()

    def _on_ended(self) -> None:
        self._box.show_busy(is_busy=False)
        self.refresh()

    def _show_offline(self, is_offline: bool) -> None:
        self._window.show_offline(is_offline=is_offline)

    def _on_offline(self, is_wanted: bool) -> None:
        hub.work_offline(is_wanted=is_wanted)

    def _on_folder(self, folder: str) -> None:
        self._jobs.start(_use_folder, folder, done=lambda _: self.refresh())

    def _ask_of_store(self, act: Any, *token: str) -> None:
        self._jobs.start(act, *token, done=self._on_answered)

    def _on_answered(self, sentence: str) -> None:
        self.downloads.show_message(in_window_words(sentence))
        self.refresh()


_Looked = tuple[list[dict[str, Any]], str, tuple[str, ...], bool]


def _settle(is_offline_wanted: bool) -> bool:
    """Work offline where it was chosen here; else as the environment says, which is returned."""
    if is_offline_wanted:
        hub.work_offline(is_wanted=True)
    return hub.is_offline()


def _look() -> _Looked:
    from napari_stem.encoders.hub import encoders_in
    from napari_stem.encoders.registry import list_encoders

    folder = hub.encoder_folder()
    found = encoders_in(folder) if folder is not None else ()
    return list_encoders(), str(folder or ""), found, hub.has_token()


def _use_folder(chosen: str) -> None:
    """Look into a folder from now on; where an encoder's own was chosen, into the one that holds it."""
    from napari_stem.encoders.hub import encoders_in

    folder = Path(chosen)
    if chosen and not encoders_in(folder) and folder.name in encoders_in(folder.parent):
        folder = folder.parent
    hub.use_encoder_folder(folder if chosen else None)


def _store(token: str) -> str:
    try:
        hub.store_token(token)
    except EncoderError as error:
        return str(error)
    return "Hugging Face knows you now; download again."


def _forget() -> str:
    try:
        hub.forget_token()
    except EncoderError as error:
        return str(error)
    return "The token is forgotten on this computer."
