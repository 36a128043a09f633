"""Which model predicts: chosen from a list, or added from a folder, a zip or Hugging Face."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_stem.widgets.common.download_control import DownloadRow
from napari_stem.widgets.common.parts import note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ModelChoice(QWidget):
    """Lists models and says what the chosen one is for."""

    chosen = Signal(str)  # name or folder; empty where none can be used
    added = Signal(str)  # folder or zip
    fetched = Signal(str)  # repository on Hugging Face
    removed = Signal(str)  # folder or zip, from the list alone

    def __init__(self, wanted: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._wanted = wanted
        self._models: dict[str, Mapping[str, Any]] = {}
        self.box = QComboBox()
        self.box.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.box.setToolTip(
            "The model that predicts; it must have been made for this kind of tissue"
        )
        self.add_button = QPushButton("Add…")
        self.add_button.setToolTip("Add a model that was trained or downloaded")
        self.card, self.warning = note(""), note("")
        self.warning.setObjectName("warning")
        self.hub_line = QWidget()
        self.hub_field = QLineEdit()
        self.hub_field.setPlaceholderText("owner/name on Hugging Face")
        self.hub_button = QPushButton("Get")
        self.row = DownloadRow()
        self._add_menu()
        self._lay_out()
        self.hub_line.setVisible(False)
        self.box.activated.connect(self._choose)
        self.hub_button.clicked.connect(self._fetch)
        self.hub_field.returnPressed.connect(self._fetch)

    def name(self) -> str:
        """Name or folder of the chosen model, empty where there is none."""
        return str(self.box.currentData() or "")

    def show_models(self, models: Sequence[Mapping[str, Any]], wanted: str = "") -> None:
        """List the models and choose one; see `ModelPanel.show_models`."""
        self._wanted = wanted or self.name() or self._wanted
        self._models = {str(m.get("folder") or m["name"]): m for m in models}
        self.box.clear()
        for name, model in self._models.items():
            self.box.addItem(str(model["name"]), name)
            row = self.box.count() - 1
            tip = name if model["ready"] else str(model["why_not"])
            self.box.setItemData(row, tip, Qt.ItemDataRole.ToolTipRole)
            self.box.model().item(row).setEnabled(bool(model["ready"]))
        ready = [name for name, model in self._models.items() if model["ready"]]
        name = self._wanted if self._wanted in ready else next(iter(ready), "")
        self.box.setCurrentIndex(self.box.findData(name))
        self._choose()

    def show_card(
        self, text: str, limits: Sequence[str] = (), warnings: Sequence[str] = ()
    ) -> None:
        """Say what the chosen model is for, in the tooltip what not to use it for, and what is alarming."""
        self.card.setText(text)
        self.card.setToolTip("\n".join(limits))
        self.warning.setText("\n".join(warnings))
        self.warning.setVisible(bool(warnings))

    def ask_for_repository(self) -> None:
        """Show the field for a repository on Hugging Face."""
        self.hub_line.setVisible(True)
        self.hub_field.setFocus()

    def show_fetching(self, *, is_busy: bool) -> None:
        """Take no second repository while one is on its way."""
        self.hub_line.setEnabled(not is_busy)

    def _choose(self) -> None:
        name = self.name()
        self.remove_action.setEnabled("folder" in self._models.get(name, {}))
        if not name:
            self.show_card("No model can be used here; see “napari-stem models” for the reasons.")
        self.chosen.emit(name)

    def _fetch(self) -> None:
        if self.hub_field.text().strip():
            self.fetched.emit(self.hub_field.text().strip())

    def _ask_for_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Choose a model's folder")
        if folder:
            self.added.emit(folder)

    def _ask_for_zip(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Choose a packed model", "", "Models (*.zip)")
        if path:
            self.added.emit(path)

    def _add_menu(self) -> None:
        menu = QMenu(self.add_button)
        menu.addAction("Folder…", self._ask_for_folder)
        menu.addAction("Zip file…", self._ask_for_zip)
        menu.addAction("From Hugging Face…", self.ask_for_repository)
        menu.addSeparator()
        self.remove_action = menu.addAction(
            "Take the chosen one off the list", lambda: self.removed.emit(self.name())
        )
        self.add_button.setMenu(menu)

    def _lay_out(self) -> None:
        choosing, fetching = QHBoxLayout(), QHBoxLayout(self.hub_line)
        choosing.addWidget(self.box, 1)
        choosing.addWidget(self.add_button)
        fetching.setContentsMargins(0, 0, 0, 0)
        fetching.addWidget(self.hub_field, 1)
        fetching.addWidget(self.hub_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(choosing)
        for widget in (self.hub_line, self.row, self.card, self.warning):
            layout.addWidget(widget)
