"""Regions as people make and change them: tools, clicks, names, classes, files, undo."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import napari
import numpy as np
import pytest
import shapely
from napari.layers import Layer
from numpy.testing import assert_allclose
from PIL import Image
from qtpy.QtCore import QModelIndex, QPoint, Qt
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_stem.geometry import Mpp, Region, SizePx, inside, lattice
from napari_stem.layers.placement import one_ring
from napari_stem.model import serving
from napari_stem.sample_data import sample_path
from napari_stem.settings import TissueSettings
from napari_stem.slide import open_slide
from napari_stem.slide.tissue import find_tissue as tissue_of
from napari_stem.spatial.region_files import ClassedRegion, read_regions
from napari_stem.widgets.dock import StemDock
from napari_stem.widgets.regions import region_layers
from napari_stem.widgets.regions.region_names import (
    LETTER_PX,
    LINE_PX,
    NEAR,
    half_lines_down,
    label_colours,
    labels,
)
from napari_stem.widgets.regions.region_panel import HOW_TO, TOOLS
from napari_stem.widgets.regions.region_shapes import count_spots, square_of_spots
from napari_stem.widgets.regions.region_table import (
    AREA_COLUMN,
    CLASS_COLUMN,
    NAME_COLUMN,
    SPOTS_COLUMN,
)

pytestmark = pytest.mark.gui

SQUARE = [(2000, 2000), (4000, 2000), (4000, 4000), (2000, 4000)]
OTHER = [(5000, 2000), (6000, 2000), (6000, 3000), (5000, 3000)]
TRIANGLE = [(3000, 2000), (4000, 2000), (4000, 3000)]
FURTHER = [(5000, 5000), (6000, 5000), (6000, 6000)]
HOLED = shapely.Polygon(
    [(3000, 3000), (6000, 3000), (6000, 6000), (3000, 6000)],
    [
        [(4000, 4000), (4500, 4000), (4500, 4500), (4000, 4500)],
        [(5000, 5000), (5500, 5000), (5500, 5500)],
    ],
)


def regions(road) -> list[ClassedRegion]:
    return [each.region for each in road.dock.panels.region.drawn()]


def count_now(road) -> None:
    road.dock.panels.region.count()


def cell(road, row: int, column: int) -> str:
    return str(road.panels.region.table.index(row, column).data())


def set_cell(road, row: int, column: int, text: str) -> None:
    table = road.panels.region.table
    table.setData(table.index(row, column), text)
    count_now(road)


@pytest.fixture
def road(shared_road):
    return shared_road


@pytest.fixture
def sample(model_road):
    model_road.open(sample_path())
    return model_road


def test_a_ring_with_bridges_encloses_the_polygon_and_not_its_holes():
    ring = one_ring(HOLED)
    found = Region.from_vertices_um(ring[:, ::-1], Mpp.square(1.0)).polygon
    assert shapely.symmetric_difference(found, HOLED).area == 0


def test_spots_are_counted_as_a_run_would_choose_them():
    size, mpp = SizePx(height_px=3000, width_px=2500), Mpp(y_um=0.5, x_um=0.4)
    areas = [
        shapely.box(-100, 200, 900, 1700),
        shapely.Point(1500, 1500).buffer(600),
        shapely.box(2400, 2900, 9000, 9000),
        shapely.box(-50, -50, -10, -10),
    ]
    found = [Region(area) for area in areas]
    spots = lattice(size, mpp, 37.0)
    n_all, each = count_spots(found, size, mpp, 37.0)
    assert each == [int(inside(spots, [region]).sum()) for region in found]
    assert n_all == int(inside(spots, found).sum())
    assert count_spots([], size, mpp, 37.0) == (0, [])
    assert count_spots(found, size, mpp, 90_000.0)[0] == 0


def test_very_many_spots_are_estimated():
    size, mpp = SizePx(height_px=100_000, width_px=100_000), Mpp.square(0.25)
    n_all, _ = count_spots([Region(shapely.box(0, 0, 50_000, 50_000))], size, mpp, 8.0)
    assert n_all == pytest.approx((50_000 * 0.25 / 8) ** 2, rel=1e-3)


def test_a_clicked_square_holds_whole_spots():
    square = square_of_spots((30.0, 1000.0), 3, 200.0, Mpp.square(1))
    left, top, right, bottom = square.bounds
    assert (top, bottom) == (800.0, 1400.0) or (top, bottom) == (600.0, 1200.0)
    assert (left, right) == (0.0, 600.0)


@pytest.mark.parametrize("tool", [t for t in TOOLS if t.startswith("add_")])
def test_every_tool_is_one_of_naparis(sample, tool):
    sample.panels.region.tools[tool].click()
    layer = sample.viewer.layers.selection.active
    assert layer.mode == tool
    assert sample.panels.region.summary.text() == HOW_TO[tool]
    layer.mode = "pan_zoom"
    assert not sample.panels.region.tools[tool].isChecked()


def test_each_region_has_a_name_an_area_and_spots(sample):
    sample.draw(SQUARE)
    sample.draw(OTHER)
    sample.wait(lambda: sample.panels.region.table.rowCount() == 2)
    mpp = sample.dock.coordinator.slide.mpp
    assert [cell(sample, row, NAME_COLUMN) for row in (0, 1)] == ["region 1", "region 2"]
    assert cell(sample, 0, AREA_COLUMN) == f"{4 * mpp.x_um * mpp.y_um:.2f}"
    together = int(cell(sample, 0, SPOTS_COLUMN)) + int(cell(sample, 1, SPOTS_COLUMN))
    assert f"2 regions, {5 * mpp.x_um * mpp.y_um:.2f} mm², {together} spots" in (
        sample.panels.region.summary.text()
    )


def test_overlapping_regions_count_once(sample):
    sample.draw(SQUARE)
    sample.draw(SQUARE)
    sample.wait(lambda: sample.panels.region.table.rowCount() == 2)
    mpp = sample.dock.coordinator.slide.mpp
    assert f"{4 * mpp.x_um * mpp.y_um:.2f} mm², {cell(sample, 0, SPOTS_COLUMN)} spots" in (
        sample.panels.region.summary.text()
    )


def test_regions_are_named_classified_and_coloured(sample):
    sample.draw(SQUARE)
    sample.draw(OTHER)
    count_now(sample)
    set_cell(sample, 1, NAME_COLUMN, "invasive front")
    set_cell(sample, 1, CLASS_COLUMN, "Tumor")
    first, second = regions(sample)
    assert (second.name, second.classification, second.colour) == (
        "invasive front",
        "Tumor",
        (200, 0, 0),
    )
    assert (first.name, first.classification) == ("region 1", "")
    layer = sample.dock.panels.region.layers.find(sample.dock.coordinator.slide)
    assert_allclose(layer.edge_color[1], (200 / 255, 0, 0, 1))
    assert "invasive front" in list(layer.text.values)
    sample.dock.panels.region.layers.set_class_colour(layer, "Tumor", (10, 20, 30))
    assert regions(sample)[1].colour == (10, 20, 30)
    sample.draw(SQUARE)  # what is drawn next is no tumour
    assert regions(sample)[2].classification == ""


def test_no_two_regions_go_by_the_same_name(sample):
    areas = [shapely.Polygon(SQUARE), shapely.Polygon(OTHER)]
    tumours = [ClassedRegion(area, "Tumor", "Tumor") for area in areas]  # unnamed in QuPath
    sample.panels.region.add(sample.dock.coordinator.slide, tumours)
    assert [region.name for region in regions(sample)] == ["Tumor", "Tumor (2)"]
    sample.panels.region.add(sample.dock.coordinator.slide, tumours[:1])
    assert [region.name for region in regions(sample)] == ["Tumor", "Tumor (2)", "Tumor (3)"]
    set_cell(sample, 1, NAME_COLUMN, "front")
    set_cell(sample, 2, NAME_COLUMN, "front")
    set_cell(sample, 0, NAME_COLUMN, "Tumor")  # as it is
    assert [region.name for region in regions(sample)] == ["Tumor", "front", "front (2)"]
    set_cell(sample, 2, NAME_COLUMN, "front")  # once more
    assert cell(sample, 2, NAME_COLUMN) == "front (2)"
    set_cell(sample, 0, NAME_COLUMN, "front (2)")
    assert cell(sample, 0, NAME_COLUMN) == "front (2) (2)"
    set_cell(sample, 0, NAME_COLUMN, "everything else")  # what Compare calls the rest
    assert cell(sample, 0, NAME_COLUMN) == "everything else (2)"
    rest = ClassedRegion(shapely.Polygon(SQUARE), "everything else")
    sample.panels.region.add(sample.dock.coordinator.slide, [rest])
    assert regions(sample)[3].name == "everything else (3)"


def test_a_new_region_takes_nothing_from_the_selected_one(sample):
    sample.draw(SQUARE)
    count_now(sample)
    set_cell(sample, 0, CLASS_COLUMN, "Stroma")
    sample.panels.region.view.selectRow(0)
    layer = sample.viewer.layers.selection.active
    assert layer.selected_data == {0}
    sample.draw(OTHER)
    first, second = regions(sample)
    assert (first.classification, second.classification) == ("Stroma", "")
    assert second.polygon.area == pytest.approx(1e6)


def test_the_editor_offers_classes_and_takes_others(sample):
    sample.draw(SQUARE)
    count_now(sample)
    view = sample.panels.region.view
    index = sample.panels.region.table.index(0, CLASS_COLUMN)
    box = view.itemDelegateForColumn(CLASS_COLUMN).createEditor(view, None, index)
    assert [box.itemText(n) for n in range(3)] == ["–", "Tumor", "Stroma"]
    box.setCurrentText("Lymph follicle")
    view.itemDelegateForColumn(CLASS_COLUMN).setModelData(box, sample.panels.region.table, index)
    assert regions(sample)[0].classification == "Lymph follicle"


def test_undo_goes_back_step_by_step_and_redo_forward(sample):
    control = sample.dock.panels.region
    sample.draw(SQUARE)
    sample.draw(OTHER)
    count_now(sample)
    set_cell(sample, 0, NAME_COLUMN, "one")
    sample.panels.region.clear_button.click()
    assert regions(sample) == []
    sample.panels.region.undo_button.click()
    assert [r.name for r in regions(sample)] == ["one", "region 2"]
    control.undo()
    assert [r.name for r in regions(sample)] == ["region 1", "region 2"]
    control.undo()
    assert [r.name for r in regions(sample)] == ["region 1"]
    control.undo()
    assert regions(sample) == []
    count_now(sample)
    assert not sample.panels.region.undo_button.isEnabled()
    layer = control.layers.find(sample.dock.coordinator.slide)
    assert len(layer.features) == layer.nshapes == 0
    control.undo()  # nothing to take back
    for _ in range(3):
        control.redo()
    assert [r.name for r in regions(sample)] == ["one", "region 2"]
    assert_allclose(regions(sample)[0].polygon.bounds, (2000, 2000, 4000, 4000))


def test_moving_a_corner_can_be_undone(sample):
    sample.draw(SQUARE)
    count_now(sample)
    slide = sample.dock.coordinator.slide
    layer = sample.dock.panels.region.layers.find(slide)
    before = regions(sample)[0].polygon
    layer.data = [layer.data[0] + 100.0]
    count_now(sample)
    assert not regions(sample)[0].polygon.equals(before)
    assert regions(sample)[0].name == "region 1"
    sample.dock.panels.region.undo()
    assert shapely.symmetric_difference(regions(sample)[0].polygon, before).area < 1e-3


def test_a_copy_made_in_napari_never_takes_the_place_of_the_regions(sample):
    sample.draw(SQUARE)
    layer = sample.viewer.layers.selection.active
    data, state, kind = layer.as_layer_data_tuple()
    copied = Layer.create(data, state | {"name": "copy"}, kind)
    sample.viewer.layers.insert(sample.viewer.layers.index(layer) + 1, copied)
    sample.panels.region.use_tool("add_polygon")
    sample.draw(OTHER)
    for _ in range(2):  # as after a run
        sample.panels.region.layers.raise_outlines(sample.dock.coordinator.slide)
        count_now(sample)
        assert len(regions(sample)) == 2


def test_a_region_that_is_pasted_in_napari_is_a_region_of_its_own(road):
    road.open(sample_path())
    road.draw(SQUARE)
    set_cell(road, 0, CLASS_COLUMN, "Tumor")
    layer = road.viewer.layers.selection.active
    layer.mode, layer.selected_data = "select", {0}
    canvas = canvas_of(road)
    for key in (Qt.Key.Key_C, Qt.Key.Key_V):
        road.qtbot.keyClick(canvas, key, Qt.KeyboardModifier.ControlModifier)
    road.wait(lambda: "2 regions" in road.panels.region.summary.text())
    assert [each.name for each in regions(road)] == ["region 1", "region 2"]
    assert [each.classification for each in regions(road)] == ["Tumor", "Tumor"]
    road.panels.region.undo()
    count_now(road)
    assert [each.name for each in regions(road)] == ["region 1"]


def test_a_region_that_is_cut_and_pasted_in_napari_is_counted_again(road):
    road.open(sample_path())
    for corners in (SQUARE, OTHER, TRIANGLE):
        road.draw(corners)
        count_now(road)
    layer, summary = road.viewer.layers.selection.active, road.panels.region.summary
    layer.mode, layer.selected_data = "select", {1}
    canvas = canvas_of(road)

    def press(key: Qt.Key) -> None:
        road.qtbot.keyClick(canvas, key, Qt.KeyboardModifier.ControlModifier)

    press(Qt.Key.Key_C)
    layer.remove_selected()
    road.wait(lambda: "2 regions" in summary.text())
    press(Qt.Key.Key_V)
    road.wait(lambda: "3 regions" in summary.text())
    assert [each.name for each in regions(road)] == ["region 1", "region 3", "region 2"]
    layer.remove_selected()
    road.draw(FURTHER)  # takes the name of what was cut
    count_now(road)
    layer.mode = "select"
    press(Qt.Key.Key_V)
    road.wait(lambda: "4 regions" in summary.text())
    names = ["region 1", "region 3", "region 2", "region 4"]
    assert [each.name for each in regions(road)] == names


def test_features_that_others_add_to_the_regions_stay_with_them(sample):
    sample.draw(SQUARE)
    count_now(sample)
    panel = sample.panels.region
    layer = panel.layers.find(sample.dock.coordinator.slide)
    layer.features = layer.features.assign(solidity=0.5, name="mine")
    sample.wait(lambda: cell(sample, 0, NAME_COLUMN) == "mine")
    panel.clear()
    panel.undo()
    sample.draw(OTHER)
    panel.add(sample.dock.coordinator.slide, [Region(shapely.box(100, 100, 900, 900), "a")])
    assert [each.name for each in regions(sample)] == ["mine", "region 1", "a"]
    assert layer.features["solidity"][0] == 0.5


def test_names_of_very_many_regions_are_not_written_on_the_slide(sample, monkeypatch):
    monkeypatch.setattr(region_layers, "MOST_NAMES", 40)
    panel, slide = sample.panels.region, sample.dock.coordinator.slide
    places = range(0, 20 * 41, 20)
    panel.add(slide, [Region(shapely.box(x, 100, x + 15, 115), f"r {x}") for x in places])
    layer = sample.viewer.layers[-1]

    def written() -> set[str]:
        return set(np.atleast_1d(layer.text.values).tolist())

    assert layer.nshapes == 41
    assert written() == {""}
    panel.layers.remove(layer, [1])
    assert len(written()) > 1
    panel.undo()
    assert layer.nshapes == 41
    assert written() == {""}


def test_names_are_placed_once_where_a_region_is_drawn(sample):
    sample.draw(SQUARE)
    layer, is_placed = sample.viewer.layers[-1], []
    changes = layer.events.features, layer.events.edge_color, layer.text.events.values
    for event in changes:
        event.connect(lambda: is_placed.append(layer.text.visible))
    layer.add_polygons([np.array(OTHER)[:, ::-1]])
    is_placed.clear()  # what napari does by itself
    assert [each.name for each in regions(sample)] == ["region 1", "region 2"]
    assert is_placed
    assert not any(is_placed)
    assert layer.text.visible


def test_a_tool_taken_in_3d_leads_back_to_2d_where_it_draws(sample):
    sample.viewer.dims.ndisplay = 3
    sample.panels.region.tools["add_rectangle"].click()
    assert sample.viewer.dims.ndisplay == 2
    assert sample.viewer.layers.selection.active.mode == "add_rectangle"


def test_regions_are_removed_from_the_table(sample):
    sample.draw(SQUARE)
    sample.draw(OTHER)
    count_now(sample)
    view = sample.panels.region.view
    view.selectRow(0)
    view.remove_chosen()
    assert [r.name for r in regions(sample)] == ["region 2"]


def selected_on_canvas(road) -> set[int]:
    layer = road.panels.region.layers.find(road.dock.coordinator.slide)
    return set(layer.selected_data)


def test_every_chosen_row_is_selected_on_the_canvas(sample):
    for corners in (SQUARE, OTHER, [(x, y + 3000) for x, y in OTHER]):
        sample.draw(corners)
    count_now(sample)
    view = sample.panels.region.view
    view.show()
    name = [view.visualRect(sample.panels.region.table.index(row, NAME_COLUMN)) for row in range(3)]
    click, left = sample.qtbot.mouseClick, Qt.MouseButton.LeftButton
    click(view.viewport(), left, pos=name[0].center())
    assert selected_on_canvas(sample) == {0}
    click(view.viewport(), left, Qt.KeyboardModifier.ControlModifier, name[2].center())
    assert selected_on_canvas(sample) == {0, 2}
    click(view.viewport(), left, pos=name[1].center())
    sample.qtbot.keyClick(view, Qt.Key.Key_Down)
    assert selected_on_canvas(sample) == {2}
    layer = sample.viewer.layers.selection.active
    layer.selected_data = set()  # as a click beside it
    click(view.viewport(), left, pos=name[2].center())
    assert selected_on_canvas(sample) == {2}


def test_what_the_dock_marks_by_itself_takes_no_tool_away(sample):
    sample.draw(SQUARE)
    count_now(sample)
    sample.panels.region.view.selectRow(0)
    sample.panels.region.use_tool("add_polygon")
    sample.draw(OTHER)
    count_now(sample)
    assert sample.viewer.layers.selection.active.mode == "add_polygon"


def test_a_tool_is_in_hand_only_while_the_regions_are_selected(sample):
    sample.draw(SQUARE)
    tool, layer = sample.panels.region.tools["add_polygon"], sample.viewer.layers.selection.active
    sample.viewer.add_image(np.zeros((2, 2)))  # a map that comes is selected for a moment
    sample.viewer.layers.selection.active = layer
    sample.qtbot.wait(50)
    assert tool.isChecked()
    assert layer.mode == "add_polygon"
    sample.viewer.layers.selection.active = sample.panels.slide.layer
    sample.wait(lambda: not tool.isChecked())
    assert layer.mode == "pan_zoom"


def test_regions_go_to_a_file_and_come_back(sample, tmp_path, monkeypatch, notifications):
    path = tmp_path / "areas.geojson"
    parts = shapely.MultiPolygon([HOLED, shapely.box(7000, 7000, 7500, 7600)])
    control = sample.dock.panels.region
    control.add(sample.dock.coordinator.slide, [ClassedRegion(parts, "rim", "Necrosis", (1, 2, 3))])
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    sample.panels.region.export_button.click()
    sample.wait(lambda: any(str(path) in sentence for sentence in notifications))
    (written,) = read_regions(path)
    assert shapely.symmetric_difference(written.polygon, parts).area < 1
    assert (written.name, written.classification, written.colour) == ("rim", "Necrosis", (1, 2, 3))
    assert len(json.loads(path.read_text())["features"][0]["geometry"]["coordinates"][0]) == 3

    sample.panels.region.clear_button.click()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    sample.panels.region.import_button.click()
    sample.wait(lambda: len(regions(sample)) == 1)
    (again,) = regions(sample)
    assert again.name == "rim"
    assert shapely.symmetric_difference(again.polygon, parts).area < 1e-6 * parts.area


def test_a_file_without_regions_ends_in_one_sentence(sample, tmp_path, notifications):
    path = tmp_path / "empty.geojson"
    path.write_text("{}")
    sample.dock.panels.region.load(str(path))
    sample.wait(lambda: notifications != [])
    assert "holds no polygon" in notifications[0]


def test_whole_tissue_can_be_asked_for_again_and_keeps_what_was_drawn(sample):
    sample.draw(SQUARE)
    for _ in range(2):
        sample.panels.region.tissue.button.click()
        sample.wait(sample.panels.region.tissue.button.isEnabled)
    names = [region.name for region in regions(sample)]
    assert names.count("tissue 1") == 1
    assert "region 1" in names


def find_tissue(road) -> None:
    road.panels.region.tissue.button.click()
    road.wait(lambda: not road.dock.panels.region.tissue.is_busy)


def found_mm2(road) -> float:
    mpp = road.dock.coordinator.slide.mpp
    return sum(r.area_mm2(mpp) for r in regions(road) if r.name.startswith("tissue"))


def test_more_or_less_tissue_follows_the_slider_and_one_undo_takes_it_back(sample):
    box, tissue = sample.panels.region.tissue, sample.dock.panels.region.tissue
    sample.draw(SQUARE)
    count_now(sample)
    assert not box.sensitivity.isVisibleTo(box)
    find_tissue(sample)
    assert box.sensitivity.isVisibleTo(box)
    medium = found_mm2(sample)
    areas = []
    for sensitivity in (0, 100):
        box.sensitivity.setValue(sensitivity)
        assert tissue.is_busy
        sample.wait(lambda: not tissue.is_busy)
        areas.append(found_mm2(sample))
    assert areas[0] < medium < areas[1]
    sample.dock.panels.region.undo()
    assert [region.name for region in regions(sample)] == ["region 1"]
    sample.dock.panels.region.redo()
    assert found_mm2(sample) == pytest.approx(areas[1])


def test_outlines_follow_the_slider_while_it_moves_and_end_where_it_does(sample, monkeypatch):
    box, tissue = sample.panels.region.tissue, sample.dock.panels.region.tissue
    find_tissue(sample)
    shown: list[float] = []
    show = tissue.outlined

    def note(*args) -> None:
        show(*args)
        shown.append(found_mm2(sample))

    monkeypatch.setattr(tissue, "outlined", note)
    moves = iter(range(10_000))

    def move_on() -> bool:
        box.sensitivity.setValue(next(moves) % 90)
        return len(shown) >= 2  # without the slider having come to rest

    sample.wait(move_on)
    box.sensitivity.setValue(100)
    sample.wait(lambda: not tissue.is_busy)
    slide = sample.dock.coordinator.slide
    mm2 = sum(r.area_mm2(slide.mpp) for r in tissue_of(slide, TissueSettings(100)).regions)
    assert shown[-1] == pytest.approx(mm2)


def test_an_edited_outline_is_a_step_of_its_own(sample):
    find_tissue(sample)
    before = found_mm2(sample)
    layer = sample.dock.panels.region.layers.find(sample.dock.coordinator.slide)
    layer.data = [shape * 0.5 for shape in layer.data]
    count_now(sample)
    edited = found_mm2(sample)
    assert edited < 0.5 * before
    find_tissue(sample)
    assert found_mm2(sample) == pytest.approx(before)
    sample.dock.panels.region.undo()
    assert found_mm2(sample) == pytest.approx(edited)


def test_pieces_that_are_too_small_go_and_what_was_renamed_stays(sample):
    box, tissue = sample.panels.region.tissue, sample.dock.panels.region.tissue
    find_tissue(sample)
    largest = found_mm2(sample)
    box.min_area.setValue(0.0)
    sample.wait(lambda: not tissue.is_busy)
    assert found_mm2(sample) > largest
    set_cell(sample, 0, NAME_COLUMN, "the section")
    box.min_area.setValue(99.0)
    sample.wait(lambda: not tissue.is_busy)
    assert [region.name for region in regions(sample)] == ["the section"]
    assert "keep pieces below 99 mm² too" in box.message.text()


def test_long_names_of_regions_that_differ_at_their_ends_can_be_told_apart(sample):
    sample.draw(SQUARE)
    long = f"{'Invasive carcinoma, ' * 9}block A"
    set_cell(sample, 0, NAME_COLUMN, long)
    view = sample.panels.region.view
    assert view.textElideMode() == Qt.TextElideMode.ElideMiddle
    assert view.table.index(0, NAME_COLUMN).data(Qt.ItemDataRole.ToolTipRole).startswith(long)


@pytest.mark.parametrize("come", ["replace_tissue", "add"])
def test_regions_that_come_late_take_nobody_to_their_slide(sample, crop, come):
    slide = sample.dock.coordinator.slide
    second = sample.open(crop)
    getattr(sample.panels.region, come)(slide, [Region(shapely.Polygon(SQUARE), "late")])
    sample.qtbot.wait(50)
    assert sample.panels.slide.layer is second
    assert sample.viewer.layers.selection.active is second
    (late,) = [layer for layer in sample.viewer.layers if layer.name == "Regions on C5"]
    assert not late.visible
    sample.panels.slide.activate(slide)
    assert late.visible
    assert [region.name for region in regions(sample)] == ["late"]


def test_tissue_settings_are_remembered(sample):
    box = sample.panels.region.tissue
    box.sensitivity.setValue(70)
    box.min_area.setValue(0.2)
    sample.dock.shut_down()
    again = StemDock(sample.viewer)
    sample.qtbot.addWidget(again)
    assert again.panels.region.tissue.settings() == TissueSettings(70, 0.2)


def test_a_pixel_size_that_does_not_fit_the_nuclei_is_warned_of_once(
    model_road, slides_folder, notifications
):
    model_road.open(slides_folder / "C5-crop.jpg")
    model = model_road.panels.model
    slides = model_road.dock.panels.slide
    slides.set_pixel_size(0.345)
    model_road.wait(lambda: model.scale_warning.text() != "")
    assert "may be wrong by a factor of 2 (is it 0.69?)" in model.scale_warning.text()
    told = [text for text in notifications if "nuclei of C5-crop.jpg" in text]
    slides.set_pixel_size(0.69)
    assert model.scale_warning.text() == ""
    slides.set_pixel_size(0.345)  # known by now: said again at the button only
    assert "factor of 2" in model.scale_warning.text()
    assert len(told) == 1
    assert [text for text in notifications if "nuclei of C5-crop.jpg" in text] == told


@pytest.fixture
def slides_folder(request):
    return request.config.rootpath / "tests" / "data" / "slides"


def test_pen_marks_are_told_beside_the_button(model_road, tmp_path):
    slide = open_slide(sample_path())
    level = slide.levels[2]
    pixels = slide.read_region(0, 0, 2, level.size)
    slide.close()
    pixels[40:70] = (37, 95, 160)  # a blue line along the top
    Image.fromarray(pixels).save(tmp_path / "marked.png")
    model_road.open(tmp_path / "marked.png")
    side_um = slide.require_mpp().x_um * level.downsample
    model_road.dock.panels.slide.set_pixel_size(side_um)
    find_tissue(model_road)
    line_mm2 = 30 * pixels.shape[1] * (side_um / 1000) ** 2
    found = re.search(
        r"Pen marks were left out \((.+) mm²\)", model_road.panels.region.tissue.message.text()
    )
    assert line_mm2 < float(found[1]) < 1.4 * line_mm2  # with its rims


def test_the_table_is_read_only_where_it_counts(sample):
    sample.draw(SQUARE)
    count_now(sample)
    table = sample.panels.region.table
    editable = Qt.ItemFlag.ItemIsEditable
    assert [bool(table.flags(table.index(0, c)) & editable) for c in range(4)] == [
        True,
        True,
        False,
        False,
    ]
    assert table.rowCount(table.index(0, 0)) == 0
    assert table.rowCount(QModelIndex()) == 1


def test_a_click_beside_the_slide_predicts_nothing(sample, notifications):
    sample.panels.region.tools["click"].click()
    # it is made before the click, which would wait for it
    assert sample.panels.region.layers.find(sample.dock.coordinator.slide) in sample.viewer.layers
    sample.dock.panels.region.click_at((-500.0, 100.0))
    assert regions(sample) == []
    assert any("beside the slide" in sentence for sentence in notifications)


def test_a_drag_in_click_mode_moves_the_view_and_predicts_nothing(sample):
    control = sample.dock.panels.region
    sample.panels.region.tools["click"].click()
    event = SimpleNamespace(button=1, pos=np.array([10, 10]), type="mouse_press", position=(0, 0))
    dragging = control.follow_press(sample.viewer, event)
    next(dragging)
    event.type, event.pos = "mouse_move", np.array([60, 10])
    next(dragging)
    event.type = "mouse_release"
    with pytest.raises(StopIteration):
        next(dragging)
    assert regions(sample) == []


def test_names_are_read_on_any_colour_and_only_the_inner_of_two_is_written():
    square = np.array([[0, 0], [0, 20], [20, 20], [20, 0]], float)
    outlines = [square, square + 40, square * 3]
    assert labels(outlines, ["left", "right", "all"], 4) == ["left", "right", "all"]
    assert labels([square + 20, square * 3], ["middle", "all"], 1) == ["middle", ""]
    (short,) = labels([square], ["an island at the invasive front (2)"], 1)  # over its neighbours
    assert short == "an island at ... ont (2)"
    halves = np.zeros((64, 64, 3), np.uint8)
    halves[32:] = 230
    slide = napari.layers.Image([halves, halves[::2, ::2]], multiscale=True, rgb=True)
    black, white = [0, 0, 0, 1], [1, 1, 1, 1]
    assert_allclose(label_colours(outlines[:2], [slide]), [white, black])
    spots = np.full((64, 64), np.nan, np.float32)
    spots[:32] = 1  # the last colour of viridis, a yellow
    spots = napari.layers.Image(spots, colormap="viridis", contrast_limits=(0, 1), opacity=0.9)
    assert_allclose(label_colours(outlines[:2], [slide, spots]), [black, black])
    domains = napari.layers.Labels(
        np.ones((64, 64), np.uint8), colormap={1: "black", None: "white"}
    )
    assert_allclose(label_colours(outlines[:2], [slide, domains]), [white, white])
    spots.visible = False
    assert_allclose(label_colours(outlines[:2], [slide, spots]), [white, black])


def covered(outlines, written: list[str], px_per_um: float) -> list[tuple[str, str]]:
    """Pairs of names that cover one another on the screen."""
    boxes = []
    for outline, text in zip(outlines, written, strict=True):
        y_px, x_px = outline.mean(axis=0) * px_per_um
        y_px += half_lines_down(text) * LINE_PX / 2
        half_px = LETTER_PX * len(text.strip()) / 2
        box = shapely.box(x_px - half_px, y_px - 9, x_px + half_px, y_px + 9)
        boxes += [(text.strip(), box)] if text else []
    return [(a, b) for a, one in boxes for b, other in boxes if a < b and one.intersects(other)]


def test_names_of_overlapping_and_neighbouring_regions_do_not_cover_one_another(sample):
    inner = [(2500, 2500), (3500, 2500), (3500, 3500), (2500, 3500)]
    beside = [(4010, 2000), (5000, 2000), (5000, 4000), (4010, 4000)]
    for corners in (SQUARE, inner, beside, OTHER, [(x + 100, y + 100) for x, y in OTHER]):
        sample.draw(corners)
    count_now(sample)
    names = {f"region {n}" for n in range(1, 6)}
    panel, camera = sample.dock.panels.region, sample.viewer.scene.camera
    layer = panel.layers.find(sample.dock.coordinator.slide)
    outlines = [each * layer.scale for each in layer.data]
    n_written, n_drawn = {}, []
    layer.text.events.connect(n_drawn.append)
    for zoom in (0.01, 0.1, 1.0, 0.1):
        camera.zoom = zoom
        sample.qtbot.wait(300)  # names follow once the zoom rests
        written = list(map(str, layer.text.values))
        assert covered(outlines, written, zoom) == []
        n_written[zoom] = len(names & {text.strip() for text in written})
    assert len(n_drawn) == 4  # once a zoom: napari takes long over many names
    assert n_written[0.01] < n_written[0.1] == n_written[1.0] == len(names)
    # the name of the outer one is between its own edge and the inner one
    shift_um = half_lines_down(str(layer.text.values[0])) * LINE_PX / 2 / 0.1
    y_px = (outlines[0].mean(axis=0)[0] + shift_um) / layer.scale[0]
    assert 2000 < y_px < 2500


def test_names_that_were_hidden_in_napari_stay_so(sample):
    sample.draw(SQUARE)
    count_now(sample)
    panel = sample.panels.region
    layer = panel.layers.find(sample.dock.coordinator.slide)
    for is_named in (False, True):
        layer.text.visible = is_named
        panel.clear()
        panel.undo()
        assert regions(sample)
        assert layer.text.visible == is_named


def written_one_by_one(outlines, names, px_per_um: float) -> list[str]:
    """What `labels` writes, where every name is compared with every other."""
    written, boxes = [""] * len(outlines), [each * px_per_um for each in outlines]
    taken = []  # middle and width of what is written
    sides = [np.ptp(box, axis=0) for box in boxes]
    for n in sorted(range(len(boxes)), key=lambda n: sides[n].prod()):
        (y, x), width = boxes[n].mean(axis=0), LETTER_PX * len(names[n])
        is_round = any(
            sides[m].prod() < sides[n].prod()
            and (np.abs(boxes[m].mean(axis=0) - (y, x)) < NEAR * sides[n]).all()
            for m in range(len(boxes))
        )
        top = 1 - int((y - boxes[n].min(axis=0)[0]) / (LINE_PX / 2))
        bottom = int((boxes[n].max(axis=0)[0] - y) / (LINE_PX / 2)) - 1
        for lines in (top, bottom) if is_round else (0, -1, 1, -2, 2, top, bottom):
            at = y + lines * LINE_PX / 2
            if all(abs(at - b) >= LINE_PX or abs(x - a) >= (width + w) / 2 for b, a, w in taken):
                taken.append((at, x, width))
                written[n] = "\n" * lines + names[n] + ("\n" * -lines + " " if lines < 0 else "")
                break
    return written


@pytest.mark.parametrize("px_per_um", [0.02, 0.1, 0.5])
def test_names_of_many_regions_are_placed_as_if_each_were_compared_with_all(px_per_um):
    drawn = np.random.default_rng(0)
    square = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) / 2
    sides_um = drawn.uniform(20, 1500, (150, 1, 2))
    outlines = list(drawn.uniform(0, 9000, (150, 1, 2)) + square * sides_um)
    names = ["tumour " * (n % 3) + str(n) for n in range(150)]
    written = labels(outlines, names, px_per_um)
    assert covered(outlines, written, px_per_um) == []
    assert written == written_one_by_one(outlines, names, px_per_um)
    assert sum(map(bool, written)) > 10


def test_empty_lines_move_a_name_as_far_as_is_reckoned(road):
    """Which napari's letters, and their line spacing, decide."""
    viewer, ends = road.viewer, ["HHHH", "\n" * 6 + "HHHH", "HHHH" + "\n" * 6 + " "]
    places = [np.array([(0, x), (0, x + 40), (40, x + 40), (40, x)], float) for x in (0, 200, 400)]
    text = {"string": ends, "size": 12, "color": "white", "anchor": "center"}
    viewer.add_shapes(places, text=text, edge_color="transparent", face_color="transparent")
    viewer.scene.camera.center, viewer.scene.camera.zoom = (20, 220), 1
    for overlay in viewer.canvas.overlays.values():
        overlay.visible = False
    road.qtbot.wait(200)
    seen = viewer.screenshot(canvas_only=True, flash=False)[..., 0] > 50
    left_px = seen.shape[1] // 2 - 220
    heights_px = [
        np.nonzero(seen[:, left_px + x - 40 : left_px + x + 80])[0].mean() for x in (0, 200, 400)
    ]
    shifts_px = np.array(list(map(half_lines_down, ends))) * LINE_PX / 2
    assert_allclose(np.subtract(heights_px, heights_px[0]), shifts_px, atol=4)


def test_half_an_outline_is_no_step_of_undo(sample):
    sample.draw(SQUARE)
    count_now(sample)
    layer = sample.viewer.layers.selection.active
    layer.add_polygons([np.array([[50.0, 50.0], [50.0, 50.0], [50.0, 50.0]])])  # the first click
    count_now(sample)
    sample.dock.panels.region.undo()
    assert regions(sample) == []


@pytest.fixture
def loads(monkeypatch) -> list[str]:
    """Names of encoders, each as often as it was loaded."""
    found: list[str] = []
    load = serving.load_encoder
    monkeypatch.setattr(
        serving, "load_encoder", lambda name, *more: found.append(name) or load(name, *more)
    )
    return found


@pytest.mark.slow
def test_one_click_predicts_one_neighbourhood_with_an_encoder_that_was_loaded_ahead(sample, loads):
    sample.ask_little()
    sample.wait(lambda: sample.panels.model.loaded()[1] is not None)
    sample.panels.region.tools["click"].click()
    sample.panels.region.click_size.setValue(3)
    mpp = sample.dock.coordinator.slide.mpp
    runs = sample.dock.panels.run
    with sample.qtbot.waitSignal(runs.ended, timeout=120_000):
        sample.dock.panels.region.click_at((4500 * mpp.y_um, 4500 * mpp.x_um))
    prediction = sample.maps.prediction
    assert len(prediction.spots) == 9
    assert prediction.done.all()
    distance = np.hypot(prediction.spots.x_px - 4500, prediction.spots.y_px - 4500) * mpp.x_um
    assert distance.min() <= prediction.spots.pitch_um
    (clicked,) = sample.dock.panels.region.drawn()
    assert clicked.is_clicked
    assert clicked.region.name == "click 1"
    assert loads == ["bundled"]


@pytest.mark.slow
def test_a_run_that_found_no_encoder_loads_it_once(sample, loads, monkeypatch):
    sample.ask_little()
    sample.wait(lambda: sample.panels.model.loaded()[1] is not None)  # loads nothing meanwhile
    model = sample.panels.model.loaded()[0]
    monkeypatch.setattr(sample.panels.model, "loaded", lambda: (model, None))
    sample.draw(SQUARE)
    loads.clear()
    sample.run()
    assert loads == ["bundled"]


def canvas_of(road) -> QWidget:
    """The widget that the mouse draws on."""
    window = road.dock.window()
    names = {"CanvasBackendDesktop"}
    return next(w for w in window.findChildren(QWidget) if type(w).__name__ in names)


def test_a_rectangle_is_drawn_with_the_mouse_and_undone_with_a_key(road):
    road.open(sample_path())
    road.qtbot.wait(200)
    canvas = canvas_of(road)
    centre = canvas.rect().center()
    start, end = centre - QPoint(60, 40), centre + QPoint(60, 40)
    road.panels.region.tools["add_rectangle"].click()
    road.qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=centre)
    layer = road.viewer.layers.selection.active
    assert layer.nshapes == 1  # napari makes one of a click
    road.wait(lambda: not layer.nshapes)
    assert not road.panels.region.undo_button.isEnabled()
    road.qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=start)
    for share in (0.3, 0.6, 1.0):
        road.qtbot.mouseMove(canvas, start + (end - start) * share)
        road.qtbot.wait(20)
    road.qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=end)
    road.wait(lambda: road.panels.region.table.rowCount() == 1)
    layer = road.viewer.layers.selection.active
    width_um = np.ptp(layer.data[0][:, 1]) * layer.scale[1]
    assert width_um == pytest.approx(120 / road.viewer.scene.camera.zoom, rel=0.1)
    road.qtbot.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    road.wait(lambda: road.panels.region.table.rowCount() == 0)


def test_a_region_that_loses_its_third_corner_takes_its_name_along(road):
    road.open(sample_path())
    road.draw(TRIANGLE)
    road.draw(OTHER)
    count_now(road)
    layer, camera, canvas = (
        road.viewer.layers.selection.active,
        road.viewer.scene.camera,
        canvas_of(road),
    )
    layer.mode, layer.selected_data = "vertex_remove", {0}
    from_centre_um = np.subtract(layer.data_to_world(layer.data[0][0]), camera.center[-2:])
    y, x = np.rint(from_centre_um * camera.zoom).astype(int).tolist()
    corner = canvas.rect().center() + QPoint(x, y)
    road.qtbot.mouseMove(canvas, corner)
    road.qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=corner)
    road.wait(lambda: road.panels.region.table.rowCount() == 1)
    assert [each.name for each in regions(road)] == ["region 2"]
    road.panels.region.undo()
    count_now(road)
    assert [each.name for each in regions(road)] == ["region 1", "region 2"]


def set_two_corners(road) -> Layer:
    """Draw a region, and begin a polygon with the mouse."""
    road.open(sample_path())
    road.draw(SQUARE)
    count_now(road)
    canvas = canvas_of(road)
    for x in (0, 40):
        at = canvas.rect().center() + QPoint(x, 0)
        road.qtbot.mouseMove(canvas, at)
        road.qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=at)
    return road.viewer.layers.selection.active


def test_two_corners_that_are_left_for_another_tool_are_no_region(road):
    layer = set_two_corners(road)
    road.panels.region.tools["add_rectangle"].click()
    count_now(road)
    assert layer.nshapes == 1
    layer.add_rectangles([np.array([(5000, 5000), (6000, 6000)])])
    count_now(road)
    assert [each.name for each in regions(road)] == ["region 1", "region 2"]
    road.panels.region.undo()
    assert [each.name for each in regions(road)] == ["region 1"]


def test_what_is_drawn_once_a_layer_was_deleted_amid_an_outline_can_be_taken_back(road):
    layer, panel = set_two_corners(road), road.panels.region
    road.viewer.layers.remove(layer)
    road.wait(lambda: not panel.tools["add_polygon"].isChecked())  # it is in nobody's hand
    panel.add(road.dock.coordinator.slide, [Region(shapely.box(100, 100, 2000, 2000), "a")])
    panel.undo()
    assert regions(road) == []


def test_a_polygon_and_a_lasso_are_drawn_with_the_mouse(road):
    road.open(sample_path())
    road.panels.region.tools["add_polygon"].click()
    road.wait(lambda: road.panels.model.model_name() != "")
    road.qtbot.wait(1000)  # the tool's own controls have come and the canvas has its size
    canvas, left = canvas_of(road), Qt.MouseButton.LeftButton
    centre = canvas.rect().center()
    corners = [QPoint(-90, -60), QPoint(-10, -60), QPoint(-10, 60), QPoint(-90, 60)]
    for corner in corners:
        for offset in (3, 2, 1, 0):  # as a hand comes near
            road.qtbot.mouseMove(canvas, centre + corner + QPoint(offset, offset))
            road.qtbot.wait(20)
        road.qtbot.mouseClick(canvas, left, pos=centre + corner)
        road.qtbot.wait(200)  # longer than the pen has to rest for a count
    road.qtbot.keyClick(canvas, Qt.Key.Key_Escape)
    road.wait(lambda: road.panels.region.table.rowCount() == 1)

    angles = np.linspace(0, 2 * np.pi, 30)
    path = [centre + QPoint(60 + int(40 * np.cos(a)), int(40 * np.sin(a))) for a in angles]
    road.panels.region.tools["add_polygon_lasso"].click()
    road.qtbot.mousePress(canvas, left, pos=path[0])
    for place in path:
        road.qtbot.mouseMove(canvas, place)
        road.qtbot.wait(10)
    road.qtbot.mouseRelease(canvas, left, pos=path[-1])
    road.wait(lambda: road.panels.region.table.rowCount() == 2)

    square, circle = (region.polygon for region in regions(road))
    mpp, zoom = road.dock.coordinator.slide.mpp, road.viewer.scene.camera.zoom
    um2 = mpp.x_um * mpp.y_um
    assert square.area * um2 == pytest.approx(80 * 120 / zoom**2, rel=0.1)
    assert circle.area * um2 == pytest.approx(np.pi * 40**2 / zoom**2, rel=0.15)
    road.dock.panels.region.undo()
    assert len(regions(road)) == 1
    road.dock.panels.region.undo()
    assert regions(road) == []


@pytest.mark.parametrize("act", ["undo", "clear"])
def test_what_is_done_in_the_middle_of_an_outline_ends_it_first(road, act):
    road.open(sample_path())
    road.draw(SQUARE)
    road.qtbot.wait(1000)
    canvas, left = canvas_of(road), Qt.MouseButton.LeftButton
    centre = canvas.rect().center()
    for corner in (QPoint(-90, -60), QPoint(-10, -60), QPoint(-10, 60)):
        for offset in (3, 2, 1, 0):
            road.qtbot.mouseMove(canvas, centre + corner + QPoint(offset, offset))
            road.qtbot.wait(20)
        road.qtbot.mouseClick(canvas, left, pos=centre + corner)
        road.qtbot.wait(200)
    getattr(road.panels.region, act)()
    assert len(regions(road)) == (1 if act == "undo" else 0)
    assert road.panels.region.tools["add_polygon"].isChecked()


def test_a_click_on_the_canvas_is_a_click(road):
    clicked = []
    road.open(sample_path())
    road.qtbot.wait(200)
    control = road.dock.panels.region
    control.neighbourhood_clicked.disconnect()
    control.neighbourhood_clicked.connect(lambda: clicked.append(1))
    road.panels.region.tools["click"].click()
    canvas = canvas_of(road)
    road.qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=canvas.rect().center())
    road.wait(lambda: clicked == [1])
    (square,) = regions(road)
    slide = road.dock.coordinator.slide
    assert square.polygon.contains(shapely.Point(slide.size.width_px / 2, slide.size.height_px / 2))


def test_a_broken_outline_is_named_and_the_others_come(model_road, tmp_path, notifications):
    ring = [[4200, 3400], [5000, 3400], [5000, 4200], [4200, 3400]]
    shapes = {"sound": [ring], "odd": [ring[:1]]}
    features = [
        {
            "type": "Feature",
            "properties": {"name": name},
            "geometry": {"type": "Polygon", "coordinates": rings},
        }
        for name, rings in shapes.items()
    ]
    path = tmp_path / "r.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    model_road.open(sample_path())
    model_road.drop(path)
    model_road.wait(lambda: len(model_road.dock.panels.region.drawn()) == 1)
    model_road.wait(lambda: any("Outline 'odd' of" in sentence for sentence in notifications))
