"""The dock by its parts, on a viewer model without a window."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import shapely
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from numpy.testing import assert_allclose

from napari_stem.geometry import Mpp, Region
from napari_stem.sample_data import sample_path

pytestmark = pytest.mark.gui

SQUARE = [(2000, 2000), (4000, 2000), (4000, 4000), (2000, 4000)]


def test_without_a_slide_the_dock_says_what_to_do_first(model_road):
    assert "Open a slide" in model_road.dock.parts["Slide"].hint.text()
    assert not model_road.panels.region.isEnabled()
    assert not model_road.panels.genes.isEnabled()
    assert not model_road.panels.export.isEnabled()
    assert not model_road.panels.run.run_button.isEnabled()


def test_the_notice_stays_in_sight(model_road):
    notice = model_road.dock.notice
    assert "not for diagnosis" in notice.text()
    assert "Predicted" in notice.text()


def test_pixel_size_is_asked_for_and_used(model_road, crop):
    layer = model_road.open(crop)
    panel = model_road.panels.slide
    assert not panel.pixel_size.isHidden()
    assert not model_road.panels.region.isEnabled()
    panel.pixel_size.value.setValue(2.5)
    panel.pixel_size.use_button.click()
    assert model_road.dock.coordinator.slide.mpp == Mpp.square(2.5)
    assert_allclose(layer.scale, (2.5, 2.5))
    assert_allclose(layer.data_to_world((-0.5, -0.5)), (0, 0))
    assert [str(u) for u in layer.units] == ["micrometer"] * 2
    assert panel.pixel_size.isHidden()
    assert model_road.panels.region.isEnabled()


def test_a_file_that_is_no_slide_ends_in_one_sentence(model_road, tmp_path, notifications):
    path = tmp_path / "letter.tif"
    path.write_text("Dear colleague,")
    model_road.dock.panels.slide.open(str(path))
    model_road.wait(lambda: notifications != [])
    assert len(notifications) == 1
    assert "letter.tif" in notifications[0]
    assert "Traceback" not in notifications[0]
    assert model_road.panels.slide.open_button.isEnabled()
    assert model_road.panels.slide.progress.isHidden()


def test_images_of_others_are_named_with_the_reason(model_road):
    model_road.viewer.add_image(np.zeros((4, 4)), name="holiday")
    text = model_road.panels.slide.unusable.text()
    assert "holiday" in text
    assert "Open slide" in text


def test_regions_are_counted_where_they_lie(model_road):
    model_road.open(sample_path())
    model_road.draw(SQUARE)
    mpp = model_road.dock.coordinator.slide.mpp
    area = 2000 * mpp.x_um * 2000 * mpp.y_um * 1e-6
    assert f"{area:.2f} mm²" in model_road.panels.region.summary.text()
    (region,) = (each.region for each in model_road.dock.panels.region.drawn())
    assert_allclose(region.polygon.bounds, (2000, 2000, 4000, 4000))
    model_road.panels.model.pitch.setValue(500)
    model_road.wait(lambda: "9 spots" in model_road.panels.run.run_button.text())
    model_road.panels.model.pitches[100.0].click()
    model_road.wait(lambda: "9 spots" not in model_road.panels.run.run_button.text())
    n_spots = model_road.panels.run.run_button.text().split(" spots")[0].removeprefix("Run: ")
    finer = model_road.panels.model.pitches
    assert f"{n_spots} spots" in finer[100.0].text()  # what it costs
    assert f"about {4 * int(n_spots)} spots" in finer[50.0].text()
    assert f"about {n_spots}" not in finer[100.0].text()
    assert model_road.panels.model.minimumSizeHint().width() <= 300  # the dock need not grow
    model_road.panels.region.clear_button.click()
    model_road.wait(lambda: not model_road.panels.run.run_button.isEnabled())


def test_regions_follow_a_slide_that_was_moved(model_road):
    layer = model_road.open(sample_path())
    coordinator = model_road.dock.coordinator
    moved_um = np.array((1000, -500)) * (coordinator.slide.mpp.y_um, coordinator.slide.mpp.x_um)
    layer.translate = np.add(layer.translate, moved_um)
    region = Region(shapely.Polygon([(0, 0), (900, 0), (0, 800)]))
    coordinator.panels.region.add(coordinator.slide, [region])
    drawn = coordinator.panels.region.layers.find(coordinator.slide)
    (shape,) = drawn.data
    assert_allclose(drawn.data_to_world(shape.min(axis=0)), moved_um, atol=1e-6)
    (found,) = (each.region for each in coordinator.panels.region.drawn())
    assert found.polygon.symmetric_difference(region.polygon).area == pytest.approx(0, abs=1e-3)


def test_whole_tissue_has_the_area_of_its_regions(model_road):
    from napari_stem.slide.tissue import find_tissue

    model_road.open(sample_path())
    model_road.panels.region.tissue.button.click()
    model_road.wait(lambda: "mm²" in model_road.panels.region.summary.text())
    coordinator = model_road.dock.coordinator
    expected = sum(r.polygon.area for r in find_tissue(coordinator.slide).regions)
    assert sum(
        r.polygon.area for r in (each.region for each in coordinator.panels.region.drawn())
    ) == pytest.approx(expected, rel=1e-6)


def test_a_region_off_the_slide_holds_no_spot_and_cannot_be_run(model_road):
    model_road.open(sample_path())
    model_road.draw([(-900, -900), (-100, -900), (-100, -100)])
    model_road.wait(lambda: "0 spots" in model_road.panels.region.summary.text())
    assert not model_road.panels.run.run_button.isEnabled()


def test_removing_the_slide_leads_back_to_the_start(model_road):
    layer = model_road.open(sample_path())
    model_road.viewer.layers.remove(layer)
    assert model_road.dock.coordinator.slide is None
    assert "Open a slide" in model_road.dock.parts["Slide"].hint.text()


def test_building_the_dock_loads_no_torch():
    code = """
import os, sys
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QApplication
app = QApplication([])
from napari.components import ViewerModel
from napari_stem.widgets.dock import StemDock
dock = StemDock(ViewerModel())
QThreadPool.globalInstance().waitForDone()
app.processEvents()
print(dock.panels.model.model_name(), "torch" in sys.modules, flush=True)
os._exit(0)
"""
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout.split() == ["her2st-breast", "False"]


def test_the_dock_lets_go_of_its_viewer(model_road):
    viewer = ViewerModel()
    assert isinstance(viewer.add_image(np.zeros((2, 2))), ImageLayer)
    assert len(model_road.viewer.mouse_move_callbacks) > len(viewer.mouse_move_callbacks)
    model_road.dock.shut_down()
    assert len(model_road.viewer.mouse_move_callbacks) == len(viewer.mouse_move_callbacks)
    model_road.viewer.add_image(np.zeros((4, 4)), name="later")
    assert "later" not in model_road.panels.slide.unusable.text()
