"""The road leads: hints, several slides and predictions, drops, sessions, a window that never stops."""

from __future__ import annotations

import os
import shutil
import threading
import time
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from napari.layers import Image, Labels, Layer
from napari.layers._layer_actions import _duplicate_layer
from numpy.testing import assert_allclose, assert_array_equal
from qtpy.QtCore import Qt, QThreadPool, QTimer
from qtpy.QtWidgets import QApplication, QMessageBox

from napari_stem.caches import entries
from napari_stem.geometry import Mpp
from napari_stem.model import find_model
from napari_stem.prediction_job import PredictionJob
from napari_stem.results import Prediction
from napari_stem.sample_data import sample_path
from napari_stem.settings import CACHE_VARIABLE, SamplingSettings, cache_dir
from napari_stem.slide.pixel_size import remember, remembered
from napari_stem.widgets.common.hints import RoadState, hints, missing_for_run
from napari_stem.widgets.common.memory import recall
from napari_stem.widgets.common.parts import ProgressBar, duration
from napari_stem.widgets.genes.map_display import REFRESH_MS
from napari_stem.widgets.model.model_panel import Effort, Pace

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.gui

TUMOUR = [(4200, 3400), (5000, 3400), (5000, 4200), (4200, 4200)]
BESIDE = [(5200, 3400), (6300, 3400), (6300, 4500), (5200, 4500)]
LARGE = [(4200, 3400), (6300, 3400), (6300, 5500), (4200, 5500)]
NEW_SEEDS = count(100)  # so that no run finds what another left
LONGEST_GAP_S = 5.0  # generous: software OpenGL on a machine that runs other tests beside this one


@pytest.fixture(autouse=True)
def _few_predictions() -> Iterator[None]:
    """Every slide that opens has its stored predictions opened: no test waits for those of all before it."""
    yield
    shutil.rmtree(cache_dir() / "predictions", ignore_errors=True)


def stored_predictions() -> set[object]:
    return set((cache_dir() / "predictions").glob("*.zarr"))


def hint(road, title: str) -> str:
    return road.dock.parts[title].hint.text()


# the parts that need no window


def test_each_step_says_what_is_missing():
    nothing = RoadState()
    assert missing_for_run(nothing) == "Open a slide first."
    unsized = RoadState(slide_name="C5")
    assert "pixel" in missing_for_run(unsized)
    slide = RoadState(slide_name="C5", has_pixel_size=True)
    assert missing_for_run(slide) == "Choose a region first."
    empty = RoadState(slide_name="C5", has_pixel_size=True, n_regions=1)
    assert "No spot" in missing_for_run(empty)
    full = RoadState(slide_name="C5", has_pixel_size=True, n_regions=1, n_spots=9, area_mm2=0.36)
    assert missing_for_run(full) == "Choose a model first."
    ready = RoadState("C5", True, 1, 9, 0.36, "her2st-breast")
    assert missing_for_run(ready) == ""
    assert "No patch of the file lies" in missing_for_run(replace(ready, n_patches=0))
    assert missing_for_run(replace(ready, n_spots=0, n_patches=4)) == ""
    assert hints(ready)["Region"].text == "1 region, 0.36 mm², 9 spots"
    assert "ready" in hints(ready)["Model"].text
    for state in (nothing, unsized, slide, empty, full, ready):
        told = hints(state)
        assert all(told[title].text for title in ("Slide", "Region", "Model", "Genes"))
        assert not any("\n" in line.text for line in told.values())


def test_the_pace_of_this_machine_is_learnt_and_remembered():
    settings = SamplingSettings(n_draws=32, n_steps=16, device="cpu")
    cpu, pace = Effort(settings), Pace()
    laptop = pace.estimate_s(cpu, 100)
    assert laptop > pace.estimate_s(Effort(replace(settings, n_draws=2, n_steps=2)), 100) > 0
    assert not pace.is_measured(cpu)
    pace.measured(cpu, 100, 3 * laptop)
    assert pace.estimate_s(cpu, 100) == pytest.approx(3 * laptop)
    assert pace.estimate_s(cpu, 200) > 5 * laptop
    assert pace.estimate_s(Effort(replace(settings, device="cuda")), 100) == laptop
    again = Pace(pace.as_text())
    assert again.estimate_s(cpu, 100) == pytest.approx(3 * laptop, rel=1e-3)
    pace.measured(cpu, 1, 1e6)  # too few spots to learn from
    assert pace.estimate_s(cpu, 100) == pytest.approx(3 * laptop)
    of_file = replace(cpu, looks=False)
    from_file = pace.estimate_s(of_file, 100)
    assert from_file < 0.75 * 3 * laptop  # at this machine's pace, without looking
    pace.measured(of_file, 100, 4 * from_file)
    assert pace.estimate_s(of_file, 100) == pytest.approx(4 * from_file)
    assert pace.estimate_s(cpu, 100) == pytest.approx(3 * laptop)
    for broken in ("[]", "{", '{"cpu": 3}', '{"cpu": ["x"]}'):
        assert Pace(broken).estimate_s(cpu, 100) == laptop
    assert duration(laptop).startswith(("a few", "about"))


def test_steps_that_a_model_does_not_take_cost_no_time():
    few, many = (SamplingSettings(n_steps=n_steps) for n_steps in (1, 1000))
    one_step = Pace().estimate_s(Effort(few), 100)
    assert Pace().estimate_s(Effort(many), 100) > 2 * one_step
    assert Pace().estimate_s(Effort(many, has_network=False), 100) == one_step


def test_a_bar_does_not_move_where_it_is_not_known_how_far_a_job_is(qapp):
    bar = ProgressBar()
    bar.show_share(0, 0)
    assert bar.maximum() > bar.minimum()  # or Qt moves it, and paints the whole window each time
    bar.show_share(3, 4)
    assert (bar.value(), bar.maximum()) == (3, 4)


def test_looking_closer_says_what_is_missing_too():
    shown = RoadState("C5", True, 1, 9, 0.36, "her2st-breast", shown="FASN of 200 genes")
    closer = ("Uncertainty", "Compare", "Measured data")
    before = hints(RoadState("C5", True, 1, 9, 0.36, "her2st-breast"))
    assert {before[title].text for title in closer} == {"Run a prediction first."}
    assert hints(shown)["Uncertainty"].text == ""
    assert hints(shown)["Compare"].text == "1 region to compare with everything else."
    assert "Draw a region" in hints(replace(shown, n_regions=0))["Compare"].text
    unkept = hints(replace(shown, keeps_samples=False))
    for title in ("Uncertainty", "Compare"):
        assert "were not kept" in unkept[title].text
        assert unkept[title].when_open
    assert "Load counts" in hints(shown)["Measured data"].text
    assert hints(replace(shown, measured="C5.h5ad"))["Measured data"].text == "C5.h5ad"
    waiting = hints(RoadState("C5", True, measured="C5.h5ad"))["Measured data"]
    assert waiting.text == "C5.h5ad waits for a prediction of this slide."


# the dock


def test_the_dock_leads_from_the_slide_to_the_run(model_road):
    run, why = model_road.panels.run.run_button, model_road.panels.run.why_not
    assert "Open a slide" in hint(model_road, "Slide")
    assert why.text() == "Open a slide first."
    assert not why.isHidden()
    model_road.open(sample_path())
    assert hint(model_road, "Slide") == model_road.dock.panels.slide.layer.name
    assert "tissue" in hint(model_road, "Region")
    model_road.wait(lambda: model_road.panels.model.model_name() != "")
    assert why.text() == "Choose a region first."
    assert not run.isEnabled()
    model_road.draw(TUMOUR)
    model_road.wait(run.isEnabled)
    assert why.isHidden()
    assert "spots × 32 samples, " in run.text()
    before = run.text()
    model_road.panels.model.form["n_draws"].setValue(1000)
    assert run.text() != before
    assert "mm²" in hint(model_road, "Region")
    assert "Run" in hint(model_road, "Genes")


def test_the_active_slide_follows_the_layer_list(model_road, crop):
    first = model_road.open(sample_path())
    model_road.draw(TUMOUR)
    outlines = model_road.viewer.layers.selection.active
    second = model_road.open(crop)
    slides = model_road.dock.panels.slide
    selection = model_road.viewer.layers.selection
    assert slides.layer is second
    assert not outlines.visible
    selection.active = first
    model_road.wait(lambda: slides.layer is first)
    assert (first.visible, second.visible, outlines.visible) == (True, False, True)
    selection.active = second
    model_road.wait(lambda: slides.layer is second)
    selection.active = outlines  # regions lead to their slide too
    model_road.wait(lambda: slides.layer is first)

    first.name = "renamed"
    choice = model_road.panels.slide.choice
    assert choice.currentText() == "renamed"
    model_road.viewer.layers.move(0, 3)
    assert choice.currentText() == "renamed"
    choice.activated.emit(choice.findText(second.name))
    assert slides.layer is second


def test_a_copy_of_a_map_is_seen_with_its_slide_alone(model_road, crop, c5_prediction):
    first = model_road.open(sample_path())
    model_road.drop(c5_prediction)
    maps, layers = model_road.dock.panels.maps, model_road.viewer.layers
    model_road.wait(lambda: maps.layer("mean") in layers and maps.layer_queue.is_settled())
    layers.selection.active = maps.layer("mean")
    _duplicate_layer(layers)  # as "Duplicate Layer" of napari does
    copied = next(layer for layer in layers if layer.name.endswith(" copy"))
    second = model_road.open(crop)
    assert not copied.visible
    slides = model_road.panels.slide
    layers.selection.active = copied  # it leads to its slide, as a map does
    model_road.wait(lambda: slides.layer is first)
    assert copied.visible
    copied.visible = False  # by the user
    for slide_layer in (second, first):
        layers.selection.active = slide_layer
        model_road.wait(lambda wanted=slide_layer: slides.layer is wanted)
        assert not copied.visible


@pytest.mark.parametrize("kind", ["channel", "level", "labels"])
def test_what_napari_makes_of_a_slide_or_of_regions_does_not_stand_for_them(model_road, crop, kind):
    first = model_road.open(sample_path())
    model_road.draw(TUMOUR)
    slides, regions, layers = (
        model_road.panels.slide,
        model_road.panels.region,
        model_road.viewer.layers,
    )
    drawn_on, before = layers.selection.active, regions.drawn()
    source = drawn_on if kind == "labels" else first
    options = {name: getattr(source, name) for name in ("scale", "units", "metadata")}
    data = {"channel": [level[..., 0] for level in first.data], "level": first.data[3]}.get(kind)
    if kind == "labels":
        made: Layer = Labels(drawn_on.to_labels(labels_shape=(500, 500)), **options)
    else:
        made = Image(data, multiscale=kind == "channel", rgb=kind == "level", **options)
    layers.append(made)
    layers.selection.active = made
    QApplication.processEvents()
    assert slides.layers.all() == [first]
    assert slides.layer is first
    assert regions.drawn() == before
    model_road.draw(BESIDE)
    model_road.wait(lambda: len(regions.drawn()) == 2)
    second = model_road.open(crop)
    assert [layer for layer in layers if layer.visible] == [second]
    layers.selection.active = made
    model_road.wait(lambda: slides.layer is first)
    assert made.visible


def test_regions_that_are_deleted_alone_can_be_brought_back(model_road):
    model_road.open(sample_path())
    model_road.draw(TUMOUR)
    layers, slides, regions = (
        model_road.viewer.layers,
        model_road.panels.slide,
        model_road.panels.region,
    )
    drawn_on, before = layers.selection.active, regions.drawn()
    layers.remove(drawn_on)
    model_road.wait(lambda: "Regions on C5" in slides.back_button.text())
    assert regions.drawn() == []
    slides.back_button.click()
    assert regions.drawn() == before
    regions.undo()  # what came before is still known
    assert regions.drawn() == []
    layers.remove(drawn_on)  # nothing on it
    QApplication.processEvents()
    assert slides.back_button.isHidden()


def test_what_is_brought_back_joins_what_was_opened_or_drawn_since(model_road):
    slides, regions = model_road.panels.slide, model_road.panels.region
    layers = model_road.viewer.layers
    model_road.open(sample_path())
    model_road.draw(TUMOUR)
    (before,) = regions.regions()
    layers.remove(layers.selection.active)
    model_road.wait(lambda: "Regions on C5" in slides.back_button.text())
    model_road.draw(BESIDE)
    regions.count()
    slides.back_button.click()
    assert [each.name for each in regions.regions()] == ["region 1", "region 1 (2)"]
    assert regions.regions()[1].polygon.equals(before.polygon)
    assert len(layers) == 2
    model_road.wait(lambda: slides.slide.is_complete)  # else it would not be offered
    layers.remove(slides.layer)
    model_road.wait(lambda: not layers)
    again = model_road.open(sample_path())
    slides.back_button.click()
    assert slides.layers.all() == [again]
    assert len(regions.regions()) == 2


def test_a_copy_of_regions_that_is_deleted_is_not_offered_again(model_road):
    model_road.open(sample_path())
    model_road.draw(TUMOUR)
    layers, regions = model_road.viewer.layers, model_road.panels.region
    before = regions.drawn()
    _duplicate_layer(layers)
    layers.remove(layers["Regions on C5 copy"])
    QApplication.processEvents()
    assert model_road.panels.slide.back_button.isHidden()
    assert regions.drawn() == before


def test_what_lies_on_a_slide_stays_there_where_it_is_left_with_views_side_by_side(
    model_road, crop, c5_prediction
):
    first = model_road.open(sample_path())
    model_road.draw(TUMOUR)
    regions = model_road.viewer.layers.selection.active
    model_road.drop(c5_prediction)
    maps, layers = model_road.dock.panels.maps, model_road.viewer.layers
    model_road.wait(lambda: maps.layer("mean") in layers and maps.layer_queue.is_settled())
    layers.selection.active = maps.layer("mean")
    _duplicate_layer(layers)
    copied = next(layer for layer in layers if layer.name.endswith(" copy"))
    genes, slides = maps.current().prediction.genes, model_road.panels.slide
    maps.settings.update(picked=tuple(genes[:2]), arrangement="beside")
    assert not copied.visible
    second = model_road.open(crop)
    assert [layer for layer in layers if layer.visible] == [second]
    slides.activate(slides.find_open(slides.slides()[0].fingerprint))
    assert slides.layer is first
    maps.settings.update(arrangement="one")
    assert {first, regions, copied} < {layer for layer in layers if layer.visible}
    assert not second.visible


def test_what_napari_selects_after_a_removal_is_no_choice(model_road, crop):
    model_road.open(sample_path())
    second = model_road.open(crop)
    other = model_road.viewer.add_points(np.zeros((1, 2)), units=second.units, scale=second.scale)
    model_road.qtbot.wait(20)
    model_road.viewer.layers.selection.active = other
    model_road.viewer.layers.remove(other)
    model_road.qtbot.wait(50)
    assert model_road.dock.panels.slide.layer is second


def test_an_objective_gives_the_pixel_size_and_it_is_remembered(model_road, crop):
    model_road.open(crop)
    slide = model_road.dock.coordinator.slide
    model_road.panels.slide.pixel_size.objectives["20×"].click()
    assert slide.mpp == Mpp.square(0.5)
    model_road.wait(lambda: remembered(slide.fingerprint) == Mpp.square(0.5))
    assert not model_road.panels.slide.pixel_size.change_button.isHidden()
    remember(slide.fingerprint, None)


def test_a_slide_is_in_pixels_until_its_pixel_size_is_known(model_road, crop):
    layer = model_road.open(crop)
    scale_bar = model_road.viewer.canvas.overlays.scale_bar
    assert [str(unit) for unit in layer.units] == ["pixel", "pixel"]
    assert_allclose(layer.scale, 1)
    assert not scale_bar.visible
    assert not model_road.panels.region.isEnabled()
    model_road.panels.slide.pixel_size.objectives["20×"].click()
    assert {str(unit) for unit in model_road.viewer.layers.units} == {"micrometer"}
    assert_allclose(layer.scale, 0.5)
    assert scale_bar.visible
    fingerprint = model_road.dock.coordinator.slide.fingerprint
    model_road.wait(lambda: remembered(fingerprint) is not None)
    remember(fingerprint, None)


def test_a_slide_in_pixels_takes_the_units_of_no_other_away(model_road, crop):
    unsized = model_road.open(crop)
    sized = model_road.open(sample_path())
    slides = model_road.dock.panels.slide
    assert {str(unit) for unit in model_road.viewer.layers.units} == {"micrometer"}
    assert model_road.viewer.canvas.overlays.scale_bar.visible
    model_road.viewer.layers.selection.active = unsized
    model_road.wait(lambda: slides.layer is unsized)
    assert not model_road.viewer.canvas.overlays.scale_bar.visible
    model_road.viewer.layers.remove(sized)
    model_road.wait(lambda: {str(unit) for unit in unsized.units} == {"pixel"})


def test_a_known_length_gives_the_pixel_size(model_road, crop):
    layer = model_road.open(crop)
    box = model_road.panels.slide.pixel_size
    box.measure_button.click()
    ruler = model_road.viewer.layers.selection.active
    assert ruler.mode == "add_line"
    ruler.add_lines([np.array([[100.0, 50.0], [100.0, 250.0]])])
    assert "200 pixels" in box.explanation.text()
    box.length.setValue(500.0)
    box.length_button.click()
    slide = model_road.dock.coordinator.slide
    assert slide.mpp == Mpp.square(2.5)
    assert_allclose(layer.scale, (2.5, 2.5))
    assert ruler not in model_road.viewer.layers
    model_road.wait(lambda: remembered(slide.fingerprint) is not None)
    remember(slide.fingerprint, None)


def test_a_ruler_goes_with_its_slide(model_road, crop):
    """On another slide its line would be measured in pixels of the first."""
    model_road.open(crop)
    model_road.panels.slide.pixel_size.measure_button.click()
    ruler = model_road.viewer.layers.selection.active
    assert ruler.mode == "add_line"
    other = model_road.open(sample_path())
    assert ruler not in model_road.viewer.layers
    model_road.qtbot.wait(50)
    assert model_road.panels.slide.layer is model_road.viewer.layers.selection.active is other


def test_regions_that_lead_to_another_slide_stay_selected_when_its_ruler_goes(model_road, crop):
    model_road.open(crop)
    model_road.panels.slide.set_pixel_size(0.7)
    model_road.draw([(300, 300), (900, 300), (900, 900), (300, 900)])
    regions = model_road.viewer.layers.selection.active
    model_road.open(sample_path())
    model_road.panels.slide.pixel_size.measure_button.click()
    ruler = model_road.viewer.layers.selection.active
    model_road.viewer.layers.selection.active = regions
    model_road.wait(lambda: ruler not in model_road.viewer.layers)
    model_road.qtbot.wait(50)
    assert model_road.viewer.layers.selection.active is regions
    assert model_road.panels.slide.layer.name == "crop"


def test_a_model_that_was_added_is_there_again(model_road, tmp_path):
    model = shutil.copytree(find_model("her2st-breast"), tmp_path / "mine")
    model_road.wait(lambda: model_road.panels.model.model_name() != "")
    model_road.dock.panels.model.models.add_folder(str(model))
    model_road.wait(lambda: model_road.panels.model.model_name() == str(model))
    model_road.dock.shut_down()
    assert recall().model_folders == str(model)
    assert recall().model_name == str(model)


def test_predictions_of_earlier_days_are_offered_again(model_road, c5_prediction):
    stored = cache_dir() / "predictions" / "earlier-0123.zarr"
    shutil.copytree(c5_prediction, stored)
    try:
        model_road.open(sample_path())
        predictions = model_road.panels.model.predictions
        table = predictions.table
        model_road.wait(lambda: table.row_of(stored) is not None)
        assert table.index(table.row_of(stored), 1).data() == "16"
        predictions.view.clicked.emit(table.index(table.row_of(stored), 0))
        model_road.wait(lambda: model_road.maps is not None)
        assert model_road.maps.prediction.path == stored
    finally:
        shutil.rmtree(stored)


def test_a_prediction_that_was_stopped_on_an_earlier_day_says_so(
    model_road, c5_prediction, tmp_path
):
    stopped = shutil.copytree(c5_prediction, tmp_path / "stopped.zarr")
    zarr.open_group(stopped, use_consolidated=False)["obs"]["done"][8:] = False
    model_road.open(sample_path())
    predictions, told = model_road.panels.model.predictions, model_road.panels.run.progress_text
    for path in (c5_prediction, stopped):
        assert told.text() == ""
        with model_road.qtbot.waitSignal(predictions.shown, timeout=60_000):
            predictions.open(path)
    assert told.text() == "Stopped: 8 of 16 spots predicted and kept. Run again to go on."
    predictions.choose(c5_prediction)
    assert told.text() == ""


def test_a_slide_that_is_looked_at_again_opens_only_what_has_changed(
    model_road, c5_prediction, crop, monkeypatch
):
    same, grown = (cache_dir() / "predictions" / f"earlier-{n:012x}.zarr" for n in (1, 2))
    for stored in (same, grown):
        shutil.copytree(c5_prediction, stored)
        zarr.open_group(stored, use_consolidated=False)["obs"]["done"][8:] = False
    slides, table = model_road.panels.slide, model_road.panels.model.predictions.table
    model_road.open(crop)
    other = slides.slide
    model_road.open(sample_path())
    slide, opened, init = slides.slide, [], Prediction.__init__

    def listed() -> dict[object, str]:
        rows = range(table.rowCount())
        return {table.key(row): table.index(row, 1).data() for row in rows}

    def counted(self, path):
        opened.append(path)
        init(self, path)

    def look_again() -> None:
        slides.activate(other)
        model_road.wait(lambda: listed() == {})
        slides.activate(slide)
        model_road.wait(lambda: listed() != {})

    model_road.wait(lambda: listed() == {same: "8 of 16", grown: "8 of 16"})
    monkeypatch.setattr(Prediction, "__init__", counted)
    look_again()
    assert listed() == {same: "8 of 16", grown: "8 of 16"}
    QThreadPool.globalInstance().waitForDone()
    assert opened == []
    zarr.open_group(grown, use_consolidated=False)["obs"]["done"][8:12] = True  # by another program
    look_again()
    model_road.wait(lambda: listed() == {same: "8 of 16", grown: "12 of 16"})
    assert opened == [grown]


def test_the_least_recently_used_predictions_make_room_and_the_shown_one_stays(
    model_road, c5_prediction, notifications, monkeypatch
):
    old, shown = (cache_dir() / "predictions" / f"earlier-{n:012x}.zarr" for n in (1, 2))
    for stored in (old, shown):
        shutil.copytree(c5_prediction, stored)
        for path in (stored, stored / "zarr.json"):
            os.utime(path, (1.7e9, 1.7e9))
    monkeypatch.setenv("NAPARI_STEM_PREDICTIONS_GB", "0")

    def listed() -> set[object]:
        table = model_road.panels.model.predictions.table
        return {table.key(row) for row in range(table.rowCount())}

    model_road.open(sample_path())
    model_road.wait(lambda: {old, shown} <= listed())
    model_road.dock.panels.model.predictions.choose(shown)
    model_road.wait(lambda: notifications != [])
    assert "1 prediction was removed to make room, last used on 14 Nov 2023" in notifications[0]
    assert not old.exists()
    assert old not in listed()
    assert shown in listed()
    assert model_road.maps.prediction.path == shown
    (entry,) = (entry for entry in entries(["predictions"]) if entry.path == shown)
    assert entry.may_be_open  # as other processes see it
    shutil.rmtree(shown)


@pytest.mark.slow
def test_several_predictions_of_a_slide_are_kept_and_chosen(model_road):
    model_road.open(sample_path())
    model_road.draw(TUMOUR)
    model_road.ask_little()
    model_road.run()
    first = model_road.maps.prediction
    model_road.draw(BESIDE)
    model_road.wait(lambda: "2 regions" in model_road.panels.region.summary.text())
    model_road.run()
    second = model_road.maps.prediction
    assert len(second.spots) > len(first.spots)
    coordinator = model_road.dock.coordinator
    coordinator.panels.model.predictions.choose(first.path)
    assert model_road.maps.prediction is first
    gene = model_road.panels.genes.settings.gene
    layer = model_road.layer("mean")
    assert np.isfinite(layer.data).any()
    assert gene in layer.name
    coordinator.panels.model.predictions.choose(second.path)
    assert model_road.maps.prediction is second
    view = model_road.panels.model.predictions.view
    assert view.currentIndex().data(Qt.ItemDataRole.UserRole) == second.path


@pytest.mark.slow
def test_results_stay_with_their_slide_whatever_happens_meanwhile(model_road, crop):
    first = model_road.open(sample_path())
    model_road.draw(TUMOUR)
    outlines = model_road.viewer.layers.selection.active
    model_road.ask_little(n_draws=8, n_steps=8)
    coordinator = model_road.dock.coordinator
    slide = coordinator.slide
    with model_road.qtbot.waitSignal(coordinator.panels.run.ended, timeout=120_000):
        model_road.panels.run.run_button.click()
        first.name = "another name"
        second = model_road.open(crop)
        model_road.viewer.layers.move(0, len(model_road.viewer.layers))
        model_road.viewer.layers.remove(outlines)
        model_road.viewer.layers.selection.active = second
    model_road.qtbot.wait(50)
    assert coordinator.panels.slide.layer is second  # the run's maps did not take the user away
    assert model_road.maps is None
    model_road.viewer.layers.selection.active = first
    model_road.wait(lambda: model_road.maps is not None)
    prediction = model_road.maps.prediction
    assert prediction.provenance["slide_fingerprint"] == slide.fingerprint
    assert prediction.done.all()
    assert np.isfinite(model_road.layer("mean").data).sum() == len(prediction.spots)


def test_a_click_during_a_run_waits_for_its_end_and_its_slide(model_road, crop, notifications):
    model_road.open(sample_path())
    model_road.ask_little()
    slide, runs = model_road.dock.coordinator.slide, model_road.panels.run
    regions = model_road.panels.region
    regions.tools["click"].click()
    regions.click_size.setValue(2)
    mpp = slide.mpp
    with model_road.qtbot.waitSignal(runs.ended, timeout=120_000):
        regions.click_at((4000 * mpp.y_um, 4000 * mpp.x_um))
        regions.click_at((4700 * mpp.y_um, 4700 * mpp.x_um))
        model_road.open(crop)
        assert runs.is_running
    assert not runs.is_running
    assert notifications == []
    with model_road.qtbot.waitSignal(runs.ended, timeout=120_000):
        model_road.panels.slide.activate(slide)
    assert len(model_road.maps.prediction.spots) == 8


def test_after_cancel_no_click_begins_another_run(model_road):
    model_road.open(sample_path())
    model_road.ask_little()
    regions, runs = model_road.panels.region, model_road.panels.run
    regions.tools["click"].click()
    mpp = model_road.dock.coordinator.slide.mpp
    with model_road.qtbot.waitSignal(runs.ended, timeout=120_000):
        regions.click_at((4000 * mpp.y_um, 4000 * mpp.x_um))
        regions.click_at((4700 * mpp.y_um, 4700 * mpp.x_um))
        runs.cancel_button.click()
    assert not runs.is_running


@pytest.fixture
def held_run(model_road, monkeypatch) -> Iterator[tuple[Any, threading.Event]]:
    """A run that waits after its first block of spots, until it is told to go on."""
    road, go_on, fill = model_road, threading.Event(), PredictionJob.steps

    def steps(job, prediction, poll):
        for step in fill(job, prediction, poll, write_every_s=0):
            yield step
            if step.n_done:
                go_on.wait()

    monkeypatch.setattr(PredictionJob, "steps", steps)
    road.open(sample_path())
    road.draw(LARGE)
    road.ask_little()
    road.panels.model.form["seed"].setValue(next(NEW_SEEDS))
    road.panels.run.run_button.click()
    road.wait(lambda: road.maps is not None and road.maps.prediction.done.any())
    yield road, go_on
    go_on.set()


@pytest.mark.parametrize("asked", ["session", "open"])
def test_what_is_opened_again_during_its_run_goes_on_growing(held_run, asked):
    road, go_on = held_run
    predictions, sessions = road.panels.model.predictions, road.dock.coordinator.sessions
    begun = road.maps
    assert not begun.prediction.done.all()
    if asked == "session":
        sessions.restore(sessions.session())
    else:
        predictions.open(begun.prediction.path)
    road.wait(lambda: road.maps is not begun)
    assert road.maps.is_growing
    with road.qtbot.waitSignal(road.panels.run.ended, timeout=120_000):
        go_on.set()
    prediction = road.maps.prediction
    assert prediction.done.all()
    assert not road.maps.is_growing
    assert np.isfinite(road.layer("mean").data).sum() == len(prediction.spots)
    row = predictions.table.row_of(prediction.path)
    assert predictions.table.index(row, 1).data() == str(len(prediction.spots))


def test_a_warning_during_a_run_is_told_to_be_of_what_is_chosen_now(held_run):
    road, go_on = held_run
    road.panels.model.form.restore({"n_draws": 3})  # the run on its way draws 2
    warning = road.panels.run.warning
    assert warning.text().startswith("As chosen now: ")
    assert "3 samples are too few for a 90% interval" in warning.text()
    with road.qtbot.waitSignal(road.panels.run.ended, timeout=120_000):
        go_on.set()
    assert "3 samples are too few for a 90% interval" in warning.text()
    assert "As chosen now" not in warning.text()


def test_an_older_prediction_that_is_looked_at_during_a_run_stays_as_it_is(held_run, c5_prediction):
    road, go_on = held_run
    growing = road.maps.prediction
    road.drop(c5_prediction)
    road.wait(lambda: road.maps.prediction is not growing)
    older, maps = road.maps, road.panels.maps
    road.wait(lambda: "clustering" in older.columns)  # which comes last
    drawn: list[str] = []
    maps.map_updated.connect(lambda: drawn.append(maps.shown_map.title))
    with road.qtbot.waitSignal(road.panels.run.ended, timeout=120_000):
        go_on.set()
    road.qtbot.wait(2 * REFRESH_MS)
    assert road.maps is older
    assert older.limits_of_all is not None  # still known, and not computed anew
    assert drawn == []
    assert not older.is_growing
    road.panels.model.predictions.choose(growing.path)
    assert road.maps.prediction is growing
    assert not road.maps.is_growing
    assert np.isfinite(road.layer("mean").data).sum() == len(growing.spots)


def test_a_run_whose_folder_vanishes_ends_and_says_so(held_run, notifications):
    road, go_on = held_run
    prediction = road.maps.prediction
    shutil.rmtree(prediction.path)
    with road.qtbot.waitSignal(road.panels.run.ended, timeout=120_000):
        go_on.set()
    assert [each for each in notifications if "removed or moved during the run" in each]
    told = road.panels.run.progress_text.text()
    assert told == "Nothing was predicted, for the reason that was shown."
    assert road.panels.model.predictions.table.row_of(prediction.path) is None
    assert not prediction.path.exists()


def test_a_damaged_prediction_makes_way_for_the_run_that_would_go_on_with_it(
    model_road, notifications
):
    model_road.open(sample_path())
    model_road.draw(LARGE)
    model_road.ask_little()
    model_road.panels.model.form["seed"].setValue(next(NEW_SEEDS))
    model_road.run()
    path = model_road.maps.prediction.path
    (path / "zarr.json").write_text("{", encoding="utf-8")
    model_road.run()
    assert model_road.maps.prediction.path == path
    assert model_road.maps.prediction.done.all()
    assert (path.with_name(f"damaged-{path.name}") / "zarr.json").read_text(encoding="utf-8") == "{"
    assert [each for each in notifications if "is damaged, so it begins anew" in each]


def test_a_run_that_goes_on_opens_its_prediction_once(model_road, monkeypatch):
    model_road.open(sample_path())
    model_road.draw(TUMOUR)
    model_road.ask_little()
    model_road.panels.model.form["seed"].setValue(next(NEW_SEEDS))
    model_road.run()
    path, opened, init = model_road.maps.prediction.path, [], Prediction.__init__

    def counted(self, path):
        opened.append(path)
        init(self, path)

    monkeypatch.setattr(Prediction, "__init__", counted)
    model_road.run()
    assert opened == [path]
    assert model_road.maps.prediction.done.all()


def test_the_pace_is_learnt_from_what_the_run_was_asked_for(model_road, monkeypatch):
    model_road.open(sample_path())
    model_road.draw(TUMOUR)
    model_road.ask_little(n_draws=2)
    runs, learnt = model_road.panels.run, []
    monkeypatch.setattr(
        model_road.panels.model.pace, "measured", lambda effort, *_: learnt.append(effort.settings)
    )
    with model_road.qtbot.waitSignal(runs.ended, timeout=120_000):
        runs.run_button.click()
        model_road.panels.model.form["n_draws"].setValue(1000)
    (settings,) = learnt
    assert settings.n_draws == 2


def test_a_run_that_is_cancelled_at_once_leaves_nothing(model_road):
    model_road.open(sample_path())
    model_road.draw(TUMOUR)
    model_road.ask_little()
    runs, predictions = model_road.panels.run, model_road.panels.model.predictions
    before = stored_predictions()
    with model_road.qtbot.waitSignal(runs.ended, timeout=120_000):
        runs.run_button.click()
        runs.cancel()
    assert runs.progress_text.text() == "Stopped before anything was predicted."
    spots = (predictions.table.index(row, 1).data() for row in range(predictions.table.rowCount()))
    assert not [each for each in spots if each.startswith("0 of")]
    assert stored_predictions() == before
    assert model_road.maps is None
    assert model_road.dock.steps.tabText(model_road.dock.steps.currentIndex()) == "Region"


def test_a_run_that_is_cancelled_before_its_first_spots_leaves_the_map_before(
    model_road, monkeypatch
):
    model_road.open(sample_path())
    model_road.draw(TUMOUR)
    model_road.ask_little()
    model_road.run()
    first = model_road.maps.prediction

    def steps(_self, _prediction, poll):
        while True:
            poll()
            time.sleep(0.01)
        yield

    monkeypatch.setattr("napari_stem.prediction_job.PredictionJob.steps", steps)
    model_road.ask_little(n_draws=3)
    runs, predictions = model_road.panels.run, model_road.panels.model.predictions
    runs.run_button.click()
    model_road.wait(lambda: model_road.maps.prediction is not first)
    begun = model_road.maps.prediction.path
    assert predictions.table.row_of(begun) is not None
    with model_road.qtbot.waitSignal(runs.ended, timeout=120_000):
        runs.cancel()
    assert runs.progress_text.text() == "Stopped before anything was predicted."
    assert predictions.table.row_of(begun) is None
    assert model_road.maps.prediction is first
    assert not begun.exists()


@pytest.mark.slow
def test_a_slide_deleted_in_mid_run_finds_its_results_when_it_comes_back(model_road):
    first = model_road.open(sample_path())
    model_road.draw(TUMOUR)
    model_road.ask_little(n_draws=8, n_steps=8)
    coordinator = model_road.dock.coordinator
    with model_road.qtbot.waitSignal(coordinator.panels.run.ended, timeout=120_000):
        model_road.panels.run.run_button.click()
        model_road.viewer.layers.remove(first)
    assert coordinator.slide is None
    model_road.open(sample_path())
    predictions = model_road.panels.model.predictions
    model_road.wait(lambda: predictions.table.rowCount() > 0)
    model_road.wait(lambda: model_road.maps is not None)
    assert model_road.maps.prediction.done.all()


@pytest.mark.parametrize("order", [1, -1])
def test_a_slide_deleted_together_with_its_regions_brings_both_back(model_road, order):
    slide = model_road.open(sample_path())
    model_road.draw(TUMOUR)
    layers, regions = model_road.viewer.layers, model_road.viewer.layers.selection.active
    for layer in (slide, regions)[::order]:  # as a deletion of all layers, whose order is by chance
        layers.remove(layer)
    model_road.qtbot.wait(50)
    model_road.panels.slide.back_button.click()
    assert slide in layers
    assert regions in layers


@pytest.mark.slow
def test_the_window_never_stops_for_long_during_a_run(frozen_by_the_dock, road):
    road.open(sample_path())
    road.draw(TUMOUR)
    road.ask_little(n_draws=64, n_steps=32)
    road.qtbot.wait(2000)  # the model has been loaded ahead
    beats: list[float] = []
    heart = QTimer()
    heart.setInterval(10)
    heart.timeout.connect(lambda: beats.append(time.monotonic()))
    heart.start()
    road.run()
    heart.stop()
    gaps = np.diff(beats)
    assert_array_equal(road.maps.prediction.done, True)
    assert len(gaps) > 20  # there was time to measure
    assert gaps.max() < LONGEST_GAP_S
    assert np.median(gaps) < 0.1


def test_a_run_on_a_slide_unlike_the_training_data_asks_first(model_road, monkeypatch):
    road, job = model_road, "napari_stem.prediction_job.PredictionJob"
    asked = []

    def domain_warning(_self, poll=None) -> str:
        if poll is not None:  # else it is only looked at, ahead of a run
            asked.append(1)
        return "Blurred."

    monkeypatch.setattr(f"{job}.domain_warning", domain_warning)
    road.open(sample_path())
    road.draw(TUMOUR)
    road.ask_little()

    def answer(button: QMessageBox.StandardButton) -> None:
        road.run()
        (question,) = road.panels.run.findChildren(QMessageBox)
        assert (question.text(), road.maps) == ("Blurred.", None)
        assert "Predict all the same?" in road.panels.run.progress_text.text()
        question.button(button).click()
        road.qtbot.wait(10)

    answer(QMessageBox.StandardButton.No)
    assert road.panels.run.progress_text.text() == "Nothing was predicted. Blurred."
    assert not road.dock.panels.run.is_running
    answer(QMessageBox.StandardButton.Yes)
    road.wait(lambda: road.maps is not None)
    road.dock.panels.run.cancel()
    road.wait(lambda: not road.dock.panels.run.is_running)
    assert len(asked) == 2  # not again, once it was wanted all the same


def test_a_doubt_is_asked_once_and_the_window_can_be_used_meanwhile(model_road, monkeypatch):
    road, job = model_road, "napari_stem.prediction_job.PredictionJob"
    monkeypatch.setattr(f"{job}.domain_warning", lambda _self, _poll=None: "Blurred.")
    road.open(sample_path())
    road.draw(TUMOUR)
    road.ask_little()

    def questions() -> list[QMessageBox]:
        return [each for each in road.panels.run.findChildren(QMessageBox) if each.isVisible()]

    road.run()
    (first,) = questions()
    assert not first.isModal()
    road.ask_little(n_draws=3)
    road.run()
    (second,) = questions()
    assert second is not first
    assert "Predict all the same?" in road.panels.run.progress_text.text()
    with road.qtbot.waitSignal(road.panels.run.ended, timeout=120_000):
        second.button(QMessageBox.StandardButton.Yes).click()
    assert road.maps.prediction.provenance["draws"] == 3
    assert questions() == []


def test_a_run_says_whose_it_is_at_once_when_another_slide_is_looked_at(held_run, crop):
    road, go_on = held_run
    told, slide = road.panels.run.progress_text, road.dock.coordinator.slide
    assert not told.text().startswith(slide.path.stem)
    road.open(crop)
    assert told.text().startswith(f"{slide.path.stem}: Predicting")
    road.panels.slide.activate(slide)
    assert told.text().startswith("Predicting")
    with road.qtbot.waitSignal(road.panels.run.ended, timeout=120_000):
        road.panels.run.cancel()
        road.open(crop)
        assert told.text() == "Stopping; what is finished is kept."
        go_on.set()


def test_a_run_that_cannot_keep_its_results_says_what_to_do(
    model_road, monkeypatch, tmp_path, notifications
):
    road = model_road
    road.open(sample_path())
    road.draw(TUMOUR)
    road.ask_little()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    (tmp_path / "predictions").write_text("no folder")
    road.run()
    assert "Nothing was predicted" in road.panels.run.progress_text.text()
    assert "Stopped" not in road.panels.run.progress_text.text()
    (told,) = notifications
    assert told.startswith(f"Results cannot be kept in {tmp_path}")
    assert told.endswith("choose another folder.")
    road.wait(lambda: not road.panels.run.cache.isHidden())  # which offers one


def test_whoever_wants_a_run_in_doubt_during_another_is_told_to_click_again(
    model_road, monkeypatch, notifications
):
    road, job = model_road, "napari_stem.prediction_job.PredictionJob"
    monkeypatch.setattr(f"{job}.domain_warning", lambda _self, _poll=None: "Blurred.")
    road.open(sample_path())
    road.draw(TUMOUR)
    road.ask_little()
    road.run()
    (question,) = road.panels.run.findChildren(QMessageBox)
    road.panels.run.run_button.click()
    question.button(QMessageBox.StandardButton.Yes).click()
    assert notifications == ["Another run is on its way. Once it has ended, click Run again."]
    road.wait(lambda: not road.panels.run.is_running)
