"""What a finished map offers: colours, readout, export; on a viewer model without a window."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from napari_stem.geometry import PointPx
from napari_stem.layers import colour_limits
from napari_stem.sample_data import sample_path

pytestmark = [pytest.mark.gui, pytest.mark.slow]

CORNERS = [PointPx(4600, 3600), PointPx(5400, 3600), PointPx(5400, 4600), PointPx(4600, 4600)]


@pytest.fixture
def predicted(model_road):
    model_road.open(sample_path())
    model_road.draw(CORNERS)
    model_road.ask_little(n_draws=4)
    model_road.run()
    return model_road


def choose_range(road, kind: str) -> None:
    choice = road.panels.genes.range_choice
    choice.setCurrentIndex(choice.findData(kind))
    choice.activated.emit(choice.currentIndex())


def test_each_gene_has_its_own_range_unless_told_otherwise(predicted):
    maps, genes = predicted.maps, predicted.maps.prediction.genes[:2]
    for gene in genes:
        assert predicted.panels.genes.choose(gene)
        expected = colour_limits(maps.prediction.values(gene))
        assert_allclose(maps.layer("mean").contrast_limits, expected)


def test_limits_set_by_hand_stay_when_the_gene_changes(predicted):
    layer = predicted.maps.layer("mean")
    layer.contrast_limits = (0.5, 1.5)
    assert predicted.panels.genes.range_kind() == "kept"
    other = next(g for g in predicted.maps.prediction.genes if g != predicted.panels.genes.gene())
    predicted.panels.genes.choose(other)
    assert_allclose(layer.contrast_limits, (0.5, 1.5))
    choose_range(predicted, "gene")
    expected = colour_limits(predicted.maps.prediction.values(other))
    assert_allclose(layer.contrast_limits, expected)


def test_one_range_for_all_genes(predicted):
    choose_range(predicted, "all")
    prediction, layer = predicted.maps.prediction, predicted.maps.layer("mean")
    expected = colour_limits([prediction.values(g) for g in prediction.genes])
    predicted.wait(lambda: np.allclose(layer.contrast_limits, expected))
    for gene in prediction.genes[:3]:
        predicted.panels.genes.choose(gene)
        assert_allclose(layer.contrast_limits, expected)


def test_readout_tells_the_spot_under_the_cursor(predicted):
    prediction, gene = predicted.maps.prediction, predicted.panels.genes.gene()
    mpp = predicted.dock.coordinator.slide.mpp
    spot = 3
    where = (prediction.spots.y_px[spot] * mpp.y_um, prediction.spots.x_px[spot] * mpp.x_um)
    (move,) = predicted.viewer.mouse_move_callbacks
    move(predicted.viewer, SimpleNamespace(position=where))
    text = predicted.panels.inspect.readout.text()
    low, high = prediction.values(gene, "q05")[spot], prediction.values(gene, "q95")[spot]
    assert f"{gene} predicted {prediction.values(gene)[spot]:.2f}" in text
    assert f"90% interval {low:.2f} to {high:.2f}" in text
    move(predicted.viewer, SimpleNamespace(position=(-10.0, -10.0)))
    assert gene not in predicted.panels.inspect.readout.text()


def test_a_removed_map_comes_back_when_asked_for(predicted):
    layer = predicted.maps.layer("mean")
    predicted.viewer.layers.remove(layer)
    predicted.panels.genes.views.button(0).click()
    assert layer in predicted.viewer.layers
    assert layer.visible


def test_running_again_replaces_the_maps(predicted):
    n_layers = len(predicted.viewer.layers)
    older = predicted.maps
    predicted.panels.model.n_draws.setValue(3)
    predicted.run()
    assert predicted.maps is not older
    assert len(predicted.viewer.layers) == n_layers
    assert older.layer("mean") not in predicted.viewer.layers


def test_saving_where_nothing_can_be_written_is_said_and_loses_nothing(
    predicted, tmp_path, notifications
):
    (tmp_path / "file").write_text("in the way")
    target = tmp_path / "file" / "C5.h5ad"
    predicted.panels.export.export_requested.emit(str(target))
    predicted.wait(lambda: notifications != [])
    assert len(notifications) == 1
    assert str(target) in notifications[0]
    assert predicted.panels.export.message.text() == "Not saved."
    assert predicted.panels.export.buttons[".h5ad"].isEnabled()
    assert predicted.maps.prediction.done.all()
