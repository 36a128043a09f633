"""What lies on the map belongs to one slide and one dock: nothing is left over, nothing lies there twice."""

from __future__ import annotations

import warnings
from threading import Event

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from numpy.testing import assert_allclose
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QFileDialog

from napari_stem.sample_data import sample_path
from napari_stem.settings import CACHE_VARIABLE, cache_dir
from napari_stem.widgets.common import hints
from napari_stem.widgets.common.memory import CacheBox
from napari_stem.widgets.common.worker import Jobs
from napari_stem.widgets.dock import StemDock

pytestmark = pytest.mark.gui

TUMOUR = [(4200, 3400), (5000, 3400), (5000, 4200), (4200, 4200)]


@pytest.fixture
def predicted(model_road, c5_prediction):
    """The sample with a region on it and a prediction that was opened while only the slide was to be seen."""
    model_road.open(sample_path())
    model_road.draw(TUMOUR)
    model_road.panels.genes.settings.update(view="none")
    model_road.drop(c5_prediction)
    model_road.wait(lambda: model_road.maps is not None)
    return model_road


def names(road) -> list[str]:
    return [layer.name for layer in road.viewer.layers if layer.visible]


def step_now(road) -> str:
    return road.dock.steps.tabText(road.dock.steps.currentIndex())


def test_a_slide_goes_and_comes_back_with_all_that_is_its_own(predicted, crop):
    road, slides = predicted, predicted.dock.panels.slide
    first, panel = slides.layer, road.panels.slide
    before = names(road)
    assert (
        road.panels.genes.settings.gene in before[1]
    )  # a new map is seen, whatever was looked at before
    assert before[::2] == ["C5", "Regions on C5"]
    assert len(before) == 3
    road.drop(sample_path())  # the same again
    road.wait(panel.open_button.isEnabled)
    road.qtbot.wait(50)
    assert names(road) == before
    road.open(crop)
    assert not panel.pixel_size.use_button.isEnabled()
    assert panel.pixel_size.value.text() == "not known"
    assert step_now(road) == "Slide"  # asks for the pixel size
    road.viewer.layers.remove(first)
    road.wait(lambda: [layer.name for layer in road.viewer.layers] == ["crop"])
    assert "C5" in panel.back_button.text()
    panel.back_button.click()
    road.wait(lambda: names(road) == before)
    assert panel.back_button.isHidden()
    assert step_now(road) == "Genes"  # as it was left
    assert len(road.dock.panels.region.drawn()) == 1
    road.dock.panels.region.undo()  # what was drawn before it went
    assert road.dock.panels.region.drawn() == []
    road.dock.panels.region.redo()
    assert len(road.dock.panels.region.drawn()) == 1


def test_another_dock_goes_on_where_the_last_one_ended(predicted, qtbot):
    road, genes = predicted, predicted.maps.prediction.genes
    road.panels.genes.choose(genes[-1])
    before = names(road)
    road.dock.shut_down()
    assert names(road) == before  # until another comes
    dock = StemDock(road.viewer)
    qtbot.addWidget(dock)
    maps, regions = dock.panels.maps, dock.panels.region
    road.wait(lambda: maps.current() is not None and maps.layer_queue.is_settled())
    assert names(road) == before
    assert dock.panels.genes.settings.gene == genes[-1]
    assert maps.layer("mean") in road.viewer.layers
    assert dock.parts["Slide"].hint.text() == "C5"
    (outlines,) = (la for la in road.viewer.layers if la.name == "Regions on C5")
    outlines.add_rectangles([np.array([[0, 0], [0, 900], [900, 900], [900, 0]])])
    road.wait(lambda: dock.panels.region.table.rowCount() == 2)  # followed
    regions.undo()
    assert len(regions.drawn()) == 1
    dock.shut_down()


def test_the_inspected_spot_is_outlined_while_genes_change(predicted):
    road, inspector = predicted, predicted.panels.inspect
    inspector.inspect(2)
    for gene in road.maps.prediction.genes[:2]:
        road.panels.genes.choose(gene)
        road.wait(lambda: inspector.outline.layer in list(road.viewer.layers))
        spots, mpp = road.maps.prediction.spots, road.dock.coordinator.slide.mpp
        expected = [spots.y_px[2] * mpp.y_um, spots.x_px[2] * mpp.x_um]
        assert_allclose(inspector.outline.layer.data, [expected, expected])
    road.viewer.layers.remove(road.dock.panels.slide.layer)
    road.wait(lambda: len(road.viewer.layers) == 0)


def test_what_not_to_rely_on_is_said_in_sentences():
    assert hints.of_result(0, 0, 32) == ""
    told = hints.of_result(7, 1, 8)
    assert told.startswith(
        "Spots not to be relied on: 7 unlike the training tissue, 1 on bare glass."
    )
    assert "8 samples are too few for a 90% interval" in told


def test_workers_that_overlap_leave_warnings_as_they_were(qtbot, monkeypatch):
    before, go_on, ended = warnings.filters[:], [Event(), Event()], []
    jobs = Jobs()
    for event in go_on:
        jobs.start(event.wait, 10, done=ended.append)
    qtbot.wait(50)  # both are at work; the first to begin is the first to end
    for number, event in enumerate(go_on, start=1):
        event.set()
        qtbot.waitUntil(lambda number=number: len(ended) == number)
    qtbot.waitUntil(lambda: warnings.filters == before)
    monkeypatch.setattr(warnings, "showwarning", notification_manager.receive_warning)
    jobs.start(int, done=ended.append)  # where napari shows warnings, libraries' news is left out
    qtbot.waitUntil(lambda: ("ignore", None, FutureWarning, None, 0) in warnings.filters)
    assert ("ignore", None, SyntaxWarning, None, 0) in warnings.filters
    QThreadPool.globalInstance().waitForDone()


def test_a_folder_that_cannot_be_written_is_asked_for(qtbot, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    box, jobs = CacheBox(), Jobs()
    qtbot.addWidget(box)
    box.look(jobs)
    qtbot.waitUntil(lambda: not box.isHidden())
    assert str(tmp_path / "file" / "cache") in box.message.text()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "other"))
    box.button.click()
    assert box.isHidden()
    assert cache_dir() == tmp_path / "other"
    assert box.folder == str(tmp_path / "other")
