"""Slides on the screen: the first picture, the overview, the label and macro images."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr
from napari.components import ViewerModel
from npe2 import PluginManifest
from PIL import Image
from qtpy.QtCore import QPointF, Qt

import napari_stem
from napari_stem.file_kinds import SlideWarning
from napari_stem.geometry import Mpp
from napari_stem.layers.placement import slide_layer
from napari_stem.slide import open_slide, pyramid
from napari_stem.slide.display import kept_chunks
from napari_stem.slide.level import Level
from napari_stem.slide.pyramid import PyramidBuilder
from napari_stem.widgets.common.worker import Jobs
from napari_stem.widgets.regions.region_names import label_colours
from napari_stem.widgets.slide.overview import (
    HEIGHT_PX,
    REGION,
    VISIBLE,
    AssociatedBox,
    Overview,
)
from napari_stem.widgets.slide.slide_layers import pyramid_of

if TYPE_CHECKING:
    from qtpy.QtGui import QColor

pytestmark = pytest.mark.gui

SLIDES = Path(__file__).parents[1] / "data" / "slides"
MANIFEST = Path(napari_stem.__file__).parent / "napari.yaml"
BRIGHT = np.full((40, 80, 3), 240, np.uint8)


@pytest.fixture
def road(shared_road):
    return shared_road


@pytest.fixture
def jpeg(tmp_path, monkeypatch) -> Path:
    """A real section as a flat JPEG that no cache knows yet."""
    monkeypatch.setenv("NAPARI_STEM_CACHE", str(tmp_path / "cache"))
    return SLIDES / "C5-crop.jpg"


@pytest.fixture
def overview(qtbot, tmp_path) -> Overview:
    """Of a bright slide, 80 um wide and 40 um high."""
    Image.fromarray(BRIGHT).save(tmp_path / "bright.png")
    viewer, slide = ViewerModel(), open_slide(tmp_path / "bright.png", Mpp.square(1))
    widget = Overview(viewer, Jobs())
    qtbot.addWidget(widget)
    widget.resize(300, HEIGHT_PX)
    widget.viewer = viewer
    (layer,) = viewer._add_layer_from_data(*slide_layer(slide))
    widget.show_slide(layer)
    qtbot.waitUntil(lambda: widget.image is not None)
    return widget


def look_at(overview, left, top, right, bottom) -> None:
    """Have the viewer show a part of the world."""
    camera, size = overview.viewer.scene.camera, overview.viewer.canvas.size
    camera.center = (0, (top + bottom) / 2, (left + right) / 2)
    camera.zoom = size[0] / (bottom - top)
    overview.viewer.canvas.size = (size[0], round(size[0] * (right - left) / (bottom - top)))


def colour_at(widget, x, y) -> QColor:
    return widget.grab().toImage().pixelColor(round(x), round(y))


def test_the_overview_shows_where_the_window_is(overview):
    look_at(overview, 20, 20, 40, 40)
    on, seen = overview.picture_rect(), overview.visible_rect()
    assert on.width() == pytest.approx(2 * on.height())
    assert seen.left() == pytest.approx(on.left() + on.width() / 4)
    assert seen.bottom() == pytest.approx(on.bottom())
    edge = colour_at(overview, seen.left(), seen.center().y())
    assert edge.blue() - edge.red() > 100
    assert VISIBLE.blue() > VISIBLE.red()
    inside = colour_at(overview, seen.center().x(), seen.center().y())
    assert inside.red() == 240


def test_a_tiny_rectangle_is_still_to_be_seen(overview):
    look_at(overview, 40, 20, 40.01, 20.01)
    assert overview.visible_rect().width() >= 6
    look_at(overview, 120, 20, 128, 28)  # beside the slide
    assert overview.visible_rect() is None


def test_regions_are_marked(overview, qtbot):
    square = np.array([(8, 16), (8, 64), (32, 64), (32, 16)], float)
    slide = pyramid_of(overview.viewer.layers[0]).slide
    about = {"metadata": {"napari_stem": {"regions_of": slide.fingerprint}}, "units": ("um", "um")}
    overview.viewer.add_shapes([square], shape_type="polygon", **about)
    qtbot.waitUntil(lambda: overview.outlines != ())
    look_at(overview, -80, -40, 160, 80)
    on = overview.picture_rect()
    edge = colour_at(overview, on.left() + 0.2 * on.width(), on.center().y())
    assert edge.red() < 180
    assert REGION.alpha() < 255


def test_maps_are_shown_in_their_own_colours(overview, qtbot):
    values = np.array([[0.0, 1.0, np.nan]], np.float32)
    options = {"contrast_limits": (0, 1), "metadata": {"napari_stem": {"field": "mean"}}}
    third = 80 / 3
    where = {"scale": (40, third), "translate": (20, third / 2), "units": ("um", "um")}
    layer = overview.viewer.add_image(values, colormap="viridis", opacity=0.5, **where, **options)
    qtbot.waitUntil(lambda: overview.maps != ())
    look_at(overview, -80, -40, 160, 80)
    expected = layer.colormap.map([0.0, 1.0])[:, :3] * 255
    on = overview.picture_rect()
    for place, colour in ((1 / 6, expected[0]), (3 / 6, expected[1]), (5 / 6, np.full(3, 240.0))):
        seen = colour_at(overview, on.left() + place * on.width(), on.center().y())
        mixed = colour if place > 0.8 else 0.5 * colour + 120
        np.testing.assert_allclose(seen.getRgb()[:3], mixed, atol=4)


def test_a_slide_that_is_turned_stands_upright_with_what_lies_on_it(overview, qtbot):
    viewer, (slide,) = overview.viewer, overview.viewer.layers
    about = {"regions_of": pyramid_of(slide).slide.fingerprint}
    square = np.array([(8, 16), (8, 64), (32, 64), (32, 16)], float)
    outline = viewer.add_shapes([square], shape_type="polygon", metadata={"napari_stem": about})
    values = np.array([[1.0, 0.0]], np.float32)
    where = {"scale": (40, 40), "translate": (20, 20), "contrast_limits": (0, 1)}
    on_slide = viewer.add_image(values, metadata={"napari_stem": {"field": "mean"}}, **where)
    angle = np.radians(30)
    turn = [[np.cos(angle), -np.sin(angle), 7], [np.sin(angle), np.cos(angle), -9], [0, 0, 1]]
    for layer in (slide, outline, on_slide):
        layer.affine = np.array(turn)
    qtbot.waitUntil(lambda: len(overview.maps) == len(overview.outlines) == 1)
    camera, on = viewer.scene.camera, overview.picture_rect()
    camera.zoom = 1e-3  # its rectangle is round all
    assert on.width() == pytest.approx(2 * on.height())
    for x, shade in ((0.05, 255), (0.45, 255), (0.55, 0), (0.95, 0)):
        for y in (0.1, 0.9):
            seen = colour_at(overview, on.left() + x * on.width(), on.top() + y * on.height())
            assert seen.red() == shade
    for x, is_dark in ((0.2, True), (0.25, False)):  # the outline, on white
        seen = colour_at(overview, on.left() + x * on.width(), on.center().y())
        assert (seen.red() < 180) == is_dark
    click(overview, 0.75, 0.25, qtbot)
    expected = slide.data_to_world((9.5, 59.5))
    assert camera.center[-2:] == pytest.approx(expected, abs=0.4)


def click(overview, x, y, qtbot) -> None:
    """Click on a place, in shares of the slide's width and height."""
    on = overview.picture_rect()
    place = QPointF(on.left() + x * on.width(), on.top() + y * on.height()).toPoint()
    qtbot.mouseClick(overview, Qt.MouseButton.LeftButton, pos=place)


def test_clicking_the_overview_leads_to_the_place(overview, qtbot):
    click(overview, 0.75, 0.25, qtbot)
    assert overview.viewer.scene.camera.center[-2:] == pytest.approx((10, 60), abs=0.4)


def test_the_overview_follows_the_window_and_leads_it(road):
    panel, camera = road.panels.slide, road.viewer.scene.camera
    layer = road.open(SLIDES / "CMU-1-Small-Region.svs")
    slide = road.dock.coordinator.slide
    road.wait(lambda: slide.is_complete and panel.overview.image is not None)
    road.dock.show_part("Slide")
    assert panel.overview.isVisible()
    width_um, height_um = (n * slide.mpp.x_um for n in (slide.size.width_px, slide.size.height_px))
    camera.zoom *= 4
    click(panel.overview, 0.25, 0.75, road.qtbot)
    half_um = 0.51 * width_um / panel.overview.picture_rect().width()  # a click is on a whole pixel
    assert camera.center[-2:] == pytest.approx((0.75 * height_um, 0.25 * width_um), abs=half_um)
    in_view_um = road.dock.panels.slide.centre_um()  # is predicted first
    assert in_view_um == pytest.approx(camera.center[:0:-1])
    on, seen = panel.overview.picture_rect(), panel.overview.visible_rect()
    assert seen.center().x() == pytest.approx(on.left() + on.width() / 4, abs=1)
    assert seen.center().y() == pytest.approx(on.top() + on.height() * 3 / 4, abs=1)
    canvas_height = road.viewer.canvas.size[0]
    assert seen.height() / on.height() == pytest.approx(
        canvas_height / camera.zoom / height_um, rel=0.02
    )
    before = camera.zoom
    panel.fit_button.click()
    assert camera.zoom < before
    assert camera.center[-2:] == pytest.approx((height_um / 2, width_um / 2), rel=1e-3)
    camera.zoom *= 4
    road.viewer.keymap[_home(road.viewer)](road.viewer)
    assert camera.zoom < before
    assert layer.visible


def _home(viewer):
    (key,) = (key for key in viewer.keymap if str(key) == "Home")
    return key


def test_the_overview_stays_at_hand_when_its_part_is_folded_away(road):
    dock, overview = road.dock, road.panels.slide.overview
    road.open(SLIDES / "C5-crop.jpg")
    dock.show_part("Region")
    assert not overview.isVisible()
    dock.toggle_overview()
    road.wait(overview.isVisible)
    window = dock.overview_window()
    assert overview.height() > HEIGHT_PX  # there is room here
    (key,) = (key for key in road.viewer.keymap if str(key) == "Shift+Home")
    road.viewer.keymap[key](road.viewer)  # the slide has the focus
    assert dock.overview_window() is None
    assert not window.isVisible()
    dock.show_part("Slide")
    road.wait(overview.isVisible)
    assert overview.height() <= HEIGHT_PX
    dock.toggle_overview()
    dock.overview_window().reject()  # Escape
    road.wait(lambda: dock.overview_window() is None and overview.isVisible())


def test_without_a_slide_there_is_no_overview(model_road, notifications):
    model_road.dock.toggle_overview()
    assert model_road.dock.overview_window() is None
    assert notifications == ["Open a slide first."]


def test_the_overview_marks_drawn_regions(road):
    road.open(SLIDES / "CMU-1-Small-Region.svs")
    corners = [(500, 500), (1500, 500), (1500, 1500), (500, 1500)]
    road.draw(corners)
    overview, slide = road.panels.slide.overview, road.dock.coordinator.slide
    road.wait(lambda: len(overview.outlines) == 1)
    (outline,) = overview.outlines
    for place, corner in zip(outline, corners, strict=True):
        px = place.x() / slide.mpp.x_um, place.y() / slide.mpp.y_um
        assert px == pytest.approx(corner, abs=0.005 * slide.size.width_px)


def test_label_and_macro_are_shown_when_asked_for_only(road):
    panel = road.panels.slide

    def shown() -> list[AssociatedBox]:
        return panel.findChildren(AssociatedBox)

    road.open(SLIDES / "C5-crop.jpg")
    assert panel.associated_button.isHidden()
    road.open(SLIDES / "CMU-1-Small-Region.svs")
    assert not panel.associated_button.isHidden()
    assert shown() == []
    panel.associated_button.click()
    road.wait(lambda: shown() != [])
    (box,), slide = shown(), road.dock.coordinator.slide
    assert set(box.pictures) == set(slide.associated)
    assert next(iter(box.pictures)) == "label"
    assert all(not label.pixmap().isNull() for label in box.pictures.values())
    box.close()
    road.wait(lambda: shown() == [])
    assert len(road.viewer.layers) == 2  # they become no layers


def test_a_flat_picture_is_seen_before_it_is_complete(road, jpeg, monkeypatch):
    is_seen, fill_block = threading.Event(), pyramid.fill_block

    def when_seen(*args):
        is_seen.wait(120)
        fill_block(*args)

    monkeypatch.setattr(pyramid, "fill_block", when_seen)
    layer = road.open(jpeg)
    slide = road.dock.coordinator.slide
    assert not slide.is_complete
    road.wait(lambda: slide.n_changes > 0)
    is_seen.set()
    road.wait(lambda: slide.is_complete and road.panels.slide.preparing.isHidden())
    assert list(road.viewer.layers) == [layer]
    with Image.open(jpeg) as image:
        true = np.asarray(image)
    pyramid_of(layer).patience_s = None
    np.testing.assert_array_equal(layer.data[0][100:300, 200:500], true[100:300, 200:500])
    coarsest = slide.levels[-1].pixels.compute()
    np.testing.assert_array_equal(np.asarray(layer.data[-1]), coarsest)


def test_names_of_regions_do_not_wait_for_levels_that_are_being_made(road, jpeg, monkeypatch):
    """Reading them would make the coarsest from the whole slide, while the window stands still."""
    layer = road.open(jpeg)
    slide = road.dock.coordinator.slide
    road.wait(lambda: slide.is_complete)
    height, width = slide.size.height_px, slide.size.width_px
    outline = np.array([[0, 0], [0, width], [height, width], [height, 0]], float)
    kept_chunks.clear()
    with monkeypatch.context() as patch:
        patch.setattr(type(slide), "is_complete", property(lambda _: False))
        patch.setattr(Level, "window", lambda *_: pytest.fail("pixels were read"))
        colours = label_colours([outline * layer.scale], [layer])
    assert colours.tolist() == [[0, 0, 0, 1]]


def test_of_a_slide_with_levels_down_to_one_pixel_more_is_seen_than_that(qtbot, tmp_path):
    """By those of 1 x 1 px the overview would be of one colour, and so the names of all regions."""
    half = np.zeros((64, 64, 3), np.uint8)
    half[:, 32:] = 255
    group = zarr.open_group(tmp_path / "deep.zarr", mode="w", zarr_format=3)
    datasets = []
    for number in range(7):
        group.create_array(str(number), data=half[:: 2**number, :: 2**number])
        scale = {"type": "scale", "scale": [2**number, 2**number, 1]}
        datasets.append({"path": str(number), "coordinateTransformations": [scale]})
    axes = [*({"name": name, "type": "space"} for name in "yx"), {"name": "c", "type": "channel"}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    viewer = ViewerModel()
    widget = Overview(viewer, Jobs())
    qtbot.addWidget(widget)
    (layer,) = viewer._add_layer_from_data(
        *slide_layer(open_slide(tmp_path / "deep.zarr", Mpp.square(1)))
    )
    assert layer.data[-1].shape == (1, 1, 3)
    corners = np.array([(20, 4), (20, 24), (40, 24), (40, 4)], float)
    kept_chunks.clear()
    for _ in ("nothing is known yet", "all is"):
        colours = label_colours([corners, corners + np.array([0, 32])], [layer])
        assert colours[:, 0].tolist() == [1, 0]  # white on black, black on white
        pyramid_of(layer).arrays[0].compute()
    widget.show_slide(layer)
    qtbot.waitUntil(lambda: widget.image is not None)
    assert (widget.image.width(), widget.image.height()) == (64, 64)
    pyramid_of(layer).slide.close()


def test_a_picture_that_proves_damaged_is_taken_away_with_one_sentence(
    road, jpeg, tmp_path, notifications
):
    path = tmp_path / "cut.png"
    noise = np.random.default_rng(0).integers(0, 255, (1500, 1500, 3), np.uint8)
    Image.fromarray(noise).save(path, compress_level=1)
    path.write_bytes(path.read_bytes()[:4_000_000])
    road.dock.panels.slide.open(str(path))
    road.wait(lambda: notifications != [])
    road.wait(lambda: len(road.viewer.layers) == 0)
    assert len(notifications) == 1
    assert "cut.png is damaged or incomplete" in notifications[0]
    assert road.panels.slide.preparing.isHidden()
    assert road.dock.coordinator.slide is None


@pytest.fixture
def plugin(npe2pm):
    with npe2pm.tmp_plugin(manifest=PluginManifest.from_file(MANIFEST)):
        yield


@pytest.fixture
def named_svs(jpeg, tmp_path) -> Path:
    """By its name a slide, without which napari does not ask us."""
    return Path(shutil.copy(jpeg, tmp_path / "slide.svs"))


def test_what_napari_opens_is_completed_without_the_dock(
    one_viewer, qtbot, plugin, named_svs, monkeypatch
):
    from qtpy.QtCore import QThreadPool

    viewer, may_make, make = one_viewer, threading.Event(), PyramidBuilder.levels
    monkeypatch.setattr(
        PyramidBuilder, "levels", lambda self: make(self) if may_make.wait(60) else None
    )
    with pytest.warns(SlideWarning, match="how large its pixels are"):
        (layer,) = viewer.open(str(named_svs), plugin="napari-stem")
    pyramid = pyramid_of(layer)
    assert not pyramid.slide.is_complete
    may_make.set()
    qtbot.waitUntil(lambda: pyramid.slide.is_complete, timeout=60_000)
    coarsest = pyramid.slide.levels[-1].pixels.compute()
    qtbot.waitUntil(lambda: np.array_equal(np.asarray(layer.data[-1]), coarsest), timeout=60_000)
    viewer.layers.clear()
    assert pyramid.arrived is None
    QThreadPool.globalInstance().waitForDone()
