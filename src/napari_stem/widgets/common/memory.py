"""What the dock remembers from one session to the next."""

from __future__ import annotations

from dataclasses import dataclass, fields

from qtpy.QtCore import QSettings


@dataclass
class Remembered:
    """The user's last choices.

    Attributes
    ----------
    folder
        Where slides were last opened from.
    export_folder
        Where results were last saved to.
    model_name
        Model last run.
    n_draws, n_steps, seed, device
        As in ``SamplingSettings``.
    opacity_percent, colormap, range_kind, range_low, range_high, spot_shape
        How maps look, as `MapLook` has it.
    region_folder
        Where regions were last loaded from or saved to.
    n_click_spots
        How many spots wide the neighbourhood of a click is.
    tissue_sensitivity, tissue_min_area_mm2
        As in ``TissueSettings``.
    model_folders
        Folders of models that the user added, one a line.
    encoder_folder
        Where encoders of the user's own lie.
    works_offline
        1 where huggingface_hub is to ask no network.
    pace
        How fast this machine is, as `Pace` has it.
    session_folder
        Where sessions were last saved to.
    """

    folder: str = ""
    export_folder: str = ""
    model_name: str = "her2st-breast"
    n_draws: int = 32
    n_steps: int = 16
    seed: int = 0
    device: str = "auto"
    opacity_percent: int = 70
    colormap: str = "viridis"
    range_kind: str = "gene"
    range_low: float = 1.0
    range_high: float = 99.0
    spot_shape: str = "square"
    region_folder: str = ""
    n_click_spots: int = 5
    tissue_sensitivity: int = 50
    tissue_min_area_mm2: float = 0.05
    model_folders: str = ""
    encoder_folder: str = ""
    works_offline: int = 0
    pace: str = ""
    session_folder: str = ""


def _store() -> QSettings:
    return QSettings(
        QSettings.Format.IniFormat, QSettings.Scope.UserScope, "napari-stem", "napari-stem"
    )


def recall() -> Remembered:
    """Read what was stored last; anything missing or unreadable is at its default."""
    store, found = _store(), Remembered()
    for field in fields(Remembered):
        kind = type(getattr(found, field.name))
        value = store.value(field.name)
        if value is None:
            continue
        try:
            setattr(found, field.name, kind(value))
        except ValueError:  # a file edited by hand
            continue
    return found


def remember(values: Remembered) -> None:
    """Store for the next session."""
    store = _store()
    for field in fields(Remembered):
        store.setValue(field.name, getattr(values, field.name))
