"""What the dock remembers from one start to the next: preferences with napari's own, the rest beside them.

Kept elsewhere: favourite genes, under a key of their own in the same file (`genes.genes_panel`); what the
user said of a slide, by its content (`slide.pixel_size`); what was open when a dock was closed, for the next
dock of its viewer (`session`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from napari.settings import get_plugin_settings
from qtpy.QtCore import QSettings
from qtpy.QtWidgets import QWidget

from napari_stem.caches import why_unwritable
from napari_stem.settings import CACHE_VARIABLE, DEFAULT_MODEL, SamplingSettings, TissueSettings
from napari_stem.widgets.common.parts import ask_for_folder, button, stack, warning
from napari_stem.widgets.state import MapLook

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_stem.widgets.common.worker import Jobs

PLUGIN = "napari-stem"
# as the manifest has them: pages of napari's Preferences and what is on them
PREDICTING, ENCODERS = "predicting", "encoders"
PREFERENCES = {
    PREDICTING: ("device", "n_draws", "n_steps"),
    ENCODERS: ("encoder_folder", "works_offline"),
}
DEVICES = {
    "Automatic": "auto",
    "Processor (CPU)": "cpu",
    "NVIDIA graphics card": "cuda",
    "Apple graphics": "mps",
}
# what a dock is storing in preferences: other windows go on as they are
_leaving: list[Remembered] = []


@dataclass
class Remembered(MapLook):
    """The user's last choices."""

    folder: str = ""  # where slides were last opened from
    export_folder: str = ""  # where results were last saved to
    model_name: str = DEFAULT_MODEL  # last run
    n_draws: int = SamplingSettings.n_draws
    n_steps: int = SamplingSettings.n_steps
    seed: int = SamplingSettings.seed
    quantity: str = SamplingSettings.quantity
    patient: str = SamplingSettings.patient
    device: str = "Automatic"  # title of where to compute, one of `DEVICES`
    region_folder: str = ""  # where regions were last loaded from or saved to
    n_click_spots: int = 5  # how many spots wide the neighbourhood of a click is
    tissue_sensitivity: int = TissueSettings.sensitivity
    tissue_min_area_mm2: float = TissueSettings.min_area_mm2
    model_folders: str = ""  # of models that the user added, one a line
    encoder_folder: str = ""  # where encoders of the user's own lie
    works_offline: bool = False  # huggingface_hub asks no network
    pace: str = ""  # how fast this machine is, as `Pace` has it
    session_folder: str = ""  # where sessions were last saved to
    cache_folder: str = ""  # where results are kept; empty: the platform's own folder


def recall() -> Remembered:
    """Read what was stored last; anything missing or unreadable is at its default."""
    stored, found = store(), Remembered()
    for name in _names_beside():
        setattr(found, name, _of_kind(stored.value(name), getattr(found, name)))
    for page, names in PREFERENCES.items():
        preferences = _page(page)
        for name in names if preferences is not None else ():
            setattr(found, name, getattr(preferences, name))
    return found


def save_choices(values: Remembered) -> None:
    """Store for the next session."""
    stored = store()
    for name in _names_beside():
        stored.setValue(name, getattr(values, name))
    _leaving.append(values)
    try:
        for page, names in PREFERENCES.items():
            if (preferences := _page(page)) is not None:
                preferences.update({name: getattr(values, name) for name in names})
    finally:
        _leaving.clear()


def follow_preferences(jobs: Jobs, page: str, act: Callable[[Remembered], object]) -> None:
    """Act whenever the user changes something on a page of napari's Preferences, until the jobs are closed."""
    if (preferences := _page(page)) is not None:
        jobs.listen((preferences.events, lambda _: _leaving or act(recall())))


def _page(page: str) -> Any:
    """Return a page of ours in napari's Preferences; None where napari does not know the plugin."""
    try:
        return getattr(get_plugin_settings(PLUGIN), page)
    except KeyError:
        return None


def _of_kind(stored: object, default: Any) -> Any:
    """Return what Qt gives, a text or nothing after a new start, as what the default is; else the default."""
    if isinstance(default, bool):
        return {"true": True, "false": False}.get(str(stored).lower(), default)
    if isinstance(default, str):
        return stored if isinstance(stored, str) else default
    with suppress(ValueError, TypeError):  # a file edited by hand
        return type(default)(stored)
    return default


def _names_beside() -> list[str]:
    preferred = {name for names in PREFERENCES.values() for name in names}
    return [each.name for each in fields(Remembered) if each.name not in preferred]


def store() -> QSettings:
    """Where what is remembered lies, apart from preferences."""
    return QSettings(QSettings.Format.IniFormat, QSettings.Scope.UserScope, PLUGIN, PLUGIN)


class CacheBox(QWidget):
    """Says that results cannot be kept, and takes another folder; hidden where they can.

    ``folder`` was chosen in an earlier session; empty where none was.
    """

    def __init__(self, folder: str = "") -> None:
        super().__init__()
        self.folder = folder
        if folder:
            os.environ.setdefault(CACHE_VARIABLE, folder)
        self.message = warning()
        self.button = button(
            "Choose folder…", "Keep embeddings and predictions in another folder", self._ask
        )
        stack(self, self.message, self.button)
        self._show("")

    def look(self, jobs: Jobs) -> None:
        """Look again whether results can be kept."""
        jobs.start(why_unwritable, done=self._show)

    def _ask(self) -> None:
        if folder := ask_for_folder(self, "Keep results in"):
            self.folder = os.environ[CACHE_VARIABLE] = folder
            self._show(why_unwritable())

    def _show(self, why: str) -> None:
        self.message.say(why)
        self.setVisible(bool(why))
