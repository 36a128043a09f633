"""Uncertainty in the map: fading, probability, single samples, outlines; with a real, tiny prediction."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from qtpy.QtCore import Qt

from napari_stem.layers.placement import Placement, SpotGrid
from napari_stem.layers.values import FAINTEST, Fading, faded_colours, probability_over
from napari_stem.sample_data import sample_path
from napari_stem.widgets.genes.map_layers import ScalarMap
from napari_stem.widgets.state import (
    FADED,
    MEAN,
    PROBABLE,
    SAMPLE,
    SD,
    WIDTH,
    DisplaySettings,
)
from napari_stem.widgets.views.export import seen_map
from napari_stem.widgets.views.uncertainty import KINDS, UNCERTAINTY

pytestmark = [pytest.mark.gui, pytest.mark.slow]

CORNERS = [(4600, 3600), (5400, 3600), (5400, 4600), (4600, 4600)]
N_DRAWS = 6  # of `c5_prediction`


def show(road, prediction) -> None:
    """Open the sample with a prediction of it, made by `c5_prediction`."""
    road.open(sample_path())
    road.drop(prediction)
    road.wait(lambda: road.maps is not None and road.maps.limits_of_all is not None)


@pytest.fixture
def predicted(model_road, c5_prediction, tmp_path):
    show(model_road, shutil.copytree(c5_prediction, tmp_path / "own" / "C5.zarr"))
    return model_road


def wanted(road, kind: str):
    """Choose how expression or uncertainty is shown; returns the layer once it is."""
    panel, maps = road.panels.uncertainty, road.panels.maps
    (panel.choose_uncertainty if kind in {SD, WIDTH} else panel.choose_expression)(kind)
    road.wait(lambda: maps.shown_map.kind == kind)
    plain = road.layer("mean"), road.layer("sd")
    assert not any(layer.visible for layer in plain)
    return panel.map.layer


def on_spots(road, raster: np.ndarray) -> np.ndarray:
    """Values of the spots, in their order, out of a map."""
    spot_at = road.maps.grid().spot_at
    found = np.empty((len(road.maps.prediction.spots), *raster.shape[2:]), raster.dtype)
    found[spot_at[spot_at >= 0]] = raster[spot_at >= 0]
    return found


def draws_of(road, gene: str) -> np.ndarray:
    return road.maps.prediction.draws(slice(None), [gene])[:, 0].astype(np.float32)


# the numbers


def test_fading_follows_the_standard_deviation() -> None:
    sd = np.append(np.linspace(1, 3, 101), np.nan)
    fading = Fading.of(sd)
    assert (fading.sure, fading.unsure) == pytest.approx((1.1, 2.9))
    opacity = fading.opacity([0.5, 1.1, 2.0, 2.9, 9.0, np.nan])
    assert_allclose(opacity, [1, 1, (1 + FAINTEST) / 2, FAINTEST, FAINTEST, 0])


def test_spots_that_are_equally_sure_are_hardly_faded() -> None:
    fading = Fading.of(np.linspace(1.00, 1.01, 50))
    assert fading.opacity([1.01])[0] > 0.95
    assert Fading.of([np.nan]).opacity([np.nan]) == [0]


def test_faded_colours_are_laid_on_their_spots() -> None:
    colours = faded_colours([[1, 0.5, 0, 1], [0, 0, 1, 1]], [1, 0.5])
    assert_array_equal(colours, [[255, 128, 0, 255], [0, 0, 255, 128]])
    grid = SpotGrid(np.array([[1, -1], [-1, 0]]), Placement((1, 1), (0, 0)))
    raster = grid.colours(colours)
    assert_array_equal(raster[0], [[0, 0, 255, 128], [0, 0, 0, 0]])
    assert_array_equal(raster[1, 1], [255, 128, 0, 255])


def test_probability_is_the_share_of_samples_above() -> None:
    draws = np.array([[1, 2, 3, 4], [0, 0, 0, 9], [1, np.nan, 3, 4]], np.float16)
    assert_array_equal(probability_over(draws, 2), [0.5, 0.25, np.nan])


# the panel


def test_predictions_keep_their_samples(predicted):
    assert predicted.maps.prediction.n_kept_draws == N_DRAWS
    assert predicted.maps.prediction.provenance["draws_kept"]


def test_fainter_where_less_sure(predicted):
    layer = wanted(predicted, FADED)
    gene = predicted.panels.genes.settings.gene
    alpha = on_spots(predicted, predicted.panels.maps.faded.layer.data)[:, 3].astype(float)
    sd = predicted.maps.prediction.values(gene, "sd")
    order = np.argsort(sd)
    assert (np.diff(alpha[order]) <= 0).all()
    assert alpha[order[0]] == 255
    assert alpha[order[-1]] == pytest.approx(255 * FAINTEST, abs=1)
    assert predicted.panels.maps.faded.layer.visible
    assert layer.colorbar.visible  # the legend stays
    assert np.isnan(layer.data).all()
    assert gene in layer.name
    assert f"{np.percentile(sd, 5):.2f} or less" in predicted.panels.uncertainty.message.text()


def test_only_where_probably_high(predicted):
    layer, panel = wanted(predicted, PROBABLE), predicted.panels.uncertainty
    prediction, gene = predicted.maps.prediction, predicted.panels.genes.settings.gene
    draws = draws_of(predicted, gene)
    panel.threshold.setValue(40)
    panel.probability.setValue(60)
    threshold = draws.min() + 0.4 * (draws.max() - draws.min())
    is_shown = (draws > threshold).mean(1) > 0.6
    assert 0 < is_shown.sum() < len(draws)
    expected = np.where(is_shown, prediction.values(gene), np.nan)
    assert_allclose(on_spots(predicted, layer.data), expected)
    assert f"{is_shown.sum()} of {len(draws)} spots" in panel.message.text()
    panel.threshold.setValue(100)  # no sample lies above the highest
    assert np.isnan(layer.data).all()


def test_the_readout_says_how_probably_a_spot_is_high_also_where_it_is_hidden(predicted):
    layer, panel = wanted(predicted, PROBABLE), predicted.panels.uncertainty
    inspect, prediction = predicted.panels.inspect, predicted.maps.prediction
    panel.threshold.setValue(40)
    panel.probability.setValue(60)
    draws = draws_of(predicted, predicted.panels.genes.settings.gene)
    threshold = draws.min() + 0.4 * (draws.max() - draws.min())
    probability, mpp = (draws > threshold).mean(1), predicted.panels.slide.slide.mpp
    for spot, hidden in ((probability.argmax(), ""), (probability.argmin(), " (hidden)")):
        where = prediction.spots.y_px[spot] * mpp.y_um, prediction.spots.x_px[spot] * mpp.x_um
        inspect.read_out(predicted.viewer, SimpleNamespace(position=where))
        said = inspect.readout.text().splitlines()
        assert said[0] == f"{probability[spot]:.0%}{hidden}: {layer.name}"
        assert "90% interval" in said[1]


def test_samples_are_flipped_through(predicted):
    layer, panel = wanted(predicted, SAMPLE), predicted.panels.uncertainty
    gene = predicted.panels.genes.settings.gene
    draws = draws_of(predicted, gene)
    for number in (*range(N_DRAWS), 0):
        assert_allclose(on_spots(predicted, layer.data), draws[:, number])
        assert f"sample {number + 1} of {N_DRAWS}: one possibility" in layer.name
        assert "predicted" in layer.name
        panel.next_button.click()
    panel.previous_button.click()
    assert f"ample 1 of {N_DRAWS}" in panel.message.text()


def test_a_sample_has_the_colours_of_the_mean(predicted):
    before = predicted.layer("mean").contrast_limits
    layer = wanted(predicted, SAMPLE)
    assert_allclose(layer.contrast_limits, before)


@pytest.mark.parametrize("kind", [PROBABLE, SAMPLE, WIDTH, FADED])
def test_limits_set_in_napari_stay(predicted, kind):
    layer, settings = wanted(predicted, kind), predicted.panels.genes.settings
    layer.contrast_limits = (0.5, 2.0)
    predicted.panels.uncertainty.outline_box.toggle()
    assert_allclose(layer.contrast_limits, (0.5, 2.0))
    other = predicted.maps.prediction.genes[3]
    predicted.panels.genes.choose(other)
    predicted.wait(lambda: layer.name.startswith(other))
    assert_allclose(layer.contrast_limits, (0.5, 2.0))
    # those of expression hold for all maps of expression, others for their own kind
    assert settings.range_kind == ("gene" if kind == WIDTH else "fixed")
    settings.apply(view=MEAN, expression=MEAN)
    is_expression = kind != WIDTH
    assert (tuple(predicted.layer("mean").contrast_limits) == (0.5, 2.0)) == is_expression


def test_faded_colours_follow_limits_set_in_napari(predicted):
    layer, colours = wanted(predicted, FADED), predicted.panels.maps.faded.layer
    layer.contrast_limits = (100.0, 101.0)
    darkest = np.round(255 * layer.colormap.map([0.0])[0, :3])
    assert_allclose(on_spots(predicted, colours.data)[:, :3], np.tile(darkest, (16, 1)), atol=1)


def test_the_width_follows_the_percentiles_that_are_chosen(predicted):
    layer, settings = wanted(predicted, WIDTH), predicted.panels.genes.settings
    settings.apply(range_kind="percentile", range_low=20.0, range_high=60.0)
    width = layer.data[np.isfinite(layer.data)].astype(float)
    assert_allclose(layer.contrast_limits, np.percentile(width, (20, 60)), rtol=1e-6)


def test_faded_colours_are_those_of_the_legend_whatever_napari_s_controls_set(predicted):
    layer, maps = wanted(predicted, FADED), predicted.panels.maps
    faded = maps.faded.layer
    layer.colormap, layer.gamma, layer.opacity = "inferno", 2.0, 0.2
    seen = seen_map(maps.special_maps())
    (legend,) = seen.legends

    def expected(gene: str) -> np.ndarray:
        low, high = layer.contrast_limits
        share = np.clip((predicted.maps.values(gene) - low) / (high - low), 0, 1)
        return 255 * np.array(layer.colormap.map(share**layer.gamma))[:, :3]

    gene, other = predicted.panels.genes.settings.gene, predicted.maps.prediction.genes[3]
    assert_allclose(on_spots(predicted, faded.data)[:, :3], expected(gene), atol=1)
    assert faded.opacity == 0.2
    assert legend.gamma == 2.0
    assert_allclose(legend.colours, layer.colormap.map(np.linspace(0, 1, 256)))
    drawn = on_spots(predicted, seen.pixels)
    is_seen = drawn[:, 3] > 0.1  # others are too faint for eight bits
    assert is_seen.any()
    assert drawn[:, 3].max() == pytest.approx(0.2)
    assert_allclose(255 * drawn[is_seen, :3], expected(gene)[is_seen], atol=3)
    predicted.panels.genes.choose(other)
    predicted.wait(lambda: layer.name.startswith(other))
    assert_allclose(on_spots(predicted, faded.data)[:, :3], expected(other), atol=1)
    assert faded.opacity == layer.opacity == 0.2


@pytest.mark.parametrize("kind", [SAMPLE, PROBABLE, WIDTH, SD, FADED])
def test_a_click_and_another_gene_draw_one_map_each(predicted, monkeypatch, kind):
    wanted(predicted, SAMPLE) if kind != SAMPLE else wanted(predicted, WIDTH)
    shown: list[str] = []
    show = ScalarMap.show

    def counted(self, spot_map, **how):
        shown.append(spot_map.kind)
        show(self, spot_map, **how)

    monkeypatch.setattr(ScalarMap, "show", counted)
    panel, maps = predicted.panels.uncertainty, predicted.panels.maps
    (panel.choose_uncertainty if kind in {SD, WIDTH} else panel.choose_expression)(kind)
    assert shown == [kind]
    shown.clear()
    other = predicted.maps.prediction.genes[3]
    predicted.panels.genes.choose(other)
    predicted.wait(lambda: other in maps.shown_map.title)
    assert set(shown) == {kind}  # while samples are read the map before stays


def test_samples_follow_the_gene_and_go_when_the_mean_is_asked_for(predicted):
    layer, panel = wanted(predicted, SAMPLE), predicted.panels.uncertainty
    other = predicted.maps.prediction.genes[3]
    predicted.panels.genes.choose(other)
    predicted.wait(lambda: layer.name.startswith(other))
    assert_allclose(on_spots(predicted, layer.data), draws_of(predicted, other)[:, 0])
    panel.choose_expression(MEAN)
    predicted.wait(lambda: predicted.layer("mean").visible)
    assert not layer.visible
    assert panel.message.isHidden()


def test_the_width_of_the_interval_takes_the_place_of_the_standard_deviation(predicted):
    layer = wanted(predicted, WIDTH)
    prediction, gene = predicted.maps.prediction, predicted.panels.genes.settings.gene
    width = prediction.values(gene, "q95") - prediction.values(gene, "q05")
    predicted.wait(lambda: layer.visible)
    assert_allclose(on_spots(predicted, layer.data), width)
    assert "width of 90% interval" in layer.name
    assert predicted.panels.genes.settings.view == "sd"
    predicted.panels.uncertainty.choose_uncertainty(SD)
    assert predicted.layer("sd").visible
    assert not layer.visible


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_that_is_offered_gives_a_map_of_its_own(predicted, kind):
    panel, maps = predicted.panels.uncertainty, predicted.panels.maps
    is_uncertainty = kind in UNCERTAINTY
    box = panel.uncertainty_choice if is_uncertainty else panel.expression_choice
    box.setCurrentIndex(box.findData(kind))
    box.activated.emit(box.currentIndex())
    predicted.wait(lambda: maps.shown_map.kind == kind)
    assert box.currentText() == KINDS[kind].title
    assert panel.settings.kind == kind
    asked = DisplaySettings()
    asked.restore(panel.settings.dump())
    assert asked.kind == kind  # a session brings it back


def test_spots_unlike_the_training_tissue_are_outlined(predicted):
    prediction, panel = predicted.maps.prediction, predicted.panels.uncertainty
    unlike = np.array([1, 4])
    prediction.ood[:] = False
    prediction.ood[unlike] = True
    predicted.dock.panels.maps.draw()
    layers = predicted.panels.uncertainty
    mpp = predicted.dock.coordinator.slide.mpp
    spots = prediction.spots.take(unlike)
    expected = np.column_stack([spots.y_px * mpp.y_um, spots.x_px * mpp.x_um])
    assert_allclose(layers.outlines.layer.data, expected)
    assert "2 of" in panel.legend.text()
    assert "outlined" in panel.legend.text()
    assert [str(unit) for unit in layers.outlines.layer.units] == ["micrometer"] * 2
    panel.outline_box.setChecked(False)
    assert not layers.outlines.layer.visible
    assert "outlined" not in panel.legend.text()
    kept = layers.outlines.layer
    panel.outline_box.setChecked(True)
    prediction.ood[7] = True
    predicted.dock.panels.maps.draw()
    assert layers.outlines.layer is kept  # layers are used again
    assert kept.visible
    assert len(kept.data) == 3
    assert set(map(str, kept.symbol)) == {"square"}
    assert_allclose(kept.border_color, np.broadcast_to(kept.border_color[0], (3, 4)))
    assert_allclose(kept.face_color[:, 3], 0)


def test_a_prediction_without_samples_says_so(predicted, monkeypatch):
    monkeypatch.setattr(type(predicted.maps.prediction), "n_kept_draws", 0)
    panel = predicted.panels.uncertainty
    panel.choose_expression(SAMPLE)
    assert "were not kept" in panel.message.text()
    assert predicted.layer("mean").visible


def test_several_genes_at_once_are_shown_plainly(predicted):
    wanted(predicted, FADED)
    predicted.panels.genes.choose_arrangement("mix")
    assert not predicted.panels.maps.faded.layer.visible
    assert "one gene at a time" in predicted.panels.uncertainty.message.text()


def test_the_width_side_by_side_says_what_is_shown_instead(predicted):
    wanted(predicted, WIDTH)
    predicted.panels.genes.choose_arrangement("beside")
    text = predicted.panels.uncertainty.message.text()
    assert text.endswith("choose One gene in Genes. The standard deviation is shown instead.")


def test_a_new_run_takes_the_layers_over(predicted):
    predicted.draw(CORNERS)
    layer = wanted(predicted, SAMPLE)
    before = layer.metadata["napari_stem"]["prediction"]
    predicted.ask_little(n_draws=3)
    predicted.run()
    predicted.wait(lambda: np.isfinite(on_spots(predicted, layer.data)).all() and layer.visible)
    assert "sample 1 of 3" in layer.name
    path = layer.metadata["napari_stem"]["prediction"]
    assert path == str(predicted.maps.prediction.path) != before
    gene = predicted.panels.genes.settings.gene
    assert_allclose(on_spots(predicted, layer.data), draws_of(predicted, gene)[:, 0])


def test_keys_and_layers_in_the_real_window(road, c5_prediction):
    show(road, c5_prediction)
    road.draw(CORNERS)
    road.dock.parts["Uncertainty"].open()
    layer = wanted(road, SAMPLE)
    road.wait(road.dock.panels.maps.layer_queue.is_settled)
    listed = list(road.viewer.layers)
    assert listed[-2] is layer  # above the slide, below the outlines of regions
    assert road.layer("mean") not in listed
    shortcut = road.panels.uncertainty.shortcuts[0]
    shortcut.activated.emit()  # Xvfb gives no window the keyboard
    assert f"sample 2 of {N_DRAWS}" in layer.name
    assert shortcut.key().toString() == "."
    assert shortcut.isEnabled()
    wanted(road, FADED)
    assert not shortcut.isEnabled()
    road.wait(road.dock.panels.maps.layer_queue.is_settled)
    pixels = road.viewer.screenshot(canvas_only=True, flash=False)
    assert pixels[..., :3].std() > 5
    assert road.panels.uncertainty.expression_choice.itemData(1, Qt.ItemDataRole.ToolTipRole)
