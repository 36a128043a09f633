"""What the dock remembers from one start to the next: choices, preferences, the look of maps."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
from napari.components import ViewerModel
from npe2 import PluginManifest

import napari_stem
from napari_stem.model import find_model
from napari_stem.settings import MAX_STEPS
from napari_stem.widgets.common import memory
from napari_stem.widgets.common.memory import (
    DEVICES,
    PREFERENCES,
    Remembered,
    recall,
    save_choices,
    store,
)
from napari_stem.widgets.model.model_panel import MOST_SAMPLES
from napari_stem.widgets.state import DisplaySettings

pytestmark = pytest.mark.gui


def write_settings(text: str) -> None:
    path = Path(store().fileName())
    path.parent.mkdir(parents=True)
    path.write_text(f"[General]\n{text}")


def test_what_is_not_to_be_read_is_at_its_default():
    write_settings(
        "seed=abc\nrange_low=much\nfolder=a, b\nquantity=@Invalid()\nn_click_spots=9\n"
        "range_high=2.5\nregion_folder=/r\ncolormap=\n"
    )
    known = {"n_click_spots": 9, "range_high": 2.5, "region_folder": "/r", "colormap": ""}
    assert recall() == Remembered(**known)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ("maybe", False)])
def test_a_yes_or_no_is_read_as_it_was_written(text, value, monkeypatch):
    monkeypatch.setattr(memory, "PREFERENCES", {})
    write_settings(f"works_offline={text}\n")
    assert recall().works_offline is value


def test_choices_are_remembered(model_road):
    wanted = Remembered(folder="/slides", n_draws=64, n_steps=20, seed=7, device="Processor (CPU)")
    save_choices(wanted)
    assert recall() == wanted


def test_a_dock_keeps_every_choice_that_it_was_given(dock_on, qtbot, tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_STEM_CACHE", str(tmp_path / "cache"))
    wanted = Remembered(
        folder="/slides",
        export_folder="/results",
        n_draws=64,
        n_steps=20,
        seed=7,
        quantity="share",
        patient="same",
        device="Processor (CPU)",
        opacity_percent=40,
        colormap="magma",
        mix_colours="rgb",
        range_kind="percentile",
        range_low=5.0,
        range_high=95.0,
        spot_shape="circle",
        region_folder="/regions",
        n_click_spots=9,
        tissue_sensitivity=60,
        tissue_min_area_mm2=0.2,
        encoder_folder=str(tmp_path),
        pace='{"cpu": [2.0]}',
        session_folder="/sessions",
        cache_folder=str(tmp_path / "results"),
    )
    elsewhere = {"model_name", "model_folders", "works_offline"}  # of tests of models and encoders
    same = {name for name, value in vars(wanted).items() if value == vars(Remembered())[name]}
    assert same == elsewhere
    save_choices(wanted)
    dock = dock_on(ViewerModel()).dock
    qtbot.addWidget(dock)
    dock.shut_down()
    assert recall() == wanted


def test_what_cannot_be_chosen_is_at_its_default(dock_on, qtbot):
    by_hand = {
        "quantity": "logcounts",
        "patient": "old",
        "seed": ["1", "2"],
        "tissue_sensitivity": 999,
        "colormap": "none",
    }
    for name, value in by_hand.items():
        store().setValue(name, value)
    road = dock_on(ViewerModel())
    qtbot.addWidget(road.dock)
    settings = road.panels.model.settings()
    assert (settings.quantity, settings.patient, settings.seed) == ("counts", "new", 0)
    road.close()


def test_preferences_are_those_of_napari(model_road):
    from napari.settings import get_plugin_settings

    preferences, panel = get_plugin_settings("napari-stem"), model_road.panels.model
    preferences.predicting.update({"n_draws": 50, "device": "Processor (CPU)"})
    preferences.encoders.update({"encoder_folder": "/encoders"})
    assert (panel.settings().n_draws, panel.settings().device) == (50, "cpu")
    folder = panel.encoders.window_of_all.folder_text
    model_road.wait(lambda: "/encoders holds no encoder" in folder.text())
    panel.form["n_steps"].setValue(7)
    model_road.dock.shut_down()
    assert preferences.predicting.n_steps == 7
    assert "n_steps: 7" in preferences.config_path.read_text()
    preferences.predicting.update({"n_draws": 60})  # nobody is there to follow
    assert panel.settings().n_draws == 50
    assert recall().n_draws == 60


def test_a_window_that_is_closed_changes_no_choice_of_another(model_road, dock_on, qtbot):
    other = dock_on(ViewerModel())
    qtbot.addWidget(other.dock)
    model_road.panels.model.form["n_draws"].setValue(50)
    other.panels.model.form["n_draws"].setValue(7)
    other.close()
    assert recall().n_draws == 7
    assert model_road.panels.model.settings().n_draws == 50


def test_preferences_are_followed_after_they_could_not_be_stored(model_road, monkeypatch):
    from napari.settings import get_plugin_settings

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    preferences = get_plugin_settings("napari-stem").predicting
    with monkeypatch.context() as patched:
        patched.setattr(type(preferences), "update", full)
        with pytest.raises(OSError, match="No space"):
            save_choices(recall())
    preferences.update({"n_draws": 50})
    assert model_road.panels.model.settings().n_draws == 50


def test_the_manifest_names_the_preferences():
    manifest = PluginManifest.from_file(Path(napari_stem.__file__).parent / "napari.yaml")
    pages = manifest.contributions.configurations
    assert {page: tuple(each.properties) for page, each in pages.items()} == PREFERENCES
    assert pages["predicting"].properties["device"].enum == list(DEVICES)
    defaults = {k: v.default for page in pages.values() for k, v in page.properties.items()}
    assert defaults == {name: getattr(Remembered(), name) for name in defaults}
    numbers = pages["predicting"].properties
    most = {name: numbers[name].maximum for name in ("n_draws", "n_steps")}
    assert most == {"n_draws": MOST_SAMPLES, "n_steps": MAX_STEPS}


def test_a_model_that_is_not_there_today_is_told_of_and_kept(
    model_road, dock_on, qtbot, tmp_path, notifications
):
    model = shutil.copytree(find_model("her2st-breast"), tmp_path / "mine")
    model_road.wait(lambda: model_road.panels.model.model_name() != "")
    model_road.panels.model.models.add_folder(model)
    model_road.wait(lambda: model_road.panels.model.model_name() == str(model))
    model_road.dock.shut_down()
    model.rename(tmp_path / "unplugged")
    dock = dock_on(ViewerModel()).dock
    qtbot.addWidget(dock)
    models = dock.panels.model.models
    qtbot.waitUntil(lambda: models.name() == "her2st-breast", timeout=20_000)
    assert any(str(model) in told for told in notifications)  # another one is chosen instead
    place = models.box.findText("mine")
    assert not models.box.model().item(place).isEnabled()
    dock.shut_down()
    assert recall().model_folders == str(model)


def test_the_look_of_maps_is_remembered(model_road, dock_on, qtbot):
    looks = (
        {
            "mix_colours": "rgb",
            "range_kind": "fixed",
            "range_low": 0.5,
            "range_high": 2.5,
            "colormap": "cividis",
            "spot_shape": "circle",
            "opacity_percent": 40,
        },
        {"range_kind": "percentile", "range_low": 5.0, "range_high": 95.0, "colormap": "magma"},
        {"range_kind": "all", "colormap": "viridis", "spot_shape": "square"},
    )
    for look in looks:
        settings = model_road.panels.genes.settings
        settings.restore(look)
        model_road.dock._remember()
        dock = dock_on(ViewerModel()).dock
        qtbot.addWidget(dock)
        again = dock.panels.genes.settings.look()
        assert again == settings.look()
        assert again | look == again
        assert {name: vars(recall())[name] for name in again} == again
        dock.shut_down()


def test_a_settings_file_edited_by_hand_gives_the_usual_look():
    settings = DisplaySettings()
    odd = {"range_kind": "x", "colormap": 3, "spot_shape": None, "opacity_percent": "much"}
    settings.restore(odd)
    assert settings.dump() == DisplaySettings().dump()
