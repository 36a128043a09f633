"""All encoders in a window of their own: which are ready, what each is, how to get it.

Rows are those of `napari_stem.encoders.registry.list_encoders`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QFileDialog,
    QGroupBox,
    QHeaderView,
    QLineEdit,
    QWidget,
)

from napari_stem import hub
from napari_stem.encoders.hub import encoders_in
from napari_stem.encoders.registry import list_encoders, parse_name
from napari_stem.errors import EncoderError
from napari_stem.hub import TOKEN_PAGE
from napari_stem.widgets.common import parts
from napari_stem.widgets.common.download_control import DownloadControl, DownloadRow
from napari_stem.widgets.common.table import TIP, Column, Table, TableView

if TYPE_CHECKING:
    from napari_stem.widgets.common.memory import Remembered
    from napari_stem.widgets.common.worker import Jobs

Row = Mapping[str, Any]

GETTABLE = ("needs download", "gated")
COLUMNS = (
    Column("encoder", "Encoder"),
    Column("state", "State", is_text=True),
    Column("licence", "Licence", is_text=True),
)
FOLDER_TIP = (
    "For computers without internet: a folder with one folder per encoder, named like it, with the files of "
    "its page (such as uni/pytorch_model.bin)"
)
NO_ENCODER = "no encoder: put each into a folder named like it, such as uni"
KNOWN = "Hugging Face's library knows a token of yours."
UNKNOWN = "No token is stored. Gated encoders need one."
OFFLINE_TIP = "Ask no network: use only what is on this computer"
OFFLINE_TOLD = " (HF_HUB_OFFLINE says so this time; it is not remembered)"


def names_of(encoder: str) -> tuple[str, ...]:
    """Name each encoder that a (possibly combined) name asks for; EncoderError where one is unknown."""
    return tuple(dict.fromkeys(part.name for part in parse_name(encoder)))


def unknown(encoder: str) -> Row:
    """Row of an encoder that is none of ours, as of a model that was trained on somebody's embeddings."""
    reason = "read the slide's embeddings from a file (“Embeddings” below)"
    return {"name": encoder, "status": "not known here", "why_not": reason, "page": "", "gate": ""}


def size(each: Row) -> str:
    """Size of the download."""
    return f"{each['size_mb']:,} MB"


def state(each: Row) -> str:
    """State in a word or two, as the command line has it."""
    status = str(each["status"])
    return f"{status} ({size(each)})" if status in GETTABLE else status


def message(each: Row) -> str:
    """State and what to do, as rich text with addresses to click."""
    name = escape(str(each["name"]))
    if each["status"] == "ready":
        return f"Encoder: {name}, ready"
    if each["status"] == "needs download":
        page = parts.link(str(each["page"]), "its page")
        return f"Encoder: {name} needs a download of {size(each)} from {page}."
    if each["status"] == "gated":
        terms = parts.link(str(each["page"]), "accept its terms here")
        return (
            f"Encoder: {name} is gated: {terms} with your account at Hugging Face, enter your token, "
            f"then download {size(each)}."
        )
    reason = escape(str(each["why_not"]))
    if each["page"]:
        reason = reason.replace(escape(str(each["page"])), parts.link(str(each["page"])))
    return f"Encoder: {name} is {each['status']}: {reason}."


def missing(rows: Iterable[Row]) -> str:
    """Say what has to be done before a run, in a sentence; empty where all are ready."""
    first = next((each for each in rows if each["status"] != "ready"), None)
    if first is None:
        return ""
    name = f"encoder “{first['name']}”"
    if first["status"] == "gated":
        return f"Accept the terms of {name} and download it first (see above)."
    if first["status"] == "needs download":
        return f"Download {name} first (see above)."
    return f"The model needs {name}, which is {first['status']} (see above)."


class TokenDialog(QDialog):
    """Asks for a Hugging Face token; it is handed on once and kept nowhere."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Hugging Face token")
        text = parts.linked_note(
            "Encoders whose terms must be accepted come only to people whom Hugging Face knows. Make a token "
            f"that may read on {parts.link(TOKEN_PAGE)} and paste it here. Hugging Face's own "
            "library checks and stores it on this computer; this program does not keep it."
        )
        self.field = QLineEdit()
        self.field.setEchoMode(QLineEdit.EchoMode.Password)
        self.field.setPlaceholderText("hf_…")
        self.buttons = parts.answer_buttons(self, self.field)
        parts.stack(self, text, self.field, self.buttons, is_window=True)
        self.setMinimumWidth(420)
        self.rejected.connect(self.field.clear)


class EncoderWindow(QWidget):
    """Lists encoders, downloads them, and looks for them where the user says.

    A token goes to huggingface_hub alone. ``row_too`` shows downloads beside the window's own row; ``changed``
    is called when it may stand otherwise with some encoder, or a download begins or ends.
    """

    def __init__(
        self,
        jobs: Jobs,
        remembered: Remembered,
        row_too: DownloadRow,
        changed: Callable[[], None],
        parent: QWidget,
    ) -> None:
        super().__init__(parent, Qt.WindowType.Window)
        self.setWindowTitle("Encoders")
        self._jobs, self._changed = jobs, changed
        self.folder = remembered.encoder_folder
        self.is_offline_chosen = remembered.works_offline  # by the user, to be remembered
        self.rows: dict[str, Row] = {}
        self.token_dialog = TokenDialog(self)
        self.chosen = ""  # whose details are shown
        self.table = Table(COLUMNS)
        self.view = TableView(self.table)
        self.details = parts.linked_note()
        self.download_button = parts.button("Download", act=lambda: self.download([self.chosen]))
        self.row = DownloadRow()
        self.token_text, self.folder_text = parts.Note(), parts.Note()
        self.token_button = parts.button("Enter token…", act=self.token_dialog.open)
        self.forget_button = parts.button("Forget token", act=self.forget_token)
        self.folder_button = parts.button("Use a folder…", FOLDER_TIP, self.ask_for_folder)
        self.no_folder_button = parts.button("Use none", act=lambda: self.use_folder(""))
        self.offline = QCheckBox("Work offline")
        self.offline.setChecked(self.is_offline_chosen)
        self.offline.setToolTip(OFFLINE_TIP)
        for column in (0, 1):
            self.view.header().setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.view.stretch(2)
        getting = QGroupBox("Where encoders come from")
        token = parts.row(self.token_text, self.token_button, self.forget_button, stretched=0)
        folder = parts.row(self.folder_text, self.folder_button, self.no_folder_button, stretched=0)
        parts.stack(getting, token, folder, self.offline, is_window=True)
        chosen = self.details, self.download_button, self.row
        parts.stack(self, self.view, *chosen, getting, stretched=0, is_window=True)
        self.resize(680, 640)
        self.view.chosen.connect(self.choose)
        self.offline.toggled.connect(self._choose_offline)
        token_field = self.token_dialog.field
        self.token_dialog.accepted.connect(lambda: self.store_token(token_field.text()))
        self.downloads = DownloadControl(jobs, (row_too, self.row), self.refresh)
        if self.folder:
            hub.use_encoder_folder(Path(self.folder))
        jobs.start(_settle, self.is_offline_chosen, done=self._show_offline)
        self.refresh()

    def choose(self, name: str) -> None:
        """Show the details of an encoder, as a click does."""
        self.chosen = name
        self.view.choose(name)
        self._show_details()

    def refresh(self) -> None:
        """Look anew at what is on this computer."""
        self._jobs.start(_look, done=self._take)

    def download(self, names: Sequence[str]) -> None:
        """Download encoders, one after the other."""
        self.downloads.start("encoder", names, done=lambda _: None)
        self._show_details()
        self._changed()

    def use_folder(self, folder: str) -> None:
        """Look for encoders in a folder of the user's; empty: in none any more."""
        self._jobs.start(_use_folder, folder, done=lambda _: self.refresh())

    def ask_for_folder(self) -> None:
        """Ask where encoders of the user's own lie, and look there."""
        folder = QFileDialog.getExistingDirectory(
            self.parentWidget(), "Choose the folder of encoders", self.folder
        )
        if folder:
            self.use_folder(folder)

    def prefer(self, remembered: Remembered) -> None:
        """Follow what was changed in napari's Preferences."""
        if remembered.encoder_folder != self.folder:
            self.use_folder(remembered.encoder_folder)
        if remembered.works_offline != self.is_offline_chosen:
            self._choose_offline(remembered.works_offline)

    def store_token(self, token: str) -> None:
        """Hand a token to Hugging Face's library, and empty the field."""
        self.token_dialog.field.clear()
        store = partial(hub.store_token, token.strip())
        self._ask(store, "Hugging Face knows you now; download again.")

    def forget_token(self) -> None:
        """Have Hugging Face's library forget its token."""
        self._ask(hub.forget_token, "The token is forgotten on this computer.")

    def _ask(self, ask: Callable[[], object], said: str) -> None:
        """Ask Hugging Face's library for something, and tell what it refuses, or else what is ``said``."""

        def answer() -> str:
            try:
                ask()
            except EncoderError as error:
                return parts.in_window_words(str(error))
            return said

        def tell(sentence: str) -> None:
            self.downloads.show_message(sentence)
            self.refresh()

        self._jobs.start(answer, done=tell)

    def _take(self, looked: tuple[list[dict[str, Any]], str, str, bool]) -> None:
        """Show what is on this computer, which folder is looked into first, and whether a token is stored."""
        rows, self.folder, held, has_token = looked
        self.rows = {str(each["name"]): each for each in rows}
        frame = pd.DataFrame(
            {
                "encoder": list(self.rows),
                "state": [state(each) for each in rows],
                "licence": [str(each["licence"]) for each in rows],
                TIP: [f"{each['description']}\n{each['why_not'] or ''}".strip() for each in rows],
            },
            index=list(self.rows),
        )
        self.table.fill(frame)
        self.choose(self.chosen or next(iter(self.rows), ""))
        self.no_folder_button.setEnabled(bool(self.folder))
        told = f"{self.folder} holds {held or NO_ENCODER}."
        self.folder_text.setText(told if self.folder else "No folder of your own is looked into.")
        self.forget_button.setEnabled(has_token)
        self.token_text.setText(KNOWN if has_token else UNKNOWN)
        self._changed()

    def _show_offline(self, is_offline: bool) -> None:
        """Show how it stands, such as by the environment; no choice of the user's."""
        with QSignalBlocker(self.offline):
            self.offline.setChecked(is_offline)
        is_told = is_offline and not self.is_offline_chosen
        self.offline.setToolTip(f"{OFFLINE_TIP}{OFFLINE_TOLD}" if is_told else OFFLINE_TIP)

    def _show_details(self) -> None:
        chosen = self.rows.get(self.chosen)
        is_gettable = chosen is not None and chosen["status"] in GETTABLE
        self.download_button.setVisible(is_gettable and not self.downloads.is_busy)
        if chosen is None:
            self.details.setText("")
            return
        self.download_button.setText(f"Download {chosen['name']} ({size(chosen)})")
        lines = [f"<b>{escape(str(chosen['description']))}</b>", message(chosen)]
        if chosen["mpp"]:
            lines.append(f"Trained at {chosen['mpp']:g} µm per pixel, {chosen['px']} px.")
        if chosen["page"]:
            lines.append(parts.link(str(chosen["page"])))
        self.details.setText("<br>".join(lines))

    def _choose_offline(self, is_wanted: bool) -> None:
        self.is_offline_chosen = is_wanted
        self._show_offline(is_wanted)
        hub.work_offline(is_wanted=is_wanted)


def _settle(is_offline_wanted: bool) -> bool:
    """Work offline where it was chosen here; else as the environment says, which is returned."""
    if is_offline_wanted:
        hub.work_offline(is_wanted=True)
    return hub.is_offline()


def _look() -> tuple[list[dict[str, Any]], str, str, bool]:
    """Rows of all encoders, the user's own folder and what it holds, and whether a token is stored."""
    folder = hub.encoder_folder()
    held = "" if folder is None else ", ".join(encoders_in(folder))
    return list_encoders(), str(folder or ""), held, hub.has_token()


def _use_folder(chosen: str) -> None:
    """Look into a folder from now on; where an encoder's own was chosen, into the one that holds it."""
    folder = Path(chosen)
    if chosen and not encoders_in(folder) and folder.name in encoders_in(folder.parent):
        folder = folder.parent
    hub.use_encoder_folder(folder if chosen else None)
