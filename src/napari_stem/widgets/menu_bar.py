"""What stands above the road: the notice, the menu of files and sessions, help."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QMenu, QToolButton, QWidget

from napari_stem.widgets.common.keys import OVERVIEW, HelpBox
from napari_stem.widgets.common.parts import note

if TYPE_CHECKING:
    from collections.abc import Callable

NOTICE = "Predicted from the image, not measured. For research use only, not for diagnosis."
SESSIONS = "Sessions (*.json);;All files (*)"


class MenuBar(QWidget):
    """Asks for sessions and predictions; shows the keys."""

    session_to_save = Signal(str)  # path
    session_to_load = Signal(str)
    prediction_to_open = Signal(str)
    overview_wanted = Signal()

    def __init__(self, folder: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.folder = folder
        notice = note(NOTICE)
        notice.setObjectName("notice")
        self.notice = notice
        self.menu_button = QToolButton()
        self.menu_button.setText("File ▾")
        self.menu_button.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.menu_button.setToolTip(
            "Save or restore what is open; open a stored prediction; see where you are"
        )
        self.menu_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.menu_button.setMenu(self._menu())
        self.help_button = QToolButton()
        self.help_button.setText("?")
        self.help_button.setToolTip("Keys and gestures (F1)")
        self.help_button.clicked.connect(self.show_help)
        self.help_box: HelpBox | None = None
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 6, 0)
        layout.addWidget(notice, 1)
        layout.addWidget(self.menu_button)
        layout.addWidget(self.help_button)

    def show_help(self) -> None:
        """Open the window with the keys."""
        if self.help_box is None:
            self.help_box = HelpBox(self)
        self.help_box.show()
        self.help_box.raise_()

    def ask_where_to_save(self) -> None:
        """Ask for a session file to write."""
        suggested = str(Path(self.folder) / "session.json")
        path, _ = QFileDialog.getSaveFileName(self, "Save session", suggested, SESSIONS)
        self._tell(path, self.session_to_save.emit)

    def _menu(self) -> QMenu:
        menu = QMenu(self)
        menu.addAction("Save session…", self.ask_where_to_save)
        menu.addAction("Restore session…", self._ask_for_session)
        menu.addSeparator()
        menu.addAction("Open prediction…", self._ask_for_prediction)
        menu.addSeparator()
        menu.addAction(f"Overview window\t{OVERVIEW.sequence}", self.overview_wanted.emit)
        return menu

    def _ask_for_session(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Restore session", self.folder, SESSIONS)
        self._tell(path, self.session_to_load.emit)

    def _ask_for_prediction(self) -> None:
        path = QFileDialog.getExistingDirectory(
            self, "Open a prediction (a .zarr folder)", self.folder
        )
        self._tell(path, self.prediction_to_open.emit)

    def _tell(self, path: str, tell: Callable[[str], None]) -> None:
        if path:
            self.folder = str(Path(path).parent)
            tell(path)
