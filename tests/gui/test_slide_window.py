"""Slides in a real window: opened without stopping it, fitted to it, and lost while they are shown."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from npe2 import PluginManifest
from qtpy.QtCore import QEventLoop, QThreadPool, QTimer

import napari_stem
from napari_stem.slide import display, openslide_reader
from napari_stem.slide.display import kept_chunks
from napari_stem.slide.level import halve
from napari_stem.slide.pyramid import GROUND
from napari_stem.widgets.common import parts
from napari_stem.widgets.slide.slide_layers import pyramid_of

pytestmark = pytest.mark.gui

SLIDES = Path(__file__).parents[1] / "data" / "slides"
MANIFEST = Path(napari_stem.__file__).parent / "napari.yaml"
SVS = SLIDES / "CMU-1-Small-Region.svs"
N_LOOKS = 12


@pytest.fixture
def road(shared_road):
    return shared_road


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("NAPARI_STEM_CACHE", str(folder))
    return folder


@pytest.fixture
def plugin(npe2pm):
    with npe2pm.tmp_plugin(manifest=PluginManifest.from_file(MANIFEST)):
        yield


def opened_by_a_person(viewer, path):
    """Open while the window lives, as a menu does; returns what napari was given, and all its layers."""
    loop, given = QEventLoop(), []

    def open_it():
        given.append(viewer.open(str(path), plugin="napari-stem"))

    viewer.layers.events.inserted.connect(lambda _: QTimer.singleShot(0, loop.quit))
    QTimer.singleShot(0, open_it)
    QTimer.singleShot(60_000, loop.quit)
    loop.exec()
    return given[0], list(viewer.layers)


@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "CMU-1-Small-Region-dicom"])
def test_the_window_does_not_wait_for_a_slide_to_open(name, one_viewer, plugin, monkeypatch):
    threads = []
    monkeypatch.setattr(
        openslide_reader.subprocess,
        "run",
        lambda *_, **__: threads.append(is_gui_thread()) or Done(),
    )
    path = SLIDES / name
    if path.is_dir():
        pytest.importorskip("openslide")
        path = max(path.glob("*.dcm"), key=lambda file: file.stat().st_size)
    viewer = one_viewer
    given, (layer,) = opened_by_a_person(viewer, path)
    assert given == []  # napari went on at once
    assert threads in ([], [False])
    pyramid = pyramid_of(layer)
    assert pyramid.arrived is not None  # redrawn when pixels come
    assert pyramid.slide.size.width_px == 2220
    assert layer.name == path.stem
    viewer.layers.clear()
    QThreadPool.globalInstance().waitForDone()


class Done:
    """A probe that found nothing wrong."""

    returncode = 0


def is_gui_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()


def test_a_slide_that_is_ready_just_after_its_layer_was_made_is_not_left_grey(
    one_viewer, tmp_path, cache, monkeypatch
):
    from napari_stem.layers.placement import slide_layer
    from napari_stem.slide import open_slide
    from napari_stem.widgets.slide.slide_layers import SlideFeed, wait_little

    path = tmp_path / "small.tif"
    pixels = tifffile.imread(SVS, series=0)[:1500, :1200]
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(256, 256), resolution=(4e4, 4e4))
    slide = open_slide(path, early=True)
    builder = slide.builder
    assert builder.await_store(20)
    # as it is for a moment on a slow machine
    made, builder._made = builder._made, None
    builder.preview.pixels[:] = GROUND
    viewer = one_viewer
    data, options, _ = slide_layer(slide)
    pyramid = options["metadata"]["napari_stem"]["pyramid"]
    wait_little(pyramid)
    layer = viewer.add_image(data, **options)
    with monkeypatch.context() as patch:
        patch.setattr(display, "SLICING", __name__)  # as napari reads it to draw it
        assert np.ptp(np.asarray(layer.data[-1])) == 0
    builder._made = made
    SlideFeed(viewer, layer)
    np.testing.assert_array_equal(np.asarray(layer.data[-1]), halve(pixels))
    viewer.layers.clear()


def test_a_script_gets_its_layer_at_once(one_viewer, plugin):
    (layer,) = one_viewer.open(str(SVS), plugin="napari-stem")
    assert layer.name == SVS.stem
    one_viewer.layers.clear()
    QThreadPool.globalInstance().waitForDone()


def shown_share(road, layer) -> float:
    """How much of the canvas the slide takes, along the side where it takes more."""
    low, high = layer.extent.world
    taken = (high - low)[-2:] * road.viewer.scene.camera.zoom
    return float(np.max(taken / np.asarray(road.viewer.canvas.size)))


def test_a_slide_fits_a_window_that_is_resized_until_somebody_moves_it(road):
    layer = road.open(SVS)
    road.qtbot.wait(150)
    before = shown_share(road, layer)
    road.viewer.window.resize(1000, 600)
    road.wait(lambda: road.viewer.canvas.size[0] < 600)
    road.wait(lambda: shown_share(road, layer) == pytest.approx(before, abs=0.02))
    camera = road.viewer.scene.camera
    camera.zoom *= 1.5
    own = camera.zoom
    road.viewer.window.resize(1280, 800)
    road.wait(lambda: road.viewer.canvas.size[0] > 600)
    road.qtbot.wait(150)
    assert camera.zoom == own
    road.panels.slide.fit_button.click()  # from now on it is fitted again
    road.viewer.window.resize(1000, 600)
    road.wait(lambda: road.viewer.canvas.size[0] < 600)
    road.wait(lambda: shown_share(road, layer) == pytest.approx(before, abs=0.02))


def look_about(road, layer) -> None:
    """Go to many places at full magnification, as a person who looks for something."""
    camera = road.viewer.scene.camera
    low, high = layer.extent.world[:, -2:]
    camera.zoom = 4
    for share in np.linspace(0.1, 0.9, N_LOOKS):
        camera.center = (0, *(low + share * (high - low)))
        road.qtbot.wait(40)


@pytest.mark.parametrize("what", ["replaced", "cut short", "gone", "cache gone"])
def test_a_slide_lost_while_it_is_shown_is_told_once(
    what, road, cache, tmp_path, notifications, monkeypatch
):
    monkeypatch.setattr(parts, "SAME_ERROR_S", 120.0)  # a busy machine takes its time
    path = tmp_path / f"{what}.svs"  # a window tells the same sentence once
    shutil.copy(SLIDES / "C5-crop.jpg" if what == "cache gone" else SVS, path)
    layer = road.open(path)
    slide = road.dock.coordinator.slide
    road.wait(lambda: slide.is_complete)
    road.qtbot.wait(300)
    del notifications[:]
    if what == "replaced":
        shutil.copy(SLIDES / "C5-crop.jpg", tmp_path / "other")
        (tmp_path / "other").replace(path)
    elif what == "cut short":
        with path.open("r+b") as file:
            file.truncate(1_000_000)
    elif what == "gone":
        path.unlink()
    else:
        shutil.rmtree(cache / "pyramids")
    kept_chunks.clear()  # what was decoded before would still be shown
    look_about(road, layer)
    road.wait(lambda: notifications != [])
    look_about(road, layer)
    if what != "cache gone":  # others who read the slide meet the same
        road.panels.slide.associated_button.click()
        road.qtbot.wait(300)
    words = {
        "gone": "has gone away while it was open",
        "cache gone": "were removed while the slide was open",
    }
    assert len(notifications) == 1
    assert words.get(what, "was changed or replaced while it was open") in notifications[0]
    assert "again" in notifications[0]
    assert layer in road.viewer.layers


@pytest.mark.parametrize("kind", ["OME-Zarr", "DICOM", "a file's folder"])
def test_a_folder_that_goes_away_is_told_once(kind, road, cache, tmp_path, notifications):
    """As a network path does."""
    place = tmp_path / "share"
    if kind == "OME-Zarr":
        path = place / "slide.ome.zarr"
        write_ome_zarr(path, tifffile.imread(SVS, series=0))
    elif kind == "DICOM":
        pytest.importorskip("openslide")
        path = place / "dicom"
        shutil.copytree(SLIDES / "CMU-1-Small-Region-dicom", path)
    else:
        place.mkdir()
        path = place / "slide.svs"
        shutil.copy(SVS, path)
    layer = road.open(path)
    slide = road.dock.coordinator.slide
    road.wait(lambda: slide.is_complete)
    road.qtbot.wait(300)
    del notifications[:]
    place.rename(tmp_path / "elsewhere")
    kept_chunks.clear()
    look_about(road, layer)
    road.wait(lambda: notifications != [])
    look_about(road, layer)
    (told,) = notifications
    assert "has gone away while it was open" in told
    assert str(place) in told
    assert layer in road.viewer.layers


def write_ome_zarr(folder: Path, pixels: np.ndarray) -> None:
    """Write OME-Zarr 0.5 as other programs do, through zarr."""
    import zarr

    group = zarr.open_group(folder, mode="w", zarr_format=3)
    datasets = []
    for number in range(3):
        level = np.moveaxis(pixels[:: 2**number, :: 2**number], 2, 0)
        group.create_array(str(number), data=np.ascontiguousarray(level), chunks=(3, 256, 256))
        scale = [{"type": "scale", "scale": [1.0, 0.5 * 2**number, 0.5 * 2**number]}]
        datasets.append({"path": str(number), "coordinateTransformations": scale})
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}


def test_a_slide_fits_a_window_that_becomes_as_large_as_a_screen(road):
    road.viewer.window.resize(1280, 800)
    layer = road.open(SVS)
    road.qtbot.wait(150)
    before, width = shown_share(road, layer), road.viewer.canvas.size[1]
    zoom = road.viewer.scene.camera.zoom
    road.viewer.window.resize(2560, 1440)
    road.wait(lambda: road.viewer.canvas.size[1] > 1.5 * width)
    road.wait(lambda: shown_share(road, layer) == pytest.approx(before, abs=0.02))
    assert road.viewer.scene.camera.zoom > 1.3 * zoom


def test_the_scale_bar_comes_after_the_picture(road):
    overlays = road.viewer.canvas.overlays
    overlays.scale_bar.visible = False  # as in a new window
    seen_with_the_layer = []
    road.viewer.layers.events.inserted.connect(
        lambda _: QTimer.singleShot(
            0, lambda: seen_with_the_layer.append(overlays.scale_bar.visible)
        )
    )
    road.open(SVS)
    road.wait(lambda: overlays.scale_bar.visible)
    assert seen_with_the_layer == [False]


def test_no_message_lies_over_the_scale_bar(road):
    from napari._qt.dialogs.qt_notification import NapariQtNotification

    road.open(SVS)
    bar = road.viewer.canvas.overlays.scale_bar
    road.wait(lambda: bar.visible)
    with_bar = road.viewer.screenshot(flash=False)
    bar.visible = False
    where_it_is = (with_bar != road.viewer.screenshot(flash=False)).any(axis=(0, 2))
    canvas = road.viewer.window._qt_viewer.canvas.native
    told = NapariQtNotification("Saved /a/folder/with/a/long/name.png", "info", parent=canvas)
    told.show()
    assert where_it_is.any()
    assert np.flatnonzero(where_it_is).max() < told.geometry().left()
    told.close()


@pytest.mark.parametrize("is_sized_first", [True, False])
@pytest.mark.parametrize("how", ["dock", "drag"])
def test_slides_with_and_without_a_pixel_size_agree_on_units(
    how, is_sized_first, road, plugin, cache, notifications, tmp_path
):
    # by its name a slide, without which napari does not ask us
    paths = [SVS, Path(shutil.copy(SLIDES / "C5-crop.jpg", tmp_path / "crop.svs"))]
    for path in paths if is_sized_first else reversed(paths):
        if how == "dock":
            road.open(path)
        else:
            opened_by_a_person(road.viewer, path)
        road.qtbot.wait(200)
    assert len(road.viewer.layers) == 2
    assert [each for each in notifications if "nits" in each] == []
    assert {str(unit) for unit in road.viewer.layers.extent.units} == {"micrometer"}


def test_what_is_to_be_read_of_a_file_is_told_whatever_threads_do_with_warnings(
    one_viewer, plugin, cache, notifications, monkeypatch, tmp_path
):
    open_slide = napari_stem.slide.open_slide

    def while_another_thread_ends(*args, **kwargs):
        warnings.simplefilter("error")  # as it gives back what it had found
        return open_slide(*args, **kwargs)

    monkeypatch.setattr(napari_stem.slide, "open_slide", while_another_thread_ends)
    opened_by_a_person(one_viewer, shutil.copy(SLIDES / "C5-crop.jpg", tmp_path / "crop.svs"))
    QThreadPool.globalInstance().waitForDone()
    (told,) = notifications
    assert told.startswith("crop.svs does not say how large its pixels are")
    one_viewer.layers.clear()


def test_a_slide_is_fitted_whatever_else_is_open(road, cache):
    """A tall slide behind a wide one: each fills the canvas along one side."""
    tall = road.open(SVS)
    road.qtbot.wait(150)
    alone = shown_share(road, tall)
    wide = road.open(SLIDES / "C5-crop.jpg")
    wide.scale = (40.0, 400.0)
    road.qtbot.wait(150)
    road.dock.panels.slide.activate(tall.metadata["napari_stem"]["slide"])
    road.panels.slide.fit_button.click()
    assert shown_share(road, tall) == pytest.approx(alone, abs=0.02)


def test_the_overview_never_shows_another_slide(road, cache):
    road.open(SVS)
    overview = road.panels.slide.overview
    road.wait(lambda: overview.image is not None)
    seen = []
    road.viewer.layers.events.inserted.connect(lambda _: seen.append(overview.image))
    road.open(SLIDES / "C5-crop.jpg")
    assert seen[0] is None or seen[0].width() > seen[0].height()  # the crop is wide, the SVS tall
