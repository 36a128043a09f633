"""What is in the viewer before the dock, or comes without it, is taken over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import napari_builtins
import numpy as np
import pytest
import shapely
import tifffile
import zarr
from napari.components import ViewerModel
from napari.layers import Layer
from napari.utils._proxies import PublicOnlyProxy
from npe2 import PluginManifest
from PIL import Image

from napari_stem.file_kinds import kind_of, read
from napari_stem.layers.placement import slide_layer
from napari_stem.sample_data import sample_path
from napari_stem.slide import open_slide
from napari_stem.spatial.region_files import ClassedRegion, write_regions

pytestmark = pytest.mark.gui

SVS = Path(__file__).parents[1] / "data" / "slides" / "CMU-1-Small-Region.svs"
COUNTS = sample_path().parents[1] / "st" / "C5.h5ad"


@pytest.fixture
def builtin_reader(npe2pm):
    own = Path(napari_builtins.__file__).parent / "builtins.yaml"
    with npe2pm.tmp_plugin(manifest=PluginManifest.from_file(own)):
        yield


@pytest.fixture
def docked(qtbot):
    """Opens a dock on a viewer, as napari does; returns it."""
    from qtpy.QtCore import QThreadPool

    from napari_stem.widgets.dock import StemDock

    docks = []

    def open_dock(viewer) -> StemDock:
        dock = StemDock(PublicOnlyProxy(viewer))
        qtbot.addWidget(dock)
        docks.append(dock)
        return dock

    yield open_dock
    for dock in docks:
        dock.shut_down()
    QThreadPool.globalInstance().waitForDone()
    qtbot.wait(50)


@pytest.fixture
def wait(qtbot):
    return lambda condition: qtbot.waitUntil(condition, timeout=60_000)


@pytest.fixture
def tiff(tmp_path) -> Path:
    """A real slide as a tiled TIFF that states its pixel size."""
    path = tmp_path / "slide.tif"
    pixels = tifffile.imread(SVS, series=0)
    about = {"resolution": (25_000, 20_000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(256, 256), **about)
    return path


def add_all(viewer, path: Path) -> list[Layer]:
    """Add what our reader makes of a file, as from the command line."""
    layers = [Layer.create(*each) for each in read(kind_of(path), str(path))]
    for layer in layers:
        viewer.add_layer(layer)
    return layers


def add_slide(viewer, path: Path) -> Layer:
    return viewer.add_layer(Layer.create(*slide_layer(open_slide(path))))


def test_slides_that_are_open_before_the_dock_are_adopted(docked):
    viewer = ViewerModel()
    svs, c5 = add_slide(viewer, SVS), add_slide(viewer, sample_path())
    viewer.layers.selection.active = svs
    dock = docked(viewer)
    assert dock.panels.slide.layer is svs
    assert (svs.visible, c5.visible) == (True, False)
    assert dock.parts["Slide"].hint.text() == svs.name
    assert dock.parts["Region"].hint.text() == "Take the whole tissue, or draw where to predict."
    assert viewer.canvas.overlays.scale_bar.visible


@pytest.mark.parametrize("is_zoomed", [False, True])
def test_adopting_a_slide_keeps_the_place_that_somebody_had_gone_to(docked, is_zoomed):
    viewer = ViewerModel()
    add_slide(viewer, SVS)
    viewer.reset_view()
    fitted = viewer.scene.camera.zoom
    if is_zoomed:
        viewer.scene.camera.zoom, viewer.scene.camera.center = 4 * fitted, (0, 300, 200)
    docked(viewer)
    assert viewer.scene.camera.zoom == pytest.approx(4 * fitted if is_zoomed else fitted)
    if is_zoomed:
        assert tuple(viewer.scene.camera.center) == (0, 300, 200)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_slide_that_another_reader_opened_becomes_one_of_ours(
    docked, wait, tiff, builtin_reader, is_first, notifications
):
    viewer = ViewerModel()
    if not is_first:
        dock = docked(viewer)
    (theirs,) = viewer.open(str(tiff), plugin="napari")
    theirs.name = "biopsy"
    above = viewer.add_points(np.zeros((1, 2)))
    if is_first:
        dock = docked(viewer)
    wait(lambda: dock.coordinator.slide is not None)
    ours = dock.panels.slide.layer
    assert list(viewer.layers) == [ours, above]
    assert ours.name == "biopsy"
    assert ours.scale == pytest.approx((0.5, 0.4))
    assert str(ours.units[0]) == "micrometer"
    np.testing.assert_array_equal(np.asarray(ours.data[0])[:50, :50], theirs.data[:50, :50])
    assert any("micrometres" in told for told in notifications)


def test_pictures_that_are_no_slides_stay_as_they_are(docked, wait, tmp_path, builtin_reader):
    Image.new("RGB", (300, 200), "red").save(tmp_path / "photo.png")
    tifffile.imwrite(tmp_path / "labels.tif", np.eye(300, dtype=np.uint16), tile=(64, 64))
    viewer = ViewerModel()
    before = [
        *viewer.open(str(tmp_path / "photo.png"), plugin="napari"),
        *viewer.open(str(tmp_path / "labels.tif"), plugin="napari"),
    ]
    dock = docked(viewer)
    wait(lambda: len(dock.coordinator.adopting.seen) > 0)
    dock.panels.slide.jobs.close()  # nothing more is to come
    assert list(viewer.layers) == before
    assert "photo" in dock.panels.slide.unusable.text()


def test_a_prediction_goes_to_the_dock_when_it_comes_and_finds_its_slide(
    docked, wait, c5_prediction, tmp_path
):
    viewer = ViewerModel()
    path = shutil.copytree(c5_prediction, tmp_path / "P.zarr")
    shutil.copy(sample_path(), tmp_path / "C5.jpg")
    plain = add_all(viewer, path)
    dock = docked(viewer)
    wait(lambda: dock.panels.maps.current() is not None)
    assert dock.panels.maps.current().prediction.path == path
    assert dock.coordinator.slide.path.name == "C5.jpg"
    wait(lambda: not set(plain) & set(viewer.layers))


def test_a_prediction_whose_slide_is_not_found_stays_on_its_overview(
    docked, wait, c5_prediction, tmp_path, notifications
):
    path = shutil.copytree(c5_prediction, tmp_path / "P.zarr")
    stored = zarr.open_group(path, use_consolidated=False)["uns"]["napari_stem"]["json"]
    told = json.loads(str(stored[()])) | {"slide": "far.svs", "slide_fingerprint": "0" * 32}
    stored[()] = json.dumps(told)
    viewer = ViewerModel()
    plain = add_all(viewer, path)
    dock = docked(viewer)
    wait(lambda: notifications != [])
    assert "far.svs" in notifications[0]
    assert list(viewer.layers) == plain
    dock.coordinator.dropped.open([path])  # shown already, but it is asked for
    wait(lambda: len(notifications) > 1 or len(viewer.layers) > len(plain))


def test_a_prediction_that_is_dropped_without_its_slide_is_shown_too(
    docked, wait, c5_prediction, tmp_path
):
    viewer = ViewerModel()
    dock = docked(viewer)
    dock.coordinator.dropped.open([c5_prediction])
    wait(lambda: dock.panels.maps.current() is not None)  # the sample is always found
    assert dock.coordinator.slide.path == sample_path()


def test_regions_go_to_the_slide_as_they_are_by_then(docked, wait, tmp_path):
    path = tmp_path / "R.geojson"
    square = shapely.box(4400, 3400, 5561, 4561)
    write_regions([ClassedRegion(square, "a", "Tumor", (200, 0, 0))], path)
    viewer = ViewerModel()
    (plain,) = add_all(viewer, path)
    plain.add(np.array([[100, 100], [100, 600], [700, 600.0]]), shape_type="polygon")
    dock = docked(viewer)
    dock.panels.slide.open(str(sample_path()))
    wait(lambda: len(dock.panels.region.drawn()) == 2)
    assert plain not in viewer.layers
    first, second = (each.region for each in dock.panels.region.drawn())
    assert (first.name, first.classification, first.colour) == ("a", "Tumor", (200, 0, 0))
    assert first.polygon.symmetric_difference(square).area < 1
    assert second.polygon.area == pytest.approx(150_000)


def test_measured_counts_go_to_the_slide(docked, wait):
    viewer = ViewerModel()
    plain = add_all(viewer, COUNTS)
    slide = add_slide(viewer, sample_path()).metadata["napari_stem"]["slide"]
    dock = docked(viewer)
    wait(lambda: dock.panels.measured.path_of(slide) == COUNTS)
    assert not set(plain) & set(viewer.layers)


def test_files_of_ours_that_fall_on_napari_are_opened_by_the_dock(road, tmp_path):
    from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
    from qtpy.QtGui import QDragEnterEvent, QDropEvent
    from qtpy.QtWidgets import QApplication, QWidget

    path = tmp_path / "R.geojson"
    write_regions([ClassedRegion(shapely.box(100, 100, 900, 900), "a")], path)
    (tmp_path / "notes.txt").write_text("x")
    road.open(SVS)
    target = next(
        widget
        for widget in road.dock.window().findChildren(QWidget)
        if type(widget).__name__ == "QtViewer"
    )

    how = Qt.DropAction.CopyAction
    keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    dragged = {}
    for name in ("R.geojson", "notes.txt"):
        dragged[name] = QMimeData()
        dragged[name].setUrls([QUrl.fromLocalFile(str(tmp_path / name))])

    def drop_of(name: str) -> QDropEvent:
        return QDropEvent(QPointF(9, 9), how, dragged[name], *keys)

    # as from a file manager
    entering = QDragEnterEvent(QPoint(9, 9), how, dragged["R.geojson"], *keys)
    QApplication.sendEvent(target, entering)
    QApplication.sendEvent(target, drop_of("R.geojson"))
    road.wait(lambda: len(road.dock.panels.region.drawn()) == 1)
    assert not road.dock.coordinator.dropped.eventFilter(target, drop_of("notes.txt"))
    road.dock.shut_down()  # from now on napari gets everything
    assert not road.dock.coordinator.dropped.eventFilter(target, drop_of("R.geojson"))
