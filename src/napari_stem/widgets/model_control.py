"""Models: listed, described, loaded ahead of the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_stem.model.bundle import Model
    from napari_stem.widgets.model_panel import ModelPanel
    from napari_stem.widgets.slide_control import SlideControl
    from napari_stem.widgets.worker import Jobs

Entry = dict[str, Any]  # of `list_models`, with the folder of a model that the user added


class ModelControl(QObject):
    """Does what the model panel asks for, up to the run."""

    listed = Signal()

    def __init__(
        self,
        jobs: Jobs,
        panel: ModelPanel,
        slides: SlideControl,
        folders: str = "",
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._jobs, self._panel, self._slides = jobs, panel, slides
        self._models: dict[str, Entry] = {}
        self._loaded_name = ""
        self._is_pitch_stated = False  # by the user; a model's own no longer replaces it
        panel.pitch_changed.connect(self._on_pitch)
        panel.model_chosen.connect(self._choose)
        panel.folder_requested.connect(self.add_folder)
        slides.activated.connect(lambda _: self._load_ahead())
        jobs.start(_list_models, [Path(line) for line in folders.splitlines()], done=self._show)

    def folders(self) -> str:
        """Return the folders of models that the user added, one a line."""
        return "\n".join(name for name, model in self._models.items() if "folder" in model)

    def add_folder(self, folder: str) -> None:
        """Add a model folder to the list and choose it."""
        self._jobs.start(_told, Path(folder), done=self._add)

    def _add(self, model: Entry) -> None:
        self._models[str(model["folder"])] = model
        self._panel.show_models(list(self._models.values()), str(model["folder"]))

    def _show(self, models: list[Entry]) -> None:
        self._models = {str(m.get("folder") or m["name"]): m for m in models}
        self._panel.show_models(models)
        self.listed.emit()

    def _choose(self, name: str) -> None:
        self._panel.show_card_of(self._models[name])
        self._loaded_name = ""
        self._is_pitch_stated = False
        self._load_ahead()

    def _load_ahead(self) -> None:
        """Load the chosen model, once there is a slide to run it on."""
        name = self._panel.model_name()
        if name and name != self._loaded_name and self._slides.slide is not None:
            self._loaded_name = name
            self._jobs.start(_load_model, name, done=self._take)

    def _on_pitch(self, _: float) -> None:
        self._is_pitch_stated = True

    def _take(self, loaded: tuple[str, Model]) -> None:
        name, model = loaded
        if name == self._panel.model_name():
            if not self._is_pitch_stated:
                self._panel.pitch.setValue(model.pitch_um)
                self._is_pitch_stated = False
            card: Mapping[str, Any] = model.card
            self._panel.show_limits(card.get("sections", ()), card.get("limits", ()))


def _list_models(folders: list[Path]) -> list[Entry]:
    from napari_stem.errors import StemError
    from napari_stem.model import list_models

    models = list(list_models())
    for folder in folders:
        try:
            models.append(_told(folder))
        except StemError:  # moved away since the last session
            continue
    return models


def _told(folder: Path) -> Entry:
    from napari_stem.model.config import read_config

    config = read_config(folder)
    return {
        "name": config.name,
        "folder": str(folder),
        "ready": True,
        "why_not": None,
        "tissue": config.card.get("tissue"),
        "species": config.card.get("species"),
        "n_genes": len(config.genes),
        "encoder": config.encoder,
    }


def _load_model(name: str) -> tuple[str, Model]:
    """Load a model, and once its encoder, whose libraries take seconds to come: Run then starts at once."""
    from napari_stem.encoders.registry import load_encoder
    from napari_stem.model import load_model

    model = load_model(name)
    load_encoder(model.encoder_name)
    return name, model
