"""A clicked spot in depth, regions in numbers, and the comparison of two of them."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from napari.layers import Image
from numpy.testing import assert_allclose, assert_array_equal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_stem.evaluation.differences import background, spots_in
from napari_stem.progress import Stopped
from napari_stem.results import Prediction
from napari_stem.sample_data import sample_path
from napari_stem.widgets.state import BESIDE
from napari_stem.widgets.views.compare import DIFFERENCE
from napari_stem.widgets.views.inspect import GENE, MEAN_COLUMN, RANGE, Z
from napari_stem.widgets.views.plots import LOW, Plot, VolcanoPlot, draw_samples

pytestmark = [pytest.mark.gui, pytest.mark.slow]

LEFT = [(4400, 3600), (4900, 3600), (4900, 4600), (4400, 4600)]
RIGHT = [(4900, 3600), (5500, 3600), (5500, 4600), (4900, 4600)]
N_DRAWS = 4


def predict(road) -> None:
    road.open(sample_path())
    road.draw(LEFT)
    road.draw(RIGHT)
    road.wait(lambda: len(road.dock.panels.region.drawn()) == 2)
    road.ask_little(n_draws=N_DRAWS)
    road.run()


@pytest.fixture
def predicted(model_road):
    predict(model_road)
    return model_road


def click(road, spot: int, *, moved_px: int = 0) -> None:
    """Press and let go over a spot, as the viewer tells it."""
    mpp = road.dock.coordinator.slide.mpp
    spots = road.maps.prediction.spots
    position = spots.y_px[spot] * mpp.y_um, spots.x_px[spot] * mpp.x_um
    event = SimpleNamespace(button=1, type="mouse_press", pos=(100, 100), position=position)
    press = road.panels.inspect.on_press(road.viewer, event)
    next(press)
    event.type, event.pos = "mouse_move", (100 + moved_px, 100)
    next(press)
    event.type = "mouse_release"
    assert next(press, None) is None


# a spot


def test_a_click_shows_the_spot(predicted):
    spot, inspector = 3, predicted.panels.inspect
    assert inspector.spot.isHidden()
    click(predicted, spot)
    prediction, gene = predicted.maps.prediction, predicted.panels.genes.settings.gene
    predicted.wait(lambda: prediction.spots.names[spot] in inspector.title.text())
    predicted.wait(lambda: inspector.plot.shown is not None)
    draws, mean, low, high, title = inspector.plot.shown
    assert_array_equal(draws, prediction.draws(slice(spot, spot + 1), [gene])[0, 0])
    assert mean == prediction.values(gene)[spot]
    assert (low, high) == (
        prediction.values(gene, "q05")[spot],
        prediction.values(gene, "q95")[spot],
    )
    assert gene in title
    captions = [inspector.grid.itemAtPosition(1, i).widget().text() for i in range(3)]
    assert captions == ["150 µm", "300 µm", "600 µm"]


def test_the_patches_are_what_the_model_sees(predicted):
    from napari_stem.encoders.registry import load_encoder
    from napari_stem.model import load_model
    from napari_stem.slide.patches import PatchReader
    from napari_stem.widgets.views.inspect import patch_spec, spot_details

    prediction, slide = predicted.maps.prediction, predicted.dock.coordinator.slide
    spec = patch_spec(prediction)
    model = load_model()
    encoder = load_encoder(model.encoder_name, "cpu", model.config.fields_of_view_um)
    assert spec == encoder.patch
    details = spot_details(slide, prediction, 2, None)
    expected = PatchReader(slide, spec).read(prediction.spots.take([2]))[0]
    for shown, pixels in zip(details.patches.values(), expected, strict=True):
        assert_array_equal(shown, pixels)


def test_genes_are_ranked_against_the_slide(predicted):
    spot, inspector = 1, predicted.panels.inspect
    click(predicted, spot)
    predicted.wait(lambda: not inspector.spot.isHidden())
    prediction = predicted.maps.prediction
    table = prediction.to_anndata()
    with np.errstate(invalid="ignore"):  # of genes that are the same everywhere
        z = (table.X[spot] - table.X.mean(0)) / table.X.std(0)
    told = ~prediction.gene_accuracy["by_chance"].to_numpy()  # the others come last
    best = int(np.nanargmax(np.where(told, z, np.nan)))
    row = [inspector.table.index(0, column).data() for column in range(4)]
    assert row[GENE] == prediction.genes[best]
    assert row[Z] == f"{z[best]:+.1f}"
    assert row[MEAN_COLUMN] == f"{table.X[spot, best]:.2f}"
    low = (table.layers["q05"][spot, best] - table.X[:, best].mean()) / table.X[:, best].std()
    assert row[RANGE].startswith(f"{low:+.1f} to ")
    inspector.view.setCurrentIndex(inspector.table.index(4, GENE))
    assert predicted.panels.genes.settings.gene == inspector.table.index(4, GENE).data()
    gene = predicted.panels.genes.settings.gene
    predicted.wait(lambda: inspector.plot.shown is not None and gene in inspector.plot.shown[4])


def test_a_drag_is_no_click(predicted):
    click(predicted, 3, moved_px=30)
    predicted.qtbot.wait(100)
    assert predicted.panels.inspect.inspected is None
    assert predicted.panels.inspect.spot.isHidden()


@pytest.mark.parametrize("is_together", [False, True])
def test_maps_and_regions_follow_a_slide_that_is_moved_in_napari(predicted, is_together):
    panels, mpp = predicted.panels, predicted.dock.coordinator.slide.mpp
    slide, spots = panels.slide.layer, predicted.maps.prediction.spots
    before, centre_um = panels.region.regions(), panels.slide.centre_um()
    if is_together:
        genes = tuple(predicted.maps.prediction.genes[:2])
        panels.maps.settings.update(picked=genes, arrangement=BESIDE)
    slide.affine = [[0.0, -2.0, 300.0], [2.0, 0.0, -70.0], [0.0, 0.0, 1.0]]  # turned, and larger
    slide.translate = np.add(slide.translate, (40.0, 90.0))
    click(predicted, 3)  # makes an outline
    spots_yx = np.column_stack([spots.y_px, spots.x_px])
    shown = panels.maps.layer_queue.maps()
    maps = [layer for layer in shown if isinstance(layer, Image) and not layer.rgb]
    assert len(maps) == 1 + is_together
    for layer in maps:
        at_um = spots_yx[5] * (mpp.y_um, mpp.x_um)
        in_map = np.subtract(at_um, layer.translate) / layer.scale
        assert_allclose(layer.data_to_world(in_map), slide.data_to_world(spots_yx[5] - 0.5))
    for copy in (la for la in predicted.viewer.layers if la.name.startswith("Slide, view")):
        assert_allclose(copy.data_to_world((7, 8)), slide.data_to_world((7, 8)))
    after = panels.region.regions()
    for was, now in zip(before, after, strict=True):
        assert was.polygon.symmetric_difference(now.polygon).area < 1e-6 * was.polygon.area
    (regions,) = [la for la in predicted.viewer.layers if la.name.startswith("Regions on")]
    corner_um = np.array([3600, 4400]) * (mpp.y_um, mpp.x_um)
    assert_allclose(regions.affine(corner_um), panels.slide.from_slide_um()[:2] @ (*corner_um, 1))
    place = SimpleNamespace(position=slide.data_to_world(spots_yx[5] - 0.5))
    panels.inspect.read_out(None, place)
    gene = panels.maps.settings.genes[0]
    value = predicted.maps.prediction.rows(slice(5, 6), "mean", [gene]).item()
    assert f"{gene} predicted {value:.2f}" in panels.inspect.readout.text()
    assert panels.slide.centre_um() != pytest.approx(centre_um)
    slide.affine = np.eye(3)
    slide.translate = np.subtract(slide.translate, (40.0, 90.0))
    for layer in maps:
        assert_allclose(layer.affine.affine_matrix, np.eye(3), atol=1e-8)
    assert panels.slide.centre_um() == pytest.approx(centre_um)


def test_a_spot_that_cannot_be_read_leaves_nothing_of_the_one_before(predicted, notifications):
    panel = predicted.panels.inspect
    click(predicted, 0)
    predicted.wait(lambda: not panel.spot.isHidden())
    shutil.rmtree(predicted.maps.prediction.path)
    click(predicted, 1)
    predicted.wait(panel.spot.isHidden)
    assert any("There is no prediction" in told for told in notifications)


def test_another_run_forgets_the_spot(predicted):
    click(predicted, 3)
    predicted.wait(lambda: not predicted.panels.inspect.spot.isHidden())
    predicted.panels.model.form["n_draws"].setValue(3)
    predicted.run()
    assert predicted.panels.inspect.spot.isHidden()


def test_background_is_that_of_all_finished_spots(
    c5_prediction: Path, monkeypatch, stopped
) -> None:
    monkeypatch.setattr("napari_stem.evaluation.differences.ROWS_PER_READ", 5)
    prediction = Prediction.open(c5_prediction)
    ground = background(prediction)
    values = prediction.to_anndata().X.astype(np.float64)
    assert_allclose(ground.mean, values.mean(0))
    assert_allclose(ground.sd, values.std(0), atol=1e-7)
    assert ground.n_spots == len(values)
    with pytest.raises(Stopped):
        background(prediction, stopped)


# regions


def test_regions_in_numbers(predicted):
    predicted.dock.parts["Compare"].open()
    panel, prediction = predicted.panels.compare, predicted.maps.prediction
    predicted.panels.compare.refresh()
    predicted.wait(lambda: panel.table.rowCount() == 2)
    gene = predicted.panels.genes.settings.gene
    assert gene in panel.heading.text()
    for place, drawn in enumerate(predicted.dock.panels.region.drawn()):
        spots = spots_in(prediction, drawn.region)
        mean = prediction.values(gene)[spots].mean()
        means = prediction.draws(spots, [gene])[:, 0].astype(float).mean(0)
        low, high = np.quantile(means, [0.05, 0.95], method="weibull")
        row = [panel.table.index(place, column) for column in range(4)]
        assert row[0].data() == drawn.region.name
        assert row[2].data() == str(len(spots))
        assert row[3].data() == f"{mean:.2f} ({low:.2f} to {high:.2f})"
        assert "that spots share" in row[3].data(Qt.ItemDataRole.ToolTipRole)
    other = prediction.genes[2]
    predicted.panels.genes.choose(other)
    predicted.wait(lambda: other in panel.heading.text())


@pytest.fixture
def compared(predicted):
    predicted.dock.parts["Compare"].open()
    comparing = panel = predicted.panels.compare
    comparing.refresh()
    predicted.wait(lambda: panel.table.rowCount() == 2)
    panel.button.click()
    predicted.wait(lambda: comparing.result is not None)
    predicted.qtbot.addWidget(comparing.result)
    return predicted


def test_two_regions_are_compared_in_all_genes(compared):
    window, prediction = compared.panels.compare.result, compared.maps.prediction
    assert window.table.rowCount() == len(prediction.genes)
    regions = [drawn.region for drawn in compared.dock.panels.region.drawn()]
    a, b = (spots_in(prediction, region) for region in regions)
    for row in (0, 7):
        gene = window.table.index(row, GENE).data()
        values = prediction.values(gene)
        difference = values[a].mean() - values[b].mean()
        shown = float(window.table.index(row, DIFFERENCE).data())
        assert shown == pytest.approx(difference, abs=0.006)  # two digits
    assert all(region.name in window.heading.text() for region in regions)
    assert "not measured" in window.heading.text()
    assert f"{prediction.n_kept_draws} samples are too few" in window.heading.text()
    assert window.heading.text().startswith(compared.panels.slide.slide.name)
    assert window.windowTitle().endswith(compared.panels.slide.slide.name)


def test_a_gene_is_not_shown_on_a_map_of_something_else(compared):
    panel, genes = compared.panels.compare, compared.panels.genes
    shown, table = genes.settings.gene, panel.result.table
    index = next(i for i in (table.index(row, GENE) for row in (3, 4)) if i.data() != shown)
    elsewhere = SimpleNamespace(
        path=Path("other.zarr"), provenance=compared.maps.prediction.provenance
    )
    panel.result.compared = replace(panel.result.compared, prediction=elsewhere)
    panel.result.view.setCurrentIndex(index)
    assert genes.settings.gene == shown
    assert (
        f"go back to this prediction of {compared.panels.slide.slide.name}"
        in panel.result.message.text()
    )


def test_a_dot_and_a_row_choose_the_gene(compared):
    window, genes = compared.panels.compare.result, compared.panels.genes
    index = window.table.index(5, GENE)
    window.view.setCurrentIndex(index)
    assert genes.settings.gene == index.data()
    window.plot.draw()
    found, place = window.compared.found, 12
    dots = window.plot.axes.transData.transform(window.plot.dots)
    x, y = dots[place]
    same = np.flatnonzero(np.hypot(*(dots - (x, y)).T) < 1e-6)
    window.plot.on_press(SimpleNamespace(inaxes=window.plot.axes, x=x, y=y))
    assert genes.settings.gene in {found.index[i] for i in same}
    assert window.view.currentIndex().siblingAtColumn(GENE).data() == genes.settings.gene


UNIT = "log2(count + 1) at the training depth"


@pytest.mark.parametrize("n_alike", [0, 8, 100])
def test_the_legend_of_a_narrow_histogram_covers_no_bar(qtbot, n_alike):
    plot = Plot(LOW)
    qtbot.addWidget(plot)
    plot.resize(260, 150)
    plot.show()
    draws = np.append(np.linspace(0, 1, 32), np.full(n_alike, 0.95))
    plot.plot(draw_samples, draws, 0.5, 0.1, 0.9, "ERBB2 predicted, log1p of counts")
    plot.draw()
    renderer = plot.get_renderer()
    legend = plot.axes.get_legend().get_window_extent(renderer)
    bars = [bar.get_window_extent(renderer) for bar in plot.axes.containers[0]]
    assert not any(legend.overlaps(bar) for bar in bars)
    assert 0 <= legend.x0 < legend.x1 <= plot.width()
    assert plot.axes.get_window_extent(renderer).height > 50


@pytest.mark.parametrize("spread", [0.0, 0.02, 1.0])
def test_names_of_the_volcano_plot_cover_neither_each_other_nor_dots(qtbot, spread):
    plot, n = VolcanoPlot(), 40
    qtbot.addWidget(plot)
    random = np.random.default_rng(0)
    difference = np.where(np.arange(n) % 2, 1.0, -1.0) + spread * random.normal(size=n)
    found = pd.DataFrame(
        {"difference": difference, "probability": 0.97, "q_value": 0.01, "unit": UNIT},
        index=[f"GENE{number}" for number in range(n)],
    )
    plot.show_differences(found, 0.05)
    plot.show()
    for size in ((700, 500), (320, 280), (900, 600)):
        plot.resize(*size)
        qtbot.wait(20)
        plot.draw()
        names = [text for text in plot.axes.texts if text.get_visible()]
        boxes = [name.get_window_extent() for name in names]
        for name, box in zip(names, boxes, strict=True):
            assert box.count_overlaps(boxes) == 1  # itself
            away = found[found.index != name.get_text()]
            dots = np.column_stack([away["difference"], np.full(n - 1, name.xy[1])])
            assert box.count_contains(plot.axes.transData.transform(dots)) == 0
        label = plot.axes.xaxis.label.get_window_extent()
        assert plot.figure.bbox.x0 < label.x0 < label.x1 < plot.figure.bbox.x1
        if spread == 1 and size[0] > 320:  # at its smallest it has no room beside them
            outermost = {found["difference"].idxmin(), found["difference"].idxmax()}
            assert outermost <= {name.get_text() for name in names}


def test_the_table_sorts_by_numbers_and_finds_genes(compared):
    window = compared.panels.compare.result
    window.view.sortByColumn(DIFFERENCE, Qt.SortOrder.DescendingOrder)
    shown = [
        float(window.table.index(r, DIFFERENCE).data()) for r in range(window.table.rowCount())
    ]
    assert shown == sorted(shown, reverse=True)
    gene = next(name for name in window.table.frame.index if len(name) > 5)  # few hold it
    window.search.setText(gene.lower())
    found = {window.table.index(r, GENE).data() for r in range(window.table.rowCount())}
    assert gene in found
    assert len(found) < 20


def test_a_comparison_is_saved(compared, tmp_path, monkeypatch):
    window = compared.panels.compare.result
    path = tmp_path / "differences.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    window.save_button.click()
    compared.wait(lambda: "Saved" in window.message.text())
    table = pd.read_csv(path)
    found = window.table.frame
    assert set(table["gene"]) == set(found.index)
    assert (np.diff(table["q_value"]) >= -1e-6).all()
    by_gene = table.set_index("gene").loc[found.index]
    assert_allclose(by_gene["difference"], found["difference"], rtol=1e-4, atol=1e-6)
    assert_allclose(by_gene["probability"], found["probability"], rtol=1e-4)
    note = path.with_name("differences_README.txt").read_text()
    assert "not measured" in note
    assert "joint samples" in note


def test_a_comparison_of_long_names_is_offered_a_file_name_that_every_system_takes(
    compared, monkeypatch
):
    window, offered = compared.panels.compare.result, []
    found = window.compared.found.assign(
        group_a=f"{'Infiltrat ' * 20}A?", group_b=f"<b>Möbius</b>: {'x' * 300}"
    )
    monkeypatch.setattr(window, "compared", replace(window.compared, found=found))
    monkeypatch.setattr(
        QFileDialog,
        "getSaveFileName",
        lambda *told: (offered.append(Path(told[2]).name), ("", ""))[1],
    )
    window.save_button.click()
    assert re.fullmatch(r"differences_Infiltrat-[\w.-]+-A-_-b-Möbius-[\w.-]+x\.csv", offered[0])
    assert len(offered[0].encode()) < 140


def test_a_region_is_compared_with_everything_else(predicted):
    predicted.dock.parts["Compare"].open()
    panel = comparing = predicted.panels.compare
    comparing.refresh()
    panel.second.setCurrentIndex(panel.second.findText("everything else"))
    panel.button.click()
    predicted.wait(lambda: comparing.result is not None)
    predicted.qtbot.addWidget(comparing.result)
    compared = comparing.result.compared
    assert compared.n_a + compared.n_b == len(predicted.maps.prediction.spots)
    assert "everything else" in comparing.result.heading.text()


def test_what_cannot_be_compared_is_said(predicted, monkeypatch, notifications):
    predicted.dock.parts["Compare"].open()
    panel = comparing = predicted.panels.compare
    comparing.refresh()
    panel.second.setCurrentIndex(panel.first.currentIndex())
    panel.button.click()
    assert "two different" in panel.message.text()
    monkeypatch.setattr(type(predicted.maps.prediction), "n_kept_draws", 0)
    panel.second.setCurrentIndex(1)
    panel.button.click()
    assert "were not kept" in panel.message.text()
    assert comparing.result is None


def test_a_click_in_the_real_window(road, qtbot):
    predict(road)
    road.dock.parts["Inspect"].open()
    road.viewer.reset_view()
    click(road, 4)
    inspector = road.panels.inspect
    road.wait(inspector.plot.isVisible)
    picture = inspector.grid.itemAtPosition(0, 0).widget()
    assert picture.pixmap().width() == picture.pixmap().height() > 80
    assert inspector.spot.minimumSizeHint().width() <= 300  # the dock need not grow
