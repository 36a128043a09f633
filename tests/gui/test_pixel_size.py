"""Another pixel size: regions stay on the picture, maps of the earlier one go, both roads note the check."""

from __future__ import annotations

import json

import pytest
import shapely
from numpy.testing import assert_allclose
from typer.testing import CliRunner

from napari_stem.cli import app
from napari_stem.geometry import Mpp
from napari_stem.results import Prediction
from napari_stem.sample_data import sample_path
from napari_stem.slide import open_slide
from napari_stem.slide.pixel_size import STATED, conflict, remember
from napari_stem.slide.scale_check import known_check

pytestmark = pytest.mark.gui

TRUE_UM, WRONG_UM = 0.6907, 0.345
SQUARE = [(300, 300), (900, 300), (900, 900), (300, 900)]


@pytest.fixture
def slides_folder(request):
    return request.config.rootpath / "tests" / "data" / "slides"


@pytest.fixture
def crop_road(model_road, slides_folder):
    """Open the crop at a pixel size that is wrong by 2, with a square drawn on it."""
    model_road.open(slides_folder / "C5-crop.jpg")
    model_road.dock.panels.slide.set_pixel_size(WRONG_UM)
    model_road.draw(SQUARE)
    return model_road


def the_region(road):
    (drawn,) = road.dock.panels.region.drawn()
    return drawn.region


def mm2(road) -> float:
    return the_region(road).area_mm2(road.dock.coordinator.slide.mpp)


def listed(road) -> list[tuple[str, bool]]:
    """Rows of the list of predictions: first column, whether it is the one on screen."""
    table, view = road.panels.model.predictions.table, road.panels.model.predictions.view
    rows = [table.index(row, 0) for row in range(table.rowCount())]
    return [(row.data(), row == view.currentIndex()) for row in rows]


def test_regions_stay_on_the_picture_and_change_their_area(crop_road):
    coordinator = crop_road.dock.coordinator
    before, area = the_region(crop_road).polygon, mm2(crop_road)
    coordinator.panels.slide.set_pixel_size(TRUE_UM)
    after = the_region(crop_road).polygon
    assert shapely.symmetric_difference(before, after).area < 1e-6 * before.area
    assert mm2(crop_road) == pytest.approx(area * (TRUE_UM / WRONG_UM) ** 2)
    assert f"{mm2(crop_road):.2f}" in crop_road.panels.region.summary.text()


def test_undo_goes_back_to_outlines_on_the_same_pixels(crop_road):
    coordinator = crop_road.dock.coordinator
    first = the_region(crop_road).polygon
    coordinator.panels.region.count()  # the first outline is a step of its own
    crop_road.draw([(1000, 100), (1200, 100), (1200, 300)])
    both = [each.region.polygon for each in coordinator.panels.region.drawn()]
    coordinator.panels.slide.set_pixel_size(TRUE_UM)
    coordinator.panels.region.undo()  # of the second outline, not of the pixel size
    assert shapely.symmetric_difference(the_region(crop_road).polygon, first).area < 1
    coordinator.panels.region.redo()
    for polygon, each in zip(both, coordinator.panels.region.drawn(), strict=True):
        assert shapely.symmetric_difference(polygon, each.region.polygon).area < 1


def test_maps_made_with_another_pixel_size_go_and_say_so(crop_road, notifications):
    coordinator, model = crop_road.dock.coordinator, crop_road.panels.model
    crop_road.ask_little()
    crop_road.run()
    assert crop_road.panels.slide.pixel_size.change_button.isEnabled()
    path = coordinator.panels.maps.current().prediction.path
    coordinator.panels.slide.set_pixel_size(TRUE_UM)
    assert coordinator.panels.maps.current() is None
    assert not any(
        layer.visible and "prediction" in layer.metadata.get("napari_stem", {})
        for layer in crop_road.viewer.layers
    )
    assert any("made with the earlier pixel size" in text for text in notifications)
    assert listed(crop_road) == [("her2st-breast (at 0.345 µm per pixel)", False)]
    assert "now (0.691 µm per pixel)" in model.predictions.others.text()
    assert not model.predictions.others.isHidden()
    coordinator.panels.model.predictions.choose(path)  # what a click on the row asks for
    assert any("was made at 0.345 µm per pixel" in text for text in notifications)
    assert coordinator.panels.maps.current() is None
    crop_road.run()
    assert coordinator.panels.maps.current().prediction.path != path
    assert [text for text, is_shown in listed(crop_road) if is_shown] == ["her2st-breast"]
    coordinator.panels.slide.set_pixel_size(WRONG_UM)
    coordinator.panels.model.predictions.choose(path)
    assert coordinator.panels.maps.current().prediction.path == path
    assert [text for text, is_shown in listed(crop_road) if is_shown] == ["her2st-breast"]
    assert coordinator.panels.model.predictions.paths(coordinator.slide) == [path]


def test_a_pixel_size_is_stated_again_as_it_is_said(model_road, notifications):
    model_road.open(sample_path())
    model_road.draw([(4200, 3400), (5000, 3400), (5000, 4200), (4200, 4200)])
    model_road.ask_little()
    model_road.run()
    slides, box = model_road.panels.slide, model_road.panels.slide.pixel_size
    path, mpp = model_road.maps.prediction.path, slides.slide.mpp
    assert mpp.x_um != round(mpp.x_um, 4)  # the field holds fewer digits
    box.change_button.click()
    box.use_button.click()
    assert slides.slide.mpp == mpp
    assert model_road.maps.prediction.path == path
    slides.set_pixel_size(0.5)
    assert model_road.maps is None
    box.value.setValue(float(f"{mpp.x_um:.3g}"))  # as the list of predictions says it
    box.use_button.click()
    assert slides.slide.mpp == mpp
    model_road.panels.model.predictions.choose(path)
    assert model_road.maps.prediction.path == path
    assert not any("change the pixel size back" in text for text in notifications)


def test_a_prediction_says_that_the_user_stated_the_pixel_size(crop_road):
    crop_road.ask_little()
    crop_road.run()
    assert crop_road.maps.prediction.provenance["mpp_source"] == STATED


def test_a_pixel_size_that_is_stated_takes_the_place_of_that_of_an_earlier_day(model_road, crop):
    with open_slide(crop) as slide:
        remember(slide.fingerprint, Mpp.square(WRONG_UM))
    model_road.open(crop)
    model_road.panels.slide.set_pixel_size(TRUE_UM)
    sources = model_road.dock.coordinator.slide.mpp_sources
    assert [each.source for each in sources] == [STATED]
    assert conflict(sources) is None


def test_a_slide_keeps_its_pixel_size_while_it_is_predicted(crop_road):
    slide = crop_road.panels.slide
    crop_road.ask_little()
    with crop_road.qtbot.waitSignal(crop_road.dock.panels.run.ended, timeout=120_000):
        crop_road.panels.run.run_button.click()
        assert not slide.pixel_size.change_button.isEnabled()
        assert not slide.pixel_size.isEnabled()
        assert "being predicted" in slide.pixel_size.change_button.toolTip()
    assert slide.pixel_size.change_button.isEnabled()
    assert slide.pixel_size.isEnabled()


def test_both_roads_note_the_same_check(crop_road, slides_folder, tmp_path):
    coordinator = crop_road.dock.coordinator
    crop_road.ask_little()
    crop_road.run()
    from_dock = coordinator.panels.maps.current().prediction.provenance["scale_check"]
    assert from_dock == known_check(coordinator.slide).as_json()
    assert "factor of 2" in from_dock["warning"]
    out = tmp_path / "p.zarr"
    command = ["predict", str(slides_folder / "C5-crop.jpg"), "--out", str(out), "--mpp"]
    command += [str(WRONG_UM), "--draws", "2", "--steps", "2", "--device", "cpu", "--pitch", "150"]
    result = CliRunner().invoke(app, [*command, "--json"])
    assert result.exit_code == 0, result.output
    from_command = Prediction.open(out).provenance["scale_check"]
    assert (
        from_command["warning"]
        == from_dock["warning"]
        == json.loads(result.stdout)["scale_warning"]
    )
    assert_allclose(from_command["width_um"], from_dock["width_um"])


def test_a_slide_that_is_too_coarse_for_the_model_is_told_before_the_run(model_road):
    panels = model_road.panels
    model_road.open(sample_path())
    model_road.draw([(4200, 3400), (5000, 3400), (5000, 4200), (4200, 4200)])
    model_road.wait(lambda: panels.model.loaded()[1] is not None)
    assert panels.run.run_button.isEnabled()
    panels.slide.set_pixel_size(2.5)
    model_road.wait(lambda: "upsampled" in panels.run.why_not.text())
    assert not panels.run.run_button.isEnabled()
    panels.slide.set_pixel_size(0.69)
    model_road.wait(panels.run.run_button.isEnabled)
