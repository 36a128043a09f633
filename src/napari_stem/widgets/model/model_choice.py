"""Which model predicts: those that are packaged or were added, and what the chosen one is for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QMenu, QWidget

from napari_stem.errors import EncoderError, StemError
from napari_stem.model import find_model, list_models
from napari_stem.model.card import LIMITS, warnings_of
from napari_stem.model.config import ModelConfig, read_config
from napari_stem.texts import count
from napari_stem.widgets.common import parts
from napari_stem.widgets.common.download_control import DownloadControl, DownloadRow
from napari_stem.widgets.common.form import line
from napari_stem.widgets.model import encoder_window as encoders
from napari_stem.widgets.model.encoder_window import EncoderWindow, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from napari_stem.model.bundle import Model
    from napari_stem.widgets.common.memory import Remembered
    from napari_stem.widgets.common.worker import Jobs

MOST_REMEMBERED = 12


@dataclass(frozen=True)
class Entry:
    """A model of the list."""

    source: str  # name of a packaged one, folder or zip of one that the user added
    title: str
    config: ModelConfig | None = None  # of one that can be used
    why_not: str = ""  # it cannot
    is_added: bool = True  # by the user


class ModelChoice(QWidget):
    """Lists models, adds further ones, and says what the chosen one is for.

    ``chosen`` is called when a model was chosen, or none can be used.
    """

    def __init__(self, jobs: Jobs, remembered: Remembered, chosen: Callable[[], None]) -> None:
        super().__init__()
        self._jobs, self._wanted, self._chosen = jobs, remembered.model_name, chosen
        self._models: dict[str, Entry] = {}  # by their source
        tip = "The model that predicts; it must have been made for this kind of tissue"
        self.box = parts.choice({}, tip, is_narrow=True)
        self.add_button = parts.button("Add…", "Add a model that was trained or downloaded")
        menu = QMenu(self.add_button)
        menu.addAction("Folder…", self._ask_for_folder)
        menu.addAction("Zip file…", self._ask_for_zip)
        menu.addAction("From Hugging Face…", self.ask_for_repository)
        menu.addSeparator()
        self.remove_action = menu.addAction("Take the chosen one off the list", self._remove)
        self.add_button.setMenu(menu)
        self.card, self.warning = parts.Note(), parts.warning()
        self.hub_field = line("owner/name on Hugging Face")
        self.hub_button = parts.button("Get", act=self._fetch)
        self.hub_line = parts.row_widget(self.hub_field, self.hub_button, stretched=0)
        self.row = DownloadRow()
        choosing = parts.row(self.box, self.add_button, stretched=0)
        parts.stack(self, choosing, self.hub_line, self.row, self.card, self.warning)
        self.hub_line.setVisible(False)
        self.downloads = DownloadControl(jobs, (self.row,), partial(self.hub_line.setEnabled, True))
        self.box.activated.connect(self._choose)
        self.hub_field.returnPressed.connect(self.hub_button.click)
        folders = remembered.model_folders.splitlines()
        jobs.start(_list_models, folders, done=self._show_models)

    def name(self) -> str:
        """Name or folder of the chosen model, empty where there is none."""
        return str(self.box.currentData() or "")

    def config(self) -> ModelConfig | None:
        """Config of the chosen model; None where there is none."""
        chosen = self._models.get(self.name())
        return None if chosen is None else chosen.config

    def folders(self) -> str:
        """Return the folders and zips of models that the user added, one a line, the newest last."""
        added = [name for name, model in self._models.items() if model.is_added]
        return "\n".join(added[-MOST_REMEMBERED:])

    def add_folder(self, folder: str | Path) -> None:
        """Add a model folder or zip to the list and choose it."""
        self._jobs.start(_entry_of, str(folder), done=self._add)

    def show_loaded(self, model: Model) -> None:
        """Say of the chosen model what is known once its weights are read."""
        self._show_card(_described(model.config), model.limits, model.warnings)

    def _show_models(self, models: Iterable[Entry], wanted: str = "") -> None:
        """List all models and choose one: the ``wanted``, else that chosen before, or in the last session."""
        self._wanted = wanted or self.name() or self._wanted
        self._models = {model.source: model for model in models}
        self.box.clear()
        for place, (name, model) in enumerate(self._models.items()):
            self.box.addItem(model.title, name)
            self.box.setItemData(place, model.why_not or name, Qt.ItemDataRole.ToolTipRole)
            self.box.model().item(place).setEnabled(not model.why_not)
        ready = [name for name, model in self._models.items() if not model.why_not]
        if self._wanted in self._models and self._wanted not in ready:  # no other in silence
            self._jobs.fail(self._models[self._wanted].why_not)
        name = self._wanted if self._wanted in ready else next(iter(ready), "")
        self.box.setCurrentIndex(self.box.findData(name))
        self._choose()

    def _show_card(
        self, text: str, limits: Sequence[str] = (), warnings: Sequence[str] = ()
    ) -> None:
        """Say what the chosen model is for, in the tooltip what not to use it for, and what is alarming."""
        self.card.setText(text)
        self.card.setToolTip("\n".join(limits))
        self.warning.say("\n".join(warnings))

    def ask_for_repository(self) -> None:
        """Show the field for a repository on Hugging Face."""
        self.hub_line.setVisible(True)
        self.hub_field.setFocus()

    def _ask_for_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Choose a model's folder")
        if folder:
            self.add_folder(folder)

    def _ask_for_zip(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Choose a packed model", "", "Models (*.zip)")
        if path:
            self.add_folder(path)

    def _fetch(self) -> None:
        repository = self.hub_field.text().strip()
        if repository and not self.downloads.is_busy:
            self.hub_line.setEnabled(False)
            self.downloads.start("model", [repository], self.add_folder)

    def _add(self, model: Entry) -> None:
        self.hub_line.setVisible(False)
        self._models.pop(model.source, None)  # it comes last
        self._show_models([*self._models.values(), model], model.source)

    def _remove(self) -> None:
        del self._models[self.name()]
        self._show_models(self._models.values())

    def _choose(self) -> None:
        config = self.config()
        self.remove_action.setEnabled(config is not None and self._models[self.name()].is_added)
        if config is None:
            self._show_card("No model can be used here; see “napari-stem models” for the reasons.")
        else:
            self._show_card(
                _described(config),
                config.card.get("limits", LIMITS),
                # whether it knows its domain is known once its weights are read
                warnings_of(calibrated=config.calibrated, knows_domain=True),
            )
        self._chosen()


def _described(config: ModelConfig) -> str:
    card = config.card
    whose = ", ".join(str(card[k]) for k in ("species", "tissue") if card.get(k))
    text = "; ".join(filter(None, (whose, count(len(config.genes), "gene"))))
    sections = ", ".join(card.get("sections", ()))
    return f"{text}. Trained on sections {sections}." if sections else text


def _list_models(added: list[str]) -> list[Entry]:
    models: list[Entry] = []
    for model in list_models():
        name, why_not = model["name"], str(model["why_not"] or "")
        config = None if why_not else read_config(find_model(name))
        models.append(Entry(name, name, config, why_not, is_added=False))
    for source in added:
        try:
            models.append(_entry_of(source))
        except StemError as error:  # perhaps on a drive that comes back
            models.append(Entry(source, Path(source).name, why_not=str(error)))
    return models


def _entry_of(source: str) -> Entry:
    # a path as it stands: never looked for on the hub, wherever the folder has gone
    config = read_config(find_model(Path(source)) if Path(source).is_file() else Path(source))
    return Entry(source, config.name, config)


class EncoderBox(QWidget):
    """Shows what the chosen model looks through, and leads to the list of all encoders.

    ``changed`` is called when some encoder became ready, or is no more.
    """

    def __init__(self, jobs: Jobs, remembered: Remembered, changed: Callable[[], None]) -> None:
        super().__init__()
        self._changed = changed
        self._wanted = ""  # encoder of the chosen model
        self.row = DownloadRow()
        self.window_of_all = window = EncoderWindow(
            jobs, remembered, self.row, self._show, parent=self
        )
        self.line = parts.linked_note()
        tip = "All encoders: which are ready, and how to get the others"
        self.all_button = parts.button("All…", tip, self._show_all, is_small=True)
        self.download_button = parts.button(
            "Download", act=lambda: window.download([each["name"] for each in self._gettable()])
        )
        self.token_button = parts.button("Enter token…", act=window.token_dialog.open)
        self.folder_button = parts.button(
            "Use a folder…", encoders.FOLDER_TIP, window.ask_for_folder
        )
        top = parts.row(self.line, stretched=0)
        top.addWidget(self.all_button, 0, Qt.AlignmentFlag.AlignTop)
        others = parts.row(self.token_button, self.folder_button)
        parts.stack(self, top, self.download_button, others, self.row)
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
