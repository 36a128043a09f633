"""All encoders in a window of their own: which are ready, what each is, how to get it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QGroupBox,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_stem.widgets.common.download_control import DownloadRow
from napari_stem.widgets.common.parts import link, linked_note, note
from napari_stem.widgets.model import encoder_words
from napari_stem.widgets.model.token_dialog import TokenDialog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.widgets.model.encoder_words import Row

TITLES = ("Encoder", "State", "Licence")
SIZE = (680, 640)
FOLDER_TIP = (
    "For computers without internet: a folder with one folder per encoder, named like it, with the files of "
    "its page (such as uni/pytorch_model.bin)"
)


OFFLINE_TIP = "Ask no network: use only what is on this computer"
OFFLINE_TOLD = " (HF_HUB_OFFLINE says so this time; it is not remembered)"


class EncoderWindow(QWidget):
    """Lists encoders; asks for downloads, for a token, for a folder."""

    download_requested = Signal(object)  # names of encoders
    token_entered = Signal(str)
    forget_requested = Signal()
    folder_chosen = Signal(str)  # empty: none any more
    offline_changed = Signal(bool)

    def __init__(
        self, folder: str = "", *, is_offline: bool = False, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent, Qt.WindowType.Window)
        self.setWindowTitle("Encoders")
        self.folder = folder
        self._is_offline_chosen = is_offline
        self._rows: dict[str, Row] = {}
        self._is_busy = False
        self.tree = QTreeWidget()
        self.details = linked_note()
        self.download_button = QPushButton("Download")
        self.row = DownloadRow()
        self.token_text, self.folder_text = note(""), note("")
        self.token_button = QPushButton("Enter token…")
        self.forget_button = QPushButton("Forget token")
        self.folder_button = QPushButton("Use a folder…")
        self.no_folder_button = QPushButton("Use none")
        self.offline = QCheckBox("Work offline")
        self.token_dialog = TokenDialog(self)
        self._set_up(is_offline=is_offline)
        self._lay_out()
        self.resize(*SIZE)

    def show_encoders(self, rows: Sequence[Row]) -> None:
        """List encoders anew."""
        chosen = self.chosen()
        self._rows = {str(row["name"]): row for row in rows}
        self.tree.clear()
        for name, row in self._rows.items():
            item = QTreeWidgetItem([name, encoder_words.state(row), str(row["licence"])])
            item.setToolTip(0, str(row["description"]))
            item.setToolTip(1, str(row["why_not"] or ""))
            if row["status"] == "ready":
                font = item.font(1)
                font.setBold(True)
                item.setFont(1, font)
            self.tree.addTopLevelItem(item)
        self.choose(chosen or next(iter(self._rows), ""))

    def chosen(self) -> str:
        """Name of the encoder whose details are shown."""
        item = self.tree.currentItem()
        return "" if item is None else str(item.text(0))

    def choose(self, name: str) -> None:
        """Show the details of an encoder, as a click would."""
        for found in self.tree.findItems(name, Qt.MatchFlag.MatchExactly, 0):
            self.tree.setCurrentItem(found)

    def show_busy(self, *, is_busy: bool) -> None:
        """Offer no second download while one is on its way."""
        self._is_busy = is_busy
        self._show_details()

    def show_token(self, *, is_known: bool) -> None:
        """Say whether a token is stored; not which."""
        self.token_text.setText(
            "Hugging Face's library knows a token of yours."
            if is_known
            else "No token is stored. Gated encoders need one."
        )
        self.forget_button.setEnabled(is_known)

    def show_folder(self, folder: str, found: Sequence[str]) -> None:
        """Say which folder is looked into first, and what is in it."""
        self.folder = folder
        self.no_folder_button.setEnabled(bool(folder))
        if not folder:
            self.folder_text.setText("No folder of your own is looked into.")
        elif found:
            self.folder_text.setText(f"{folder} holds {', '.join(found)}.")
        else:
            self.folder_text.setText(
                f"{folder} holds no encoder: put each into a folder named like it, such as uni."
            )

    @property
    def is_offline_chosen(self) -> bool:
        """Whether working offline is the user's own choice, to be remembered."""
        return self._is_offline_chosen

    def show_offline(self, *, is_offline: bool) -> None:
        """Show how it stands, such as by the environment; no choice of the user's."""
        self.offline.blockSignals(True)
        self.offline.setChecked(is_offline)
        self.offline.blockSignals(False)
        is_told = is_offline and not self._is_offline_chosen
        self.offline.setToolTip(f"{OFFLINE_TIP}{OFFLINE_TOLD}" if is_told else OFFLINE_TIP)

    def _choose_offline(self, is_wanted: bool) -> None:
        self._is_offline_chosen = is_wanted
        self.offline.setToolTip(OFFLINE_TIP)
        self.offline_changed.emit(is_wanted)

    def ask_for_token(self) -> None:
        """Open the password field."""
        self.token_dialog.open()

    def ask_for_folder(self) -> None:
        """Ask where the encoders lie."""
        folder = QFileDialog.getExistingDirectory(
            self, "Choose the folder of encoders", self.folder
        )
        if folder:
            self.folder_chosen.emit(folder)

    def _show_details(self) -> None:
        row = self._rows.get(self.chosen())
        is_gettable = row is not None and row["status"] in encoder_words.GETTABLE
        self.download_button.setVisible(is_gettable and not self._is_busy)
        if row is None:
            self.details.setText("")
            return
        self.download_button.setText(f"Download {row['name']} ({encoder_words.size(row)})")
        lines = [f"<b>{escape(str(row['description']))}</b>", encoder_words.told(row)]
        if row["mpp"]:
            lines.append(f"Trained at {row['mpp']:g} µm per pixel, {row['px']} px.")
        if row["page"]:
            lines.append(link(str(row["page"])))
        self.details.setText("<br>".join(lines))

    def _set_up(self, *, is_offline: bool) -> None:
        self.tree.setHeaderLabels(TITLES)
        self.tree.setRootIsDecorated(False)
        header = self.tree.header()
        header.setStretchLastSection(True)
        for column in (0, 1):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.offline.setChecked(is_offline)
        self.offline.setToolTip(OFFLINE_TIP)
        self.folder_button.setToolTip(FOLDER_TIP)
        self.tree.currentItemChanged.connect(lambda *_: self._show_details())
        self.download_button.clicked.connect(lambda: self.download_requested.emit([self.chosen()]))
        self.token_button.clicked.connect(self.ask_for_token)
        self.token_dialog.entered.connect(self.token_entered)
        self.forget_button.clicked.connect(self.forget_requested)
        self.folder_button.clicked.connect(self.ask_for_folder)
        self.no_folder_button.clicked.connect(lambda: self.folder_chosen.emit(""))
        self.offline.toggled.connect(self._choose_offline)

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.addWidget(self.tree, 1)
        for widget in (self.details, self.download_button, self.row):
            layout.addWidget(widget)
        getting = QGroupBox("Where encoders come from")
        inner = QVBoxLayout(getting)
        for text, buttons in (
            (self.token_text, (self.token_button, self.forget_button)),
            (self.folder_text, (self.folder_button, self.no_folder_button)),
        ):
            line = QHBoxLayout()
            line.addWidget(text, 1)
            for button in buttons:
                line.addWidget(button)
            inner.addLayout(line)
        inner.addWidget(self.offline)
        layout.addWidget(getting)
