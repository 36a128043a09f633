"""Uncertainty in the map: fading, probability, single samples, outlines; with a real, tiny prediction."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from qtpy.QtCore import Qt

from napari_stem.layers.placement import Placement, SpotGrid
from napari_stem.layers.values import FAINTEST, Fading, faded_colours, probability_over
from napari_stem.sample_data import sample_path
from napari_stem.widgets.state import FADED, MEAN, PROBABLE, SAMPLE, SD, WIDTH

pytestmark = [pytest.mark.gui, pytest.mark.slow]

CORNERS = [(4600, 3600), (5400, 3600), (5400, 4600), (4600, 4600)]
N_DRAWS = 4


def predict(road) -> None:
    road.open(sample_path())
    road.draw(CORNERS)
    road.ask_little(n_draws=N_DRAWS)
    road.run()


@pytest.fixture
def predicted(model_road):
    predict(model_road)
    return model_road


def wanted(road, kind: str):
    """Choose how expression is shown; returns the layers once they follow."""
    layers = road.panels.uncertainty
    panel = road.panels.uncertainty
    (panel.choose_uncertainty if kind in {SD, WIDTH} else panel.choose_expression)(kind)
    plain = road.layer("mean"), road.layer("sd")
    road.wait(lambda: not any(layer.visible for layer in plain))
    return layers


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
    layers = wanted(predicted, FADED)
    gene = predicted.panels.genes.settings.gene
    alpha = on_spots(predicted, layers.faded.layer.data)[:, 3].astype(float)
    sd = predicted.maps.prediction.values(gene, "sd")
    order = np.argsort(sd)
    assert (np.diff(alpha[order]) <= 0).all()
    assert alpha[order[0]] == 255
    assert alpha[order[-1]] == pytest.approx(255 * FAINTEST, abs=1)
    assert layers.faded.layer.visible
    assert layers.map.layer.colorbar.visible  # the legend stays
    assert np.isnan(layers.map.layer.data).all()
    assert gene in layers.map.layer.name
    assert f"{np.percentile(sd, 5):.2f} or less" in predicted.panels.uncertainty.message.text()


def test_only_where_probably_high(predicted):
    layers, panel = wanted(predicted, PROBABLE), predicted.panels.uncertainty
    prediction, gene = predicted.maps.prediction, predicted.panels.genes.settings.gene
    draws = draws_of(predicted, gene)
    panel.threshold.setValue(40)
    panel.probability.setValue(60)
    threshold = draws.min() + 0.4 * (draws.max() - draws.min())
    is_shown = (draws > threshold).mean(1) > 0.6
    assert 0 < is_shown.sum() < len(draws)
    expected = np.where(is_shown, prediction.values(gene), np.nan)
    assert_allclose(on_spots(predicted, layers.map.layer.data), expected)
    assert f"{is_shown.sum()} of {len(draws)} spots" in panel.message.text()
    panel.threshold.setValue(100)  # no sample lies above the highest
    assert np.isnan(layers.map.layer.data).all()


def test_samples_are_flipped_through(predicted):
    layers, panel = wanted(predicted, SAMPLE), predicted.panels.uncertainty
    gene = predicted.panels.genes.settings.gene
    draws = draws_of(predicted, gene)
    for number in (0, 1, 2, 3, 0):
        assert_allclose(on_spots(predicted, layers.map.layer.data), draws[:, number])
        assert f"sample {number + 1} of {N_DRAWS}: one possibility" in layers.map.layer.name
        assert "predicted" in layers.map.layer.name
        panel.next_button.click()
    panel.previous_button.click()
    assert f"ample 1 of {N_DRAWS}" in panel.message.text()


def test_a_sample_has_the_colours_of_the_mean(predicted):
    before = predicted.layer("mean").contrast_limits
    layers = wanted(predicted, SAMPLE)
    assert_allclose(layers.map.layer.contrast_limits, before)


def test_samples_follow_the_gene_and_go_when_the_mean_is_asked_for(predicted):
    layers, panel = wanted(predicted, SAMPLE), predicted.panels.uncertainty
    other = predicted.maps.prediction.genes[3]
    predicted.panels.genes.choose(other)
    predicted.wait(lambda: layers.map.layer.name.startswith(other))
    assert_allclose(on_spots(predicted, layers.map.layer.data), draws_of(predicted, other)[:, 0])
    panel.choose_expression(MEAN)
    predicted.wait(lambda: predicted.layer("mean").visible)
    assert not layers.map.layer.visible
    assert panel.message.isHidden()


def test_the_width_of_the_interval_takes_the_place_of_the_standard_deviation(predicted):
    layers = wanted(predicted, WIDTH)
    prediction, gene = predicted.maps.prediction, predicted.panels.genes.settings.gene
    width = prediction.values(gene, "q95") - prediction.values(gene, "q05")
    predicted.wait(lambda: layers.map is not None and layers.map.layer.visible)
    assert_allclose(on_spots(predicted, layers.map.layer.data), width)
    assert "width of 90% interval" in layers.map.layer.name
    assert predicted.panels.genes.settings.view == "sd"
    predicted.panels.uncertainty.choose_uncertainty(SD)
    assert predicted.layer("sd").visible
    assert not layers.map.layer.visible


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
    layers = predicted.panels.uncertainty
    assert not layers.faded.layer.visible
    assert "one gene at a time" in predicted.panels.uncertainty.message.text()


def test_a_new_run_takes_the_layers_over(predicted):
    layer = wanted(predicted, SAMPLE).map.layer
    before = layer.metadata["napari_stem"]["prediction"]
    predicted.panels.model.form["n_draws"].setValue(3)
    predicted.run()
    predicted.wait(lambda: np.isfinite(on_spots(predicted, layer.data)).all() and layer.visible)
    assert "sample 1 of 3" in layer.name
    path = layer.metadata["napari_stem"]["prediction"]
    assert path == str(predicted.maps.prediction.path) != before
    gene = predicted.panels.genes.settings.gene
    assert_allclose(on_spots(predicted, layer.data), draws_of(predicted, gene)[:, 0])


def test_keys_and_layers_in_the_real_window(road, qtbot):
    predict(road)
    road.dock.parts["Uncertainty"].open()
    layers = wanted(road, SAMPLE)
    qtbot.waitUntil(lambda: layers.map is not None)
    road.wait(road.dock.panels.maps.turns.is_settled)
    listed = list(road.viewer.layers)
    assert listed[-2] is layers.map.layer  # above the slide, below the outlines of regions
    assert road.layer("mean") not in listed
    shortcut = road.panels.uncertainty.shortcuts[0]
    shortcut.activated.emit()  # Xvfb gives no window the keyboard
    assert f"sample 2 of {N_DRAWS}" in layers.map.layer.name
    assert shortcut.key().toString() == "."
    assert shortcut.isEnabled()
    wanted(road, FADED)
    assert not shortcut.isEnabled()
    road.wait(road.dock.panels.maps.turns.is_settled)
    pixels = road.viewer.screenshot(canvas_only=True, flash=False)
    assert pixels[..., :3].std() > 5
    assert road.panels.uncertainty.expression_choice.itemData(1, Qt.ItemDataRole.ToolTipRole)
