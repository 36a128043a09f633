"""The Measured part of the dock: counts beside a prediction, flipped through, refused where foreign."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
import pytest
import zarr
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_stem.exporting.kinds import KINDS
from napari_stem.sample_data import sample_path
from napari_stem.spatial.normalise import normalised
from napari_stem.widgets.model import predictions
from napari_stem.widgets.views.measured import LATER

if TYPE_CHECKING:
    from napari_stem.exporting.drawing import SeenMap

pytestmark = [pytest.mark.gui, pytest.mark.slow]

CORNERS = [(4600, 3600), (5800, 3600), (5800, 4600), (4600, 4600)]
ON_GLASS = [(0, 0), (1200, 0), (1200, 1200), (0, 1200)]
COUNTS = sample_path().parents[1] / "st" / "C5.h5ad"


def predict(road):
    road.open(sample_path())
    road.draw(CORNERS)
    road.ask_little()
    road.run()
    return road


@pytest.fixture
def predicted(model_road):
    return predict(model_road)


def load(road, monkeypatch, path=COUNTS):
    """Load as a person does; returns what is matched."""
    panel = control = road.panels.measured
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    panel.table_button.click()
    road.wait(lambda: control.match() is not None and not panel.results.isHidden())
    return control.match()


def test_nothing_to_load_before_there_is_a_prediction(model_road):
    assert not model_road.panels.measured.isEnabled()
    model_road.open(sample_path())
    assert not model_road.panels.measured.isEnabled()


def test_counts_that_come_before_a_prediction_say_that_they_wait_and_when_they_are_let_go(
    model_road, tmp_path, notifications
):
    model_road.open(sample_path())
    counts = anndata.read_h5ad(COUNTS)
    elsewhere = counts.obsm["spatial"][:, 0] < 4000
    counts[elsewhere].copy().write_h5ad(tmp_path / "left.h5ad")
    model_road.drop(tmp_path / "left.h5ad")
    model_road.wait(lambda: notifications != [])
    assert notifications == [f"left.h5ad: {LATER}"]
    measured, slide = model_road.panels.measured, model_road.panels.slide.slide
    model_road.draw(CORNERS)
    model_road.ask_little()
    model_road.run()
    model_road.wait(lambda: measured.path_of(slide) is None)
    assert notifications[-1].startswith("left.h5ad was not kept: No predicted spot lies within")


def test_counts_that_are_dropped_with_a_prediction_are_not_said_to_wait_for_one(
    model_road, c5_prediction, notifications, monkeypatch
):
    are_read, open_prediction = threading.Event(), predictions.open_prediction

    def slow(path):
        assert are_read.wait(60)
        return open_prediction(path)

    monkeypatch.setattr(predictions, "open_prediction", slow)
    model_road.open(sample_path())
    measured, slide = model_road.panels.measured, model_road.panels.slide.slide
    model_road.drop(COUNTS, c5_prediction)
    model_road.wait(lambda: measured.path_of(slide) is not None)
    are_read.set()
    model_road.wait(lambda: measured.match() is not None)
    assert notifications == []


def test_data_of_several_slides_are_read_at_the_same_time(model_road, tmp_path, crop):
    turned = tmp_path / "turned.png"
    Image.open(crop).rotate(90).save(turned)
    for path in (sample_path(), crop, turned):
        model_road.open(path)
    counts = anndata.read_h5ad(COUNTS)[:9].copy()
    counts.obsm["spatial"] = np.linspace(0, 599, 18).reshape(9, 2)  # on each of them
    counts.write_h5ad(tmp_path / "counts.h5ad")
    measured, slides = model_road.panels.measured, model_road.panels.slide.slides()
    for slide in slides:  # as a session does
        measured.load_for(slide, tmp_path / "counts.h5ad")
    model_road.qtbot.waitUntil(lambda: all(map(measured.path_of, slides)), timeout=20_000)


def test_measured_and_difference_take_the_maps_place(predicted, monkeypatch):
    found = load(predicted, monkeypatch)
    panel, genes = predicted.panels.measured, predicted.panels.genes
    maps = predicted.dock.panels.maps
    gene, limits = genes.settings.gene, maps.layer("mean").contrast_limits
    assert maps.layer("mean").visible
    panel.choose_view("measured")
    layer = predicted.panels.measured.map.layer
    assert layer.visible
    assert not maps.layer("mean").visible
    assert layer.name == f"{gene} measured, log2(count + 1)"
    assert layer.contrast_limits == pytest.approx(limits)  # the same colours, the same values
    assert layer.colormap.name == maps.layer("mean").colormap.name
    # "Slide only" would be wrong
    assert not any(button.isChecked() for button in genes.views.values())
    counts = anndata.read_h5ad(COUNTS)
    shown = np.unique(layer.data[np.isfinite(layer.data)])
    np.testing.assert_array_equal(shown, np.unique(normalised(counts, [gene])))
    panel.choose_view("difference")
    assert layer.name == f"{gene} predicted minus measured, log2(count + 1)"
    low, high = layer.contrast_limits
    assert low == -high
    errors = found.error(gene, predicted.maps.values(gene))
    assert np.nanmax(layer.data) == pytest.approx(np.nanmax(errors))
    panel.choose_view("mean")
    assert genes.views["mean"].isChecked()
    assert not layer.visible
    assert maps.layer("mean").visible


def test_the_readout_tells_measured_from_predicted(predicted, monkeypatch):
    found = load(predicted, monkeypatch)
    gene, prediction = predicted.panels.genes.settings.gene, predicted.maps.prediction
    spot, mean = int(found.rows[0]), prediction.values(gene)
    measured, error = found.measured(gene), found.error(gene, mean)

    def said_at(view: str, spots, place: int) -> list[str]:
        mpp = predicted.panels.slide.slide.mpp
        where = spots.y_px[place] * mpp.y_um, spots.x_px[place] * mpp.x_um
        predicted.panels.measured.choose_view(view)
        predicted.panels.inspect.read_out(predicted.viewer, SimpleNamespace(position=where))
        return predicted.panels.inspect.readout.text().splitlines()

    known = int(np.flatnonzero(np.isfinite(measured))[0])
    said = said_at("measured", found.spots, known)
    assert said[0] == f"{measured[known]:.2f}: {predicted.panels.measured.map.layer.name}"
    said = said_at("difference", prediction.spots, spot)
    assert said[0] == f"{error[spot]:+.2f}: {predicted.panels.measured.map.layer.name}"
    assert said[1].startswith(f"{gene} predicted {mean[spot]:.2f} (90% interval ")


def test_measured_spots_have_the_shape_that_is_chosen(predicted, monkeypatch):
    load(predicted, monkeypatch)
    settings, layer = predicted.panels.genes.settings, predicted.panels.measured.map.layer
    predicted.panels.measured.choose_view("measured")
    squares = layer.data
    settings.update(spot_shape="circle")
    assert layer.data.shape != squares.shape
    settings.update(spot_shape="square")
    np.testing.assert_array_equal(layer.data, squares)


def test_limits_of_the_measured_maps_stay(predicted, monkeypatch):
    load(predicted, monkeypatch)
    panel, genes = predicted.panels.measured, predicted.panels.genes
    panel.choose_view("difference")
    predicted.panels.measured.map.layer.contrast_limits = (-0.5, 0.5)
    genes.choose("CD74")
    assert tuple(predicted.panels.measured.map.layer.contrast_limits) == (-0.5, 0.5)
    panel.choose_view("measured")
    predicted.panels.measured.map.layer.contrast_limits = (0.5, 2.0)
    panel.choose_view("mean")
    assert tuple(predicted.layer("mean").contrast_limits) == (0.5, 2.0)


def test_a_figure_of_what_was_measured_says_so(predicted, monkeypatch, tmp_path):
    seen: list[SeenMap | None] = []

    def note(_selection, path, options):
        seen.append(options.seen)
        path.write_bytes(b"")

    monkeypatch.setitem(KINDS, "figure", replace(KINDS["figure"], write=note))
    load(predicted, monkeypatch)
    panel, export = predicted.panels.measured, predicted.panels.export
    for view in ("measured", "difference", "mean"):
        panel.choose_view(view)
        predicted.wait(
            lambda view=view: predicted.panels.measured.map.layer.visible == (view != "mean")
        )
        export.save("figure", "shown", str(tmp_path / f"{view}.png"))
        predicted.wait(lambda: not export.save_button.isHidden())
    measured, difference, plain = seen
    gene = predicted.panels.genes.settings.gene
    assert measured.title == f"{gene} measured, log2(count + 1)"
    assert measured.shown == "measured"
    assert [legend.title for legend in measured.legends] == [measured.title]
    assert difference.title == f"{gene} predicted minus measured, log2(count + 1)"
    assert difference.shown == "predicted minus measured"
    assert plain is None


def test_the_measured_depth_is_what_the_next_run_asks_for(predicted, monkeypatch):
    model, measured = predicted.panels.model, predicted.panels.measured
    model.form["quantity"].setCurrentText("Share of all counts (per 10,000)")
    load(predicted, monkeypatch)
    deep = float(np.median(np.asarray(anndata.read_h5ad(COUNTS).X.sum(axis=1))))
    assert measured.depth_button.text() == f"Take over their depth: {deep:,.0f} counts per spot"
    assert model.settings().depth == 0
    measured.depth_button.click()
    assert model.settings().depth == deep
    assert model.settings().quantity == "counts"
    assert model.advanced.is_open()


def test_the_map_follows_the_gene_and_the_list_chooses_it(predicted, monkeypatch):
    found = load(predicted, monkeypatch)
    panel, genes = predicted.panels.measured, predicted.panels.genes
    panel.choose_view("measured")
    genes.choose("CD74")
    assert predicted.panels.measured.map.layer.name.startswith("CD74 measured")
    assert panel.table.key(panel.view.currentIndex().row()) == "CD74"
    best = found.genes[int(np.nanargmax(found.agreement["pcc"]))]
    assert panel.table.key(0) == best  # sorted by correlation at first
    panel.view.setCurrentIndex(panel.table.index(0, 0))
    assert genes.settings.gene == best
    assert predicted.panels.measured.map.layer.name.startswith(f"{best} measured")


def test_a_map_chosen_in_genes_brings_the_prediction_back(predicted, monkeypatch):
    load(predicted, monkeypatch)
    panel, genes = predicted.panels.measured, predicted.panels.genes
    panel.choose_view("difference")
    genes.settings.apply(view="sd")
    assert panel.shown() == "mean"
    assert not predicted.panels.measured.map.layer.visible
    assert predicted.layer("sd").visible


def test_the_difference_stays_with_another_prediction_and_gives_way_to_a_run(
    predicted, monkeypatch, c5_prediction
):
    load(predicted, monkeypatch)
    maps, first = predicted.panels.maps, predicted.maps.prediction
    settings = maps.settings
    predicted.panels.measured.choose_view("difference")
    predicted.drop(c5_prediction)
    predicted.wait(lambda: predicted.maps.prediction is not first)
    predicted.wait(lambda: maps.shown_map is not None)
    assert maps.shown_map.kind == "difference"
    assert maps.shown_map.about["prediction"] == str(predicted.maps.prediction.path)
    settings.update(arrangement="mix", picked=first.genes[:2])
    maps.begin(predicted.dock.coordinator.slide, first, is_growing=True)
    assert settings.view == "mean"
    assert len(maps.mixed.maps) == 2  # what grows is seen at once, as genes were seen
    predicted.panels.measured.choose_view("measured")  # one click, and it is back
    settings.update(arrangement="one")
    predicted.wait(lambda: maps.shown_map is not None and maps.shown_map.kind == "measured")


def test_what_was_matched_is_said_and_the_same_spots_can_be_predicted(
    predicted, monkeypatch, tmp_path
):
    counts = anndata.read_h5ad(COUNTS)
    counts[::8].copy().write_h5ad(tmp_path / "C5.h5ad")  # 23 spots are soon predicted
    found = load(predicted, monkeypatch, tmp_path / "C5.h5ad")
    panel = predicted.panels.measured
    said = panel.summary.text()
    n = len(found.rows)
    assert f"C5.h5ad: {n} of {found.n_predicted} predicted spots matched by position" in said
    assert f"with {n} of 23 measured ones" in said
    assert "Their places differ" in said
    assert not panel.predict_button.isHidden()
    predicted.draw(ON_GLASS)
    warning = predicted.panels.run.warning
    predicted.wait(lambda: "bare glass" in warning.text())
    with predicted.qtbot.waitSignal(predicted.dock.panels.run.ended, timeout=120_000):
        panel.predict_button.click()
        assert "bare glass" not in warning.text()  # of the regions; these spots are measured ones
    control = predicted.panels.measured
    predicted.wait(lambda: control.match() is not None and len(control.match().rows) == 23)
    assert "bare glass" not in warning.text()
    assert control.match().apart_um == 0
    assert "23 of 23 predicted spots matched by name with 23 of 23" in panel.summary.text()
    assert panel.predict_button.isHidden()


def test_names_that_may_be_another_section_s_are_said_with_the_match(
    predicted, monkeypatch, tmp_path
):
    counts, names = anndata.read_h5ad(COUNTS), predicted.maps.prediction.spots.names
    counts.obs_names = [*names[::-1], *counts.obs_names[len(names) :]]
    counts.write_h5ad(tmp_path / "C5.h5ad")
    load(predicted, monkeypatch, tmp_path / "C5.h5ad")
    said = predicted.panels.measured.summary.text()
    assert "matched by position" in said
    assert "spots that have the same name in both tables lie elsewhere" in said


def test_agreement_is_saved(predicted, monkeypatch, tmp_path, notifications):
    found = load(predicted, monkeypatch)
    path = tmp_path / "agreement"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    predicted.panels.measured.save_button.click()
    predicted.wait(lambda: any("Saved" in told for told in notifications))
    table = pd.read_csv(tmp_path / "agreement.csv", index_col="gene")
    np.testing.assert_allclose(table["pcc"], found.agreement["pcc"])


def test_a_gene_that_was_not_measured_is_said(predicted, monkeypatch, tmp_path):
    gene = predicted.panels.genes.settings.gene
    counts = anndata.read_h5ad(COUNTS)
    counts[:, counts.var_names != gene].copy().write_h5ad(tmp_path / "fewer.h5ad")
    load(predicted, monkeypatch, tmp_path / "fewer.h5ad")
    panel = predicted.panels.measured
    panel.choose_view("measured")
    assert panel.message.text() == f"{gene} was not measured here."
    other = next(name for name in predicted.maps.prediction.genes if name != gene)
    predicted.panels.genes.choose(other)
    assert panel.message.text() == ""
    assert predicted.panels.measured.map.layer.visible


def test_foreign_data_are_refused_in_words(predicted, monkeypatch, tmp_path, notifications):
    counts = anndata.read_h5ad(COUNTS)
    off = counts[:, :30].copy()
    off.obsm["spatial"] = off.obsm["spatial"] + 5000
    off.write_h5ad(tmp_path / "off.h5ad")
    mouse = counts[:, :30].copy()
    mouse.var_names = [f"mouse-{gene}" for gene in mouse.var_names]
    mouse.write_h5ad(tmp_path / "mouse.h5ad")
    shutil.copy(sample_path(), tmp_path / "picture.h5ad")
    panel = predicted.panels.measured
    for name, words in (
        ("off.h5ad", "lie outside this slide"),
        ("mouse.h5ad", "predicted genes was measured"),
        ("picture.h5ad", "is damaged or is no AnnData file"),
    ):
        n_before = len(notifications)
        predicted.panels.measured.load(str(tmp_path / name))
        predicted.wait(lambda n=n_before: len(notifications) > n)
        assert words in notifications[-1]
        assert name in notifications[-1]
        predicted.wait(panel.table_button.isEnabled)
        assert panel.results.isHidden()
        assert panel.message.text() == ""


def test_what_was_loaded_stays_where_another_file_is_refused(
    predicted, monkeypatch, tmp_path, notifications
):
    found = load(predicted, monkeypatch)
    panel, slide = predicted.panels.measured, predicted.panels.slide.slide
    panel.choose_view("measured")
    mouse = anndata.read_h5ad(COUNTS)[:, :30].copy()
    mouse.var_names = [f"mouse-{gene}" for gene in mouse.var_names]
    mouse.write_h5ad(tmp_path / "mouse.h5ad")
    changes: list[object] = []
    panel.changed.connect(lambda: changes.append(panel.path_of(slide)))
    for _ in range(2):
        changes.clear()
        panel.load(tmp_path / "mouse.h5ad")
        predicted.wait(lambda: len(changes) == 2)
        assert "mouse.h5ad" in notifications[-1]
        assert changes == [tmp_path / "mouse.h5ad", COUNTS]  # as a session would save it
        assert panel.match() is found
        assert panel.summary.text().startswith(COUNTS.name)
        assert not panel.results.isHidden()
        assert predicted.panels.measured.map.layer.visible


def test_data_stay_while_a_prediction_of_other_genes_is_on_the_map(
    predicted, monkeypatch, tmp_path, notifications
):
    load(predicted, monkeypatch)
    panel, predictions = predicted.panels.measured, predicted.panels.model.predictions
    panel.choose_view("measured")
    first, other = predicted.maps.prediction.path, tmp_path / "other.zarr"
    shutil.copytree(first, other)
    genes = zarr.open_group(other, use_consolidated=False)["var"]
    names = genes[genes.attrs["_index"]]
    names[:] = np.array([f"mouse-{gene}" for gene in names[:]], dtype=object)
    predictions.open(other)
    predicted.wait(lambda: "are predicted here was measured" in panel.message.text())
    assert panel.results.isHidden()
    assert panel.shown() == "mean"
    assert panel.path_of(predicted.panels.slide.slide) == COUNTS
    assert not panel.remove_button.isHidden()
    assert not any("measured" in told for told in notifications)
    predictions.choose(first)
    predicted.wait(lambda: panel.match() is not None and not panel.results.isHidden())


def test_removed_data_are_gone(predicted, monkeypatch):
    load(predicted, monkeypatch)
    panel = predicted.panels.measured
    panel.choose_view("measured")
    panel.remove_button.click()
    assert panel.results.isHidden()
    assert predicted.layer("mean").visible
    assert predicted.panels.measured.match() is None


def test_keys_flip_and_the_plot_follows(road, monkeypatch):
    predict(road)
    found = load(road, monkeypatch)
    for title, part in road.dock.parts.items():
        part.open() if title == "Measured data" else part.fold()
    panel, plot = road.panels.measured, road.panels.measured.plot
    window = road.dock.window()
    canvas = next(
        w for w in window.findChildren(QWidget) if type(w).__name__ == "CanvasBackendDesktop"
    )
    window.activateWindow()
    road.wait(window.isActiveWindow)
    for key, view in (
        (Qt.Key.Key_2, "measured"),
        (Qt.Key.Key_3, "difference"),
        (Qt.Key.Key_1, "mean"),
    ):
        road.qtbot.keyClick(canvas, key, Qt.KeyboardModifier.AltModifier)
        assert panel.shown() == view
    # Qt would take it for held down still, in later tests too: napari then asks what is to open a file
    road.qtbot.keyRelease(canvas, Qt.Key.Key_Alt, Qt.KeyboardModifier.NoModifier)
    road.panels.genes.choose("CD74")
    road.wait(lambda: plot.axes.get_xlabel().startswith("CD74 measured"))
    line, dots = plot.axes.lines[0], plot.axes.collections[0]
    assert list(line.get_xdata()) == list(line.get_ydata())
    np.testing.assert_allclose(np.asarray(dots.get_offsets())[:, 0], found.matched("CD74"))
    pcc = found.agreement.loc["CD74", "pcc"]
    assert f"PCC {pcc:.2f}" in plot.axes.get_title()
