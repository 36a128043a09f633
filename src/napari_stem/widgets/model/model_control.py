"""Models: listed, described, loaded ahead of the run; and what is missing before they can predict."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_stem.widgets.common.download_control import DownloadControl
from napari_stem.widgets.model.encoder_control import EncoderControl
from napari_stem.widgets.slide.about_slide_control import AboutSlideControl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_stem.model.bundle import Model
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.model.model_panel import ModelPanel
    from napari_stem.widgets.slide.slide_control import SlideControl

# of `list_models`, with the ``config``, and the ``folder`` (or zip) of a model that the user added
Entry = dict[str, Any]
MOST_REMEMBERED = 12
SEEN_MS = 1500  # by then a slide has been drawn, which loading libraries would hold up


class ModelControl(QObject):
    """Does what the model panel asks for, up to the run."""

    listed = Signal()
    changed = Signal()  # what is missing, or no more

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
        self.encoders = EncoderControl(jobs, panel.encoders, parent=self)
        self.about = AboutSlideControl(jobs, panel.about, slides, parent=self)
        self.downloads = DownloadControl(jobs, (panel.models.row,), parent=self)
        panel.pitch_changed.connect(self._on_pitch)
        panel.model_chosen.connect(self._choose)
        panel.folder_requested.connect(self.add_folder)
        panel.models.fetched.connect(self.fetch)
        panel.models.removed.connect(self._remove)
        self.downloads.ended.connect(partial(panel.models.show_fetching, is_busy=False))
        self.encoders.changed.connect(self._tell_missing)
        self.about.changed.connect(self._tell_missing)
        self._seeing = QTimer(self)
        self._seeing.setSingleShot(True)
        self._seeing.setInterval(SEEN_MS)
        self._seeing.timeout.connect(self._load_ahead)
        slides.activated.connect(lambda _: self._seeing.start())
        jobs.start(_list_models, folders.splitlines(), done=self._show)

    def folders(self) -> str:
        """Return the folders and zips of models that the user added, one a line, the newest last."""
        added = [name for name, model in self._models.items() if "folder" in model]
        return "\n".join(added[-MOST_REMEMBERED:])

    def add_folder(self, folder: str) -> None:
        """Add a model folder or zip to the list and choose it."""
        self._jobs.start(_told, folder, done=self._add)

    def fetch(self, repository: str) -> None:
        """Download a model from Hugging Face, add it to the list and choose it."""
        if self.downloads.is_busy:
            return
        self._panel.models.show_fetching(is_busy=True)
        self.downloads.start("model", [repository], lambda folder: self.add_folder(str(folder)))

    def close(self) -> None:
        """End downloads."""
        self.downloads.cancel()
        self.encoders.close()

    def _add(self, model: Entry) -> None:
        self._models.pop(str(model["folder"]), None)
        self._models[str(model["folder"])] = model
        self._panel.models.hub_line.setVisible(False)
        self._panel.show_models(list(self._models.values()), str(model["folder"]))

    def _remove(self, name: str) -> None:
        if self._models.pop(name, None) is not None:
            self._panel.show_models(list(self._models.values()))

    def _show(self, models: list[Entry]) -> None:
        self._models = {str(m.get("folder") or m["name"]): m for m in models}
        self._panel.show_models(models)
        self.listed.emit()

    def _choose(self, name: str) -> None:
        model = self._models[name]
        config = model.get("config")
        limits: tuple[str, ...] = ()
        warnings: tuple[str, ...] = ()
        if config is not None:
            from napari_stem.model.card import LIMITS, warnings_of

            limits = tuple(config.card.get("limits", LIMITS))
            # whether it knows its domain is known once its weights are read
            warnings = warnings_of(calibrated=config.calibrated, knows_domain=True)
        self._panel.models.show_card(_described(model), limits, warnings)
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
            text = _described(self._models[name])
            self._panel.models.show_card(text, model.limits, model.warnings)


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
    from napari_stem.errors import StemError
    from napari_stem.model import find_model, list_models
    from napari_stem.model.config import read_config

    models: list[Entry] = []
    for model in list_models():
        config = read_config(find_model(model["name"])) if model["ready"] else None
        models.append({**model, "config": config})
    for source in sources:
        try:
            models.append(_told(source))
        except StemError:  # moved away since the last session
            continue
    return models


def _told(source: str) -> Entry:
    from napari_stem.model import find_model
    from napari_stem.model.config import read_config

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


def _load_model(name: str) -> tuple[str, Model]:
    """Load a model, and once its encoder, whose libraries take seconds to come: Run then starts at once."""
    from napari_stem.encoders.registry import load_encoder
    from napari_stem.errors import EncoderError
    from napari_stem.model import load_model

    model = load_model(name)
    try:
        load_encoder(model.encoder_name)
    except EncoderError:  # the panel says what is missing, and how to get it
        return name, model
    return name, model
