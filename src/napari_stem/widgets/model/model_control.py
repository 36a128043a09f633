"""Models: listed, added, loaded ahead; what is missing before one can predict."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFileDialog

from napari_stem.device import torch_device
from napari_stem.encoders.registry import load_encoder
from napari_stem.errors import EncoderError, StemError
from napari_stem.model import find_model, list_models, load_model
from napari_stem.model.card import LIMITS, warnings_of
from napari_stem.model.config import read_config
from napari_stem.widgets.common.download_control import DownloadControl
from napari_stem.widgets.common.parts import one_shot
from napari_stem.widgets.model.encoder_box import EncoderControl
from napari_stem.widgets.slide.about_slide_box import AboutSlideControl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_stem.model.bundle import Model
    from napari_stem.settings import SamplingSettings
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.model.model_panel import ModelPanel
    from napari_stem.widgets.slide.slide_control import SlideControl

# of `list_models`, with the ``config``, and the ``folder`` (or zip) of a model that the user added
Entry = dict[str, Any]
MOST_REMEMBERED = 12
WARM_UP_AFTER_MS = 4000  # loading libraries would hold up a slide's first pictures and its tissue


class ModelControl(QObject):
    """Does what the model panel asks for, up to the run.

    Parameters
    ----------
    jobs, panel, slides
        What it works with.
    folders
        Of models that the user added, as `folders` gives them.
    """

    changed = Signal()  # what is missing, or no more

    def __init__(
        self, jobs: Jobs, panel: ModelPanel, slides: SlideControl, folders: str = ""
    ) -> None:
        super().__init__(panel)
        self._jobs, self._panel, self._slides = jobs, panel, slides
        self._choice = choice = panel.models
        self._loaded_name = ""
        self._is_pitch_stated = False  # by the user; a model's own no longer replaces it
        self._model: Model | None = None  # as it was last loaded
        self._warming = one_shot(self, WARM_UP_AFTER_MS, self._warm_up)
        self.encoders = EncoderControl(jobs, panel.encoders, self._tell_missing)
        self.about = AboutSlideControl(jobs, panel.about, slides)
        self.downloads = DownloadControl(
            jobs, (choice.row,), partial(choice.show_fetching, is_busy=False)
        )
        panel.pitch.valueChanged.connect(self._on_pitch)
        choice.chosen.connect(self._choose)
        choice.folder_action.triggered.connect(self._ask_for_folder)
        choice.zip_action.triggered.connect(self._ask_for_zip)
        choice.hub_button.clicked.connect(self._fetch)
        choice.remove_action.triggered.connect(self._remove)
        self.about.changed.connect(self._tell_missing)
        slides.activated.connect(lambda _: self._load_ahead())
        jobs.start(_list_models, folders.splitlines(), done=choice.show_models)

    def folders(self) -> str:
        """Return the folders and zips of models that the user added, one a line, the newest last."""
        added = [name for name, model in self._choice.models.items() if "folder" in model]
        return "\n".join(added[-MOST_REMEMBERED:])

    def add_folder(self, folder: str | Path) -> None:
        """Add a model folder or zip to the list and choose it."""
        self._jobs.start(_entry_of, str(folder), done=self._add)

    def close(self) -> None:
        """Load nothing any more, and close the window of encoders."""
        self.encoders.close()
        self._warming.stop()

    def _ask_for_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self._choice, "Choose a model's folder")
        if folder:
            self.add_folder(folder)

    def _ask_for_zip(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self._choice, "Choose a packed model", "", "Models (*.zip)"
        )
        if path:
            self.add_folder(path)

    def _fetch(self) -> None:
        """Download the model of a repository on Hugging Face, add it to the list and choose it."""
        repository = self._choice.hub_field.text().strip()
        if repository and not self.downloads.is_busy:
            self._choice.show_fetching(is_busy=True)
            self.downloads.start("model", [repository], self.add_folder)

    def _add(self, model: Entry) -> None:
        folder = str(model["folder"])
        self._choice.hub_line.setVisible(False)
        self._choice.show_models([*self._others(folder), model], folder)

    def _remove(self) -> None:
        self._choice.show_models(self._others(self._choice.name()))

    def _others(self, name: str) -> list[Entry]:
        return [each for other, each in self._choice.models.items() if other != name]

    def _choose(self, name: str) -> None:
        if not name:
            return
        model = self._choice.models[name]
        config = model.get("config")
        limits: tuple[str, ...] = ()
        warnings: tuple[str, ...] = ()
        if config is not None:
            limits = tuple(config.card.get("limits", LIMITS))
            self._panel.offer_steps(has_network=bool(config.denoiser))
            # whether it knows its domain is known once its weights are read
            warnings = warnings_of(calibrated=config.calibrated, knows_domain=True)
        self._choice.show_card(_described(model), limits, warnings)
        self._loaded_name = ""
        self._is_pitch_stated = False
        self.encoders.want(str(model.get("encoder") or ""))
        self.about.use_model(name, config)
        self._load_ahead()

    def _tell_missing(self) -> None:
        missing = self.about.missing()
        if not missing and not self.about.has_embeddings:
            missing = self.encoders.missing()
        takes_file = self.about.embedder is not None
        is_new = (missing, takes_file) != (self._panel.missing, self._panel.takes_file)
        self._panel.missing, self._panel.takes_file = missing, takes_file
        if is_new:
            self.changed.emit()
        if is_new and not missing:  # the encoder may have come: load it too
            self._loaded_name = ""
            self._load_ahead()

    def _load_ahead(self) -> None:
        """Load the chosen model, once there is a slide to run it on."""
        name = self._choice.name()
        if name and name != self._loaded_name and self._slides.slide is not None:
            self._loaded_name = name
            self._jobs.start(load_model, name, done=partial(self._take, name))

    def _warm_up(self) -> None:
        if self._model is not None:
            self._jobs.start(_warm_up, self._model, self._panel.settings(), done=lambda _: None)

    def _on_pitch(self) -> None:
        self._is_pitch_stated = True

    def _take(self, name: str, model: Model) -> None:
        if name == self._choice.name():
            self._model = model
            self._warming.start()
            self._panel.offer_pitches(model.pitch_um)
            if not self._is_pitch_stated:
                self._panel.pitch.setValue(model.pitch_um)
                self._is_pitch_stated = False
            self._choice.show_card(
                _described(self._choice.models[name]), model.limits, model.warnings
            )


def _described(model: Mapping[str, Any]) -> str:
    """Say what a model is for."""
    parts = [
        ", ".join(str(model[k]) for k in ("species", "tissue") if model.get(k)),
        f"{model['n_genes']:,} genes" if model.get("n_genes") else "",
    ]
    text = "; ".join(part for part in parts if part)
    config = model.get("config")
    sections = () if config is None else config.card.get("sections", ())
    return f"{text}. Trained on sections {', '.join(sections)}." if sections else text


def _list_models(sources: list[str]) -> list[Entry]:
    models: list[Entry] = []
    for model in list_models():
        config = read_config(find_model(model["name"])) if model["ready"] else None
        models.append({**model, "config": config})
    for source in sources:
        try:
            models.append(_entry_of(source))
        except StemError:  # moved away since the last session
            continue
    return models


def _entry_of(source: str) -> Entry:
    # a path as it stands: never looked for on the hub, wherever the folder has gone
    config = read_config(find_model(Path(source)) if Path(source).is_file() else Path(source))
    return {
        "name": config.name,
        "folder": source,
        "ready": True,
        "why_not": None,
        "tissue": config.card.get("tissue"),
        "species": config.card.get("species"),
        "n_genes": len(config.genes),
        "encoder": config.encoder,
        "config": config,
    }


def _warm_up(model: Model, settings: SamplingSettings) -> None:
    """Load what a run needs, which takes seconds, so that Run then starts at once."""
    import anndata  # noqa: F401 - what is predicted is written by it

    with suppress(EncoderError):  # the panel says what is missing, and how to get it
        load_encoder(model.encoder_name, torch_device("auto"))
    model.prepare(settings)
