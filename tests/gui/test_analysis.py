"""The Spatial analysis part of the dock: domains and Moran's I, found, shown, cancelled, saved."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_stem.caches import CACHES
from napari_stem.layers.values import MOST_LINES, legend_lines, readable_on
from napari_stem.sample_data import sample_path
from napari_stem.spatial_analysis.autocorrelation import predicted_means
from napari_stem.spatial_analysis.domains import Relations, find_domains, leiden
from napari_stem.spatial_analysis.store import read_domains, sidecar_path, write_domains
from napari_stem.widgets.common.table import Table
from napari_stem.widgets.genes.map_layers import colours_of
from napari_stem.widgets.views import analysis
from napari_stem.widgets.views.analysis import HIGH, MORANS_COLUMNS, NAME, SHARE, STABILITY

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.gui, pytest.mark.slow]

CORNERS = [(4600, 3600), (5800, 3600), (5800, 4600), (4600, 4600)]


@pytest.fixture(autouse=True)
def no_domains() -> Iterator[None]:
    """Domains lie beside predictions: those of one test must not be found by the next."""
    yield
    for path in CACHES["predictions"].folder.glob("*.domains.h5ad"):
        path.unlink()


def predict(road, n_draws: int = 6):
    road.open(sample_path())
    road.draw(CORNERS)
    road.ask_little(n_draws)
    road.run()
    return road


@pytest.fixture
def predicted(model_road):
    return predict(model_road)


def find(road, fineness: float = 1.5):
    """Find domains and wait for all that is learned about them."""
    panel = control = road.panels.analysis
    panel.resolution.setValue(fineness)
    panel.find_button.click()
    assert not panel.find_button.isEnabled()
    road.wait(panel.find_button.isEnabled)
    road.wait(lambda: control.domains is not None and control.domains.stability is not None)
    return control.domains


def test_domains_are_found_shown_named_and_saved(predicted, monkeypatch, tmp_path, notifications):
    assert not sidecar_path(predicted.maps.prediction).exists()
    domains = find(predicted)
    panel = control = predicted.panels.analysis
    prediction = predicted.maps.prediction

    # found
    np.testing.assert_array_equal(domains.labels, leiden(predicted_means(prediction), 1.5))
    assert panel.message.text() == ""
    said = panel.summary.text()
    assert f"{len(domains.names)} domains of predicted expression (resolution 1.5)." in said
    assert "Domains of 3 single samples agree" in said

    # shown, in place of the map
    layer = control.on_slide.layer
    assert panel.visible_box.isChecked()
    assert layer.visible
    assert not predicted.layer("mean").visible
    numbers, counts = np.unique(layer.data[layer.data > 0], return_counts=True)
    assert numbers.tolist() == list(range(1, len(domains.names) + 1))
    np.testing.assert_allclose(counts / counts.sum(), domains.shares)
    np.testing.assert_array_equal(layer.scale, predicted.layer("mean").scale)

    # listed, with the colours of the map
    table = panel.domains_table
    assert table.rowCount() == len(domains.names)
    assert table.index(0, SHARE).data() == f"{domains.shares[0]:.0%}"
    found = domains.stability.of_domains(domains.labels)[0]
    assert table.index(0, STABILITY).data().startswith(f"{found:.0%} (")
    assert table.index(0, HIGH).data() == (", ".join(domains.markers[0]) or "–")
    swatch = table.index(0, NAME).data(Qt.ItemDataRole.DecorationRole)
    shade = layer.colormap.map(1)
    assert [swatch.redF(), swatch.greenF(), swatch.blueF()] == pytest.approx(shade[:3], abs=0.01)

    # and named on the canvas, in these colours
    assert control.on_slide.legend() == list(domains.names)
    lines = predicted.viewer.canvas.overlays
    first = next(one for key, one in lines.items() if key.startswith("napari_stem_domain"))
    np.testing.assert_allclose(first.box_color, shade, atol=0.01)

    # named
    table.setData(table.index(0, NAME), "Tumour")
    assert control.on_slide.legend()[0] == "Tumour"
    assert layer.features["domain"].tolist()[1] == "Tumour"
    predicted.wait(lambda: read_domains(prediction).names[0] == "Tumour")

    # saved
    path = tmp_path / "d"
    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", lambda *_: (str(path), "AnnData with expression (*.h5ad)")
    )
    panel.save_domains_button.click()
    predicted.wait(lambda: any("Saved" in told for told in notifications))
    assert "Tumour" in set(anndata.read_h5ad(tmp_path / "d.h5ad").obs["domain"])

    # hidden, and gone where a map is chosen
    panel.visible_box.click()
    assert not layer.visible
    assert control.on_slide.legend() == []
    assert predicted.layer("mean").visible
    panel.visible_box.click()
    assert layer.visible
    predicted.panels.genes.settings.apply(view="sd")
    assert not layer.visible
    assert not panel.visible_box.isChecked()


def put(road):
    """Lay domains beside the prediction, as an earlier session would have, and come back to it."""
    coordinator, prediction = road.dock.coordinator, road.maps.prediction
    coordinator.panels.maps.activate(None)
    assert road.panels.analysis.domains is None
    assert not road.panels.analysis.isEnabled()
    found = find_domains(
        predicted_means(prediction), prediction.spots.names, prediction.genes, resolution=1.5
    )
    n = len(found.names)
    numbers = np.random.default_rng(0).normal(1, 0.3, (n, n, 7))
    relations = Relations(numbers[..., 0] - 1, numbers[..., 1:], np.arange(300.0, 1500.0, 200.0))
    write_domains(replace(found, relations=relations), sidecar_path(prediction))
    coordinator.panels.maps.activate(coordinator.slide)
    road.wait(lambda: road.panels.analysis.domains is not None)
    return road.panels.analysis.domains


def test_domains_come_back_with_their_prediction(predicted):
    before = put(predicted)
    control = predicted.panels.analysis
    said = predicted.panels.analysis.summary.text()
    assert "how stable they are is not known" in said
    np.testing.assert_array_equal(control.domains.labels, before.labels)
    assert control.on_slide.layer not in predicted.viewer.layers  # until asked for
    predicted.panels.analysis.visible_box.click()
    assert control.on_slide.layer.visible


def test_cancel_is_at_once_and_leaves_nothing(predicted):
    panel = control = predicted.panels.analysis
    panel.find_button.click()
    assert not panel.cancel_button.isHidden()
    panel.cancel_button.click()
    predicted.qtbot.waitUntil(panel.find_button.isEnabled, timeout=10_000)
    assert panel.message.text() == "Cancelled; what was found before stays."
    assert panel.cancel_button.isHidden()
    assert control.domains is None
    assert not sidecar_path(predicted.maps.prediction).exists()


def test_a_second_analysis_does_not_start_while_one_runs(predicted, monkeypatch):
    started = []
    find, rank = analysis.find_domains, analysis.rank_genes
    monkeypatch.setattr(
        analysis, "find_domains", lambda *of, **how: started.append("domains") or find(*of, **how)
    )
    monkeypatch.setattr(
        analysis, "rank_genes", lambda *of, **how: started.append("genes") or rank(*of, **how)
    )
    panel = predicted.panels.analysis
    control = predicted.panels.analysis
    control.find_domains()
    control.rank_genes()  # as a click that was made before the buttons went grey
    control.find_domains()
    panel.cancel_button.click()
    predicted.wait(panel.find_button.isEnabled)
    assert started == ["domains"]


def test_a_legend_of_many_domains_says_how_many_more_there_are():
    names = [f"Domain {n}" for n in range(1, 20)]
    lines = legend_lines(names, colours_of(len(names)))
    assert len(lines) == MOST_LINES
    assert lines[0] == ("Domain 1", "#e69f00")
    assert lines[-1][0] == f"and {19 - MOST_LINES + 1} more, in the panel"
    assert legend_lines((), ()) == []
    assert [readable_on(c) for c in ("#f0e442", "#0072b2", "#ffffff")] == [
        "#000000",
        "#ffffff",
        "#000000",
    ]


def test_genes_are_ranked_chosen_and_saved(model_road, monkeypatch, tmp_path, notifications):
    predicted = predict(model_road, n_draws=2)  # ranking thousands of genes takes a second a sample
    panel = predicted.panels.analysis
    assert panel.ranked.isHidden()
    panel.morans_button.click()
    predicted.wait(lambda: not panel.ranked.isHidden())
    assert panel.morans.rowCount() == len(predicted.maps.prediction.genes)
    panel.morans_view.setCurrentIndex(panel.morans.index(3, 0))
    assert predicted.panels.genes.settings.gene == panel.morans.key(3)
    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "m.csv"), "Tables (*.csv)")
    )
    panel.save_morans_button.click()
    predicted.wait(lambda: any("Saved" in told for told in notifications))
    table = pd.read_csv(tmp_path / "m.csv", index_col="gene")
    assert table["I"].idxmax() == panel.morans.key(0)


def test_genes_are_sorted_by_their_intervals_as_by_numbers():
    ends = {"I_q05": [0.1, -0.2, np.nan, -0.05], "I_q95": [0.3, 0.1, np.nan, 0.05]}
    known = {"gene": list("abcd"), "I": [0.2, 0.0, 0.1, 0.0], "fdr": [0.1] * 4}
    table = Table(MORANS_COLUMNS)
    table.fill(pd.DataFrame({**known, **ends}, index=list("abcd")))
    table.sort(2)
    shown = [table.index(row, 2).data() for row in range(4)]
    assert shown == ["-0.20 to +0.10", "-0.05 to +0.05", "+0.10 to +0.30", "–"]


def test_while_a_run_grows_no_domains_are_looked_for(model_road, monkeypatch):
    looked = []
    monkeypatch.setattr(
        analysis.store, "read_domains", lambda found: looked.append(found.done.sum())
    )
    predicted = predict(model_road)
    predicted.wait(lambda: looked != [])
    n_spots, done = len(predicted.maps.prediction.spots), predicted.maps.prediction.done
    maps, growing = predicted.dock.panels.maps, predicted.maps.prediction
    for n_done in (4, 8, 12):
        done[:] = np.arange(n_spots) < n_done
        maps.grow(growing)
        maps.draw()
    done[:] = True
    maps.finish(growing)
    predicted.wait(lambda: len(looked) == 2)
    assert looked == [n_spots, n_spots]


def test_while_a_run_grows_no_analysis_starts_and_it_is_said_why(predicted, monkeypatch):
    panel, maps = predicted.panels.analysis, predicted.panels.maps
    growing, started = predicted.maps.prediction, []
    monkeypatch.setattr(analysis, "find_domains", lambda *_, **__: started.append(1))
    maps.grow(growing)
    maps.draw()
    for button in (panel.find_button, panel.morans_button):
        assert not button.isEnabled()
    assert "until the run has ended" in panel.message.text()
    panel.find_domains()
    assert started == []
    maps.finish(growing)
    for button in (panel.find_button, panel.morans_button):
        assert button.isEnabled()
    assert panel.message.text() == ""


def test_too_small_a_region_is_said_at_once(model_road, notifications, monkeypatch):
    processes = []
    monkeypatch.setattr(analysis.store, "run_in_subprocess", lambda *of: processes.append(of))
    model_road.open(sample_path())
    model_road.draw([(4600, 3600), (5000, 3600), (5000, 4000)])
    model_road.ask_little()
    model_road.run()
    panel = model_road.panels.analysis
    for button in (panel.find_button, panel.morans_button):
        button.click()
        model_road.wait(button.isEnabled)
        assert panel.message.text() == "Not done."
    assert "predict a larger region" in notifications[-1]
    assert processes == []


def test_plots_show_how_domains_lie(predicted):
    road = predicted
    road.dock.show()  # what is hidden plots nothing
    domains = put(road)
    for title, part in road.dock.parts.items():
        part.open() if title == "Spatial analysis" else part.fold()
    panel = road.panels.analysis
    road.wait(lambda: bool(panel.plot.axes.images))
    shown = np.ma.filled(panel.plot.axes.images[0].get_array(), np.nan)
    np.testing.assert_allclose(shown, domains.relations.enrichment)
    panel.plot_choice.setCurrentIndex(1)
    panel.plot_choice.activated.emit(1)
    panel.domains_view.setCurrentIndex(panel.domains_table.index(1, NAME))
    assert len(panel.plot.axes.lines) == len(domains.names) + 1
    assert panel.plot.axes.get_xlabel() == "within this distance of Domain 2, µm"
    (tick, *_) = panel.plot.axes.xaxis.get_major_ticks()
    assert tick.tick1line.get_markersize() > 0  # the matrix before had none
    np.testing.assert_allclose(
        panel.plot.axes.lines[0].get_ydata(), domains.relations.co_occurrence[0, 1]
    )
