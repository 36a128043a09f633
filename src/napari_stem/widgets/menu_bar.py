"""What stands above the road: the notice, the menu of files and sessions, help."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QMenu, QToolButton, QWidget

from napari_stem.widgets.common.keys import HelpBox
from napari_stem.widgets.common.parts import note, row

if TYPE_CHECKING:
    from collections.abc import Callable

NOTICE = "Predicted from the image, not measured. For research use only, not for diagnosis."
SESSIONS = "Sessions (*.json);;All files (*)"


class MenuBar(QWidget):
    """Asks for sessions and predictions; shows the keys.

    Parameters
    ----------
    folder
        Where sessions were last saved to.
    """

    def __init__(self, folder: str = "") -> None:
        super().__init__()
        self.folder = folder
        self.notice = note(NOTICE)
        self.notice.setObjectName("notice")
        self.menu_button = QToolButton()
        self.menu_button.setText("File ▾")
        self.menu_button.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.menu_button.setToolTip(
            "Save or restore what is open; open a stored prediction; see where you are"
        )
        self.menu_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._menu = QMenu(self)
        self.menu_button.setMenu(self._menu)
        self.help_button = QToolButton()
        self.help_button.setText("?")
        self.help_button.setToolTip("Keys and gestures (F1)")
        self.help_button.clicked.connect(self.show_help)
        self.help_box: HelpBox | None = None
        layout = row(self.notice, self.menu_button, self.help_button, stretched=0)
        layout.setContentsMargins(0, 0, 6, 0)
        self.setLayout(layout)

    def add(self, title: str, act: Callable[[], object]) -> None:
        """Offer something in the menu."""
        self._menu.addAction(title, act)

    def add_separator(self) -> None:
        """Draw a line below what was added last."""
        self._menu.addSeparator()

    def show_help(self) -> None:
        """Open the window with the keys."""
        if self.help_box is None:
            self.help_box = HelpBox(self)
        self.help_box.show()
        self.help_box.raise_()

    def ask_where_to_save(self, save: Callable[[str], None]) -> None:
        """Ask for a session file to write."""
        suggested = str(Path(self.folder) / "session.json")
        path, _ = QFileDialog.getSaveFileName(self, "Save session", suggested, SESSIONS)
        self._hand_on(path, save)

    def ask_for_session(self, load: Callable[[str], None]) -> None:
        """Ask for a session file to restore."""
        path, _ = QFileDialog.getOpenFileName(self, "Restore session", self.folder, SESSIONS)
        self._hand_on(path, load)

    def ask_for_prediction(self, load: Callable[[str], None]) -> None:
        """Ask for the folder of a stored prediction."""
        path = QFileDialog.getExistingDirectory(
            self, "Open a prediction (a .zarr folder)", self.folder
        )
        self._hand_on(path, load)

    def _hand_on(self, path: str, act: Callable[[str], None]) -> None:
        if path:
            self.folder = str(Path(path).parent)
            act(path)
