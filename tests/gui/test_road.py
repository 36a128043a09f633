"""The whole road in a real window, on the packaged section and the packaged model."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
from napari.settings import get_settings
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QFileDialog,
    QLabel,
    QStyle,
    QStyleOptionComboBox,
    QWidget,
)

from napari_stem.results import Prediction
from napari_stem.sample_data import SAMPLE_NAME, sample_path
from napari_stem.widgets.common.parts import Folding
from napari_stem.widgets.dock import DOCK_WIDTH_PX
from napari_stem.widgets.slide.slide_layers import pyramid_of

pytestmark = pytest.mark.gui

# about 1 mm2 in the middle of the tissue of section C5
TUMOUR = [(4200, 3400), (5700, 3400), (5700, 4900), (4200, 4900)]


@pytest.fixture
def road(shared_road):
    return shared_road


def centre_of_first_spot_um(maps) -> tuple[float, float]:
    spots, mpp = maps.prediction.spots, maps.prediction.provenance["mpp"]
    return spots.y_px[0] * mpp[0], spots.x_px[0] * mpp[1]


def cut_off(dock) -> set[str]:
    """Words of what is seen of the dock that have not the room they need."""
    cut = set()
    for part in filter(QWidget.isVisible, dock.findChildren(QWidget)):
        # what can be chosen; names that are the user's own may be longer than any room
        if isinstance(part, QComboBox) and not part.minimumContentsLength():
            option = QStyleOptionComboBox()
            part.initStyleOption(option)
            field = QStyle.SubControl.SC_ComboBoxEditField
            room = part.style().subControlRect(
                QStyle.ComplexControl.CC_ComboBox, option, field, part
            )
            wide = map(
                part.fontMetrics().horizontalAdvance, map(part.itemText, range(part.count()))
            )
            cut |= {part.itemText(n) for n, px in enumerate(wide) if px > room.width()}
        if isinstance(part, QAbstractSpinBox):
            wide_px = part.fontMetrics().horizontalAdvance(part.text())
            cut |= {part.text()} if wide_px > part.lineEdit().width() else set()
        is_line = isinstance(part, QLabel) and not part.wordWrap()
        if (
            is_line or isinstance(part, QAbstractButton)
        ) and part.sizeHint().width() > part.width():
            cut.add(part.text())
    return cut


def test_all_words_of_the_dock_fit_at_its_least_width(road):
    dock = road.dock
    dock.setFixedWidth(DOCK_WIDTH_PX)
    for step in range(dock.steps.count()):
        for part in dock.findChildren(Folding):
            part.open()  # which leads to its step
        dock.steps.setCurrentIndex(step)
        for _ in range(3):
            QApplication.processEvents()
        assert dock.minimumSizeHint().width() <= DOCK_WIDTH_PX
        assert cut_off(dock) == set(), dock.steps.tabText(step)


def test_the_dock_is_as_wide_as_large_letters_need(own_road, monkeypatch):
    dock, appearance = own_road.dock, get_settings().appearance
    monkeypatch.setattr(appearance, "font_size", 15)
    own_road.wait(lambda: dock.width() > DOCK_WIDTH_PX)
    assert dock.steps.tabRect(dock.steps.count() - 1).right() < dock.steps.width()
    for field in map(own_road.panels.model.form.__getitem__, ("n_draws", "quantity")):
        assert field.width() >= field.minimumSizeHint().width()
    assert cut_off(own_road.panels.run) == set()


@pytest.mark.slow
def test_from_sample_to_export(road, tmp_path, monkeypatch, notifications):
    road.panels.slide.sample_button.click()
    road.wait(lambda: len(road.viewer.layers) == 1)
    assert road.viewer.layers[0].name == SAMPLE_NAME
    assert not road.panels.run.run_button.isEnabled()

    road.draw(TUMOUR)
    road.ask_little()
    road.run()
    maps = road.maps
    n_spots = len(maps.prediction.spots)
    assert n_spots == 30
    assert maps.prediction.done.all()
    assert f"{n_spots} spots predicted" in road.panels.run.progress_text.text()
    assert all([str(u) for u in layer.units] == ["micrometer"] * 2 for layer in road.viewer.layers)

    # the expression of the chosen gene lies where its spot lies, and the layers say that it is predicted
    gene = road.panels.genes.settings.gene
    layer = road.layer("mean")
    assert layer.name == f"{gene} predicted, {maps.prediction.unit}"
    assert layer.colorbar.visible
    where = centre_of_first_spot_um(maps)
    assert layer.get_value(where, world=True) == maps.prediction.values(gene)[0]

    # another gene, found by typing: the same layer, other data
    wanted = next(g for g in maps.prediction.genes if g != gene)
    road.panels.genes.search.setText(wanted.lower())
    assert road.panels.genes.choose(wanted)
    assert road.layer("mean") is layer
    assert layer.name.startswith(wanted)
    assert layer.get_value(where, world=True) == maps.prediction.values(wanted)[0]

    # uncertainty instead of expression
    road.panels.genes.views["sd"].click()
    road.wait(road.dock.panels.maps.layer_queue.is_settled)
    assert road.layer("sd") in road.viewer.layers
    assert road.layer("sd").visible
    assert layer not in road.viewer.layers
    assert road.layer("sd").get_value(where, world=True) == maps.prediction.values(wanted, "sd")[0]

    # export, and read again
    target = tmp_path / "C5.h5ad"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(target), ""))
    kinds = road.panels.export.kinds
    kinds.setCurrentIndex(kinds.findData("h5ad"))
    road.panels.export.save_button.click()
    road.wait(lambda: any(str(target) in sentence for sentence in notifications))
    table = anndata.read_h5ad(target)
    assert table.shape == (n_spots, len(maps.prediction.genes))
    assert_array_equal(table[:, wanted].X.ravel(), maps.prediction.values(wanted))
    assert bool(table.uns["napari_stem"]["predicted"]) is True


@pytest.mark.slow
def test_map_covers_the_region_on_screen(road, tmp_path):
    layer = road.open(sample_path())
    pyramid_of(layer).patience_s = 60.0  # on a busy machine, the first picture would lack pixels
    road.draw(TUMOUR)
    road.ask_little()
    road.run()
    road.panels.genes.look.opacity.setValue(100)
    road.dock.panels.region.layers.find(road.dock.coordinator.slide).visible = False
    camera = road.viewer.scene.camera
    mpp = road.dock.coordinator.slide.require_mpp()
    camera.center = (0, 4950 * mpp.y_um, 4950 * mpp.x_um)
    camera.zoom = 0.2
    shown = {}
    for field in ("mean", "none"):
        road.panels.genes.views[field].click()
        road.qtbot.wait(100)
        shown[field] = road.viewer.screenshot(str(tmp_path / f"{field}.png"), flash=False)[..., :3]
    height, width = shown["mean"].shape[:2]
    with Image.open(tmp_path / "mean.png") as saved:
        assert saved.size == (width, height)

    def on_screen(x_px: float, y_px: float) -> tuple[int, int]:
        dy_um, dx_um = (y_px - 4950) * mpp.y_um, (x_px - 4950) * mpp.x_um
        return int(height / 2 + dy_um * camera.zoom), int(width / 2 + dx_um * camera.zoom)

    changed = np.abs(shown["mean"].astype(int) - shown["none"]).sum(axis=2) > 0
    (top, left), (bottom, right) = on_screen(4300, 3500), on_screen(5600, 4800)
    assert changed[top:bottom, left:right].mean() > 0.95  # the map is there
    beside_top, beside_left = on_screen(3300, 3500)
    beside_bottom, beside_right = on_screen(4000, 4800)
    assert not changed[beside_top:beside_bottom, beside_left:beside_right].any()  # and only there
    tissue = shown["none"][top:bottom, left:right]
    assert tissue.std() > 10  # not blank


@pytest.mark.slow
def test_cancelling_keeps_what_is_done_on_disk_and_on_screen(road):
    road.open(sample_path())
    road.panels.region.tissue.button.click()
    road.wait(lambda: "spots" in road.panels.region.summary.text())
    road.ask_little(n_draws=8, n_steps=20)
    runs = road.dock.panels.run
    road.panels.run.run_button.click()
    road.wait(lambda: road.maps is not None and road.maps.prediction.done.any())
    with road.qtbot.waitSignal(runs.ended, timeout=120_000):
        road.panels.run.cancel_button.click()
    prediction = road.maps.prediction
    n_done, n_spots = int(prediction.done.sum()), len(prediction.spots)
    assert 0 < n_done < n_spots
    assert "predicted and kept" in road.panels.run.progress_text.text()
    assert road.panels.run.run_button.isEnabled()

    on_disk = Prediction.open(prediction.path)
    assert_array_equal(on_disk.done, prediction.done)
    assert all(name.startswith("tissue") for name in on_disk.region_names)
    gene = road.panels.genes.settings.gene
    assert np.isfinite(on_disk.values(gene)).sum() == n_done
    assert np.isfinite(road.layer("mean").data).sum() == n_done

    # running again goes on from there
    road.panels.run.run_button.click()
    road.wait(lambda: road.maps.prediction is not prediction)
    assert road.maps.prediction.path == prediction.path
    before = on_disk.values(gene)
    road.panels.run.cancel_button.click()
    road.wait(lambda: not runs.is_running)
    after = road.maps.prediction.values(gene)
    assert_array_equal(after[on_disk.done], before[on_disk.done])


@pytest.mark.slow
def test_results_belong_to_the_slide_that_was_active_at_the_start(model_road, crop):
    road = model_road
    first = road.open(sample_path())
    road.draw(TUMOUR)
    road.ask_little()
    slide = road.dock.coordinator.slide
    with road.qtbot.waitSignal(road.dock.panels.run.ended, timeout=120_000):
        road.panels.run.run_button.click()
        second = road.open(crop)
        assert road.dock.coordinator.slide is not slide
    assert road.maps is None  # nothing was predicted on the second slide
    assert not road.panels.export.isEnabled()
    layers = list(road.viewer.layers)
    road.panels.slide.choice.activated.emit(
        [x for x in layers if x in (first, second)].index(first)
    )
    assert road.maps.prediction.provenance["slide_fingerprint"] == slide.fingerprint
    assert road.layer("mean").visible
    assert_allclose(road.layer("mean").scale, (200, 200))


@pytest.mark.slow
def test_taking_the_dock_away_stops_the_run(road):
    road.open(sample_path())
    road.draw(TUMOUR)
    road.ask_little(n_draws=64, n_steps=1000)
    road.panels.run.run_button.click()
    assert road.dock.panels.run.is_running
    road.viewer.window.remove_dock_widget(road.dock)
    assert road.viewer.mouse_move_callbacks == []
    assert QThreadPool.globalInstance().waitForDone(60_000)
