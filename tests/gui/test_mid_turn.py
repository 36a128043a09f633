"""Layers, slides, the dock and the window may go while maps are still coming: no error, nothing left behind."""

from __future__ import annotations

import pytest
from map_screen import one_turn

from napari_stem.sample_data import sample_path
from napari_stem.widgets.slide.slide_layers import slide_of

pytestmark = [pytest.mark.gui, pytest.mark.slow]


@pytest.fixture
def mapped(road, c5_prediction):
    """The whole dock, with a prediction on its slide."""
    road.open(sample_path())
    road.drop(c5_prediction)
    coordinator = road.dock.coordinator
    road.wait(lambda: coordinator.maps.current() is not None)
    road.wait(coordinator.maps.turns.is_settled)
    return road


def begin_turns(road, arrangement: str, n_turns: int) -> None:
    """Ask for several genes, and stop on the way."""
    genes = road.panels.genes
    genes.settings.picked = road.maps.prediction.genes[:3]
    genes.choose_arrangement(arrangement)
    for _ in range(n_turns):
        one_turn()
    assert not road.dock.coordinator.maps.turns.is_settled()


def ours(road) -> list[str]:
    return [one.name for one in road.viewer.layers if "predicted" in one.name]


@pytest.mark.parametrize(("arrangement", "n_turns"), [("mix", 0), ("beside", 3)])
def test_layers_may_be_taken_away_while_others_come(mapped, arrangement, n_turns):
    turns, layers = mapped.dock.coordinator.maps.turns, mapped.viewer.layers
    begin_turns(mapped, arrangement, n_turns)
    foreign = [one for one in layers if not slide_of(one)]
    for one in foreign:
        layers.remove(one)
    mapped.wait(turns.is_settled)
    mapped.panels.genes.choose_arrangement("one")
    mapped.wait(turns.is_settled)
    gene, unit = mapped.panels.genes.gene(), mapped.maps.prediction.unit
    assert ours(mapped) == [f"{gene} predicted, {unit}"]
    assert not mapped.viewer.canvas.grid.enabled


@pytest.mark.parametrize(("arrangement", "n_turns"), [("mix", 5), ("beside", 0)])
def test_a_slide_may_be_closed_while_its_maps_come(mapped, arrangement, n_turns):
    coordinator = mapped.dock.coordinator
    turns = coordinator.maps.turns
    begin_turns(mapped, arrangement, n_turns)
    mapped.viewer.layers.remove(coordinator.slides.layer)
    mapped.wait(lambda: turns.is_settled() and not ours(mapped))
    assert coordinator.slide is None
    assert not mapped.viewer.canvas.grid.enabled
    mapped.open(sample_path())
    # views side by side end with their slide; of a mixture the genes are still picked
    n_maps = {"mix": 3, "beside": 1}[arrangement]
    mapped.wait(lambda: turns.is_settled() and len(ours(mapped)) == n_maps)


def test_everything_may_be_cleared_while_maps_come(mapped):
    turns = mapped.dock.coordinator.maps.turns
    begin_turns(mapped, "mix", 4)
    mapped.viewer.layers.clear()
    mapped.wait(turns.is_settled)
    assert not ours(mapped)


def test_the_window_may_be_closed_while_maps_come(mapped):
    begin_turns(mapped, "beside", 3)
    mapped.viewer.close()
    for _ in range(5):
        one_turn()


def test_the_dock_may_be_closed_while_maps_come(mapped):
    begin_turns(mapped, "beside", 3)
    mapped.viewer.window.remove_dock_widget(mapped.dock)
    n_layers = len(mapped.viewer.layers)
    for _ in range(5):
        one_turn()
    assert len(mapped.viewer.layers) == n_layers
