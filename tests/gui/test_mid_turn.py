"""Layers, slides, the dock and the window may go while maps are still coming: no error, nothing left behind."""

from __future__ import annotations

import pytest
from map_screen import one_turn

from napari_stem.sample_data import sample_path
from napari_stem.widgets.slide.slide_layers import slide_of

pytestmark = [pytest.mark.gui, pytest.mark.slow]


def with_maps(road, prediction):
    """The whole dock, with a prediction on its slide."""
    road.open(sample_path())
    road.drop(prediction)
    coordinator = road.dock.coordinator
    road.wait(lambda: coordinator.panels.maps.current() is not None)
    road.wait(coordinator.panels.maps.layer_queue.is_settled)
    return road


@pytest.fixture
def mapped(shared_road, c5_prediction):
    return with_maps(shared_road, c5_prediction)


def begin_turns(road, arrangement: str, n_turns: int) -> None:
    """Ask for several genes, and stop on the way."""
    genes = road.panels.genes
    genes.settings.picked = road.maps.prediction.genes[:2]
    genes.choose_arrangement(arrangement)
    for _ in range(n_turns):
        one_turn()
    assert not road.dock.panels.maps.layer_queue.is_settled()


def ours(road) -> list[str]:
    return [one.name for one in road.viewer.layers if "predicted" in one.name]


def test_layers_and_slides_may_be_taken_away_while_others_come(mapped):
    queue, layers = mapped.dock.panels.maps.layer_queue, mapped.viewer.layers
    for arrangement, n_turns in (("mix", 0), ("beside", 3)):
        begin_turns(mapped, arrangement, n_turns)
        foreign = [one for one in layers if not slide_of(one)]
        for one in foreign:
            layers.remove(one)
        mapped.wait(queue.is_settled)
        mapped.panels.genes.choose_arrangement("one")
        mapped.wait(queue.is_settled)
        gene, unit = mapped.panels.genes.settings.gene, mapped.maps.prediction.unit
        assert ours(mapped) == [f"{gene} predicted, {unit}"]
        assert not mapped.viewer.canvas.grid.enabled
    # views side by side end with their slide; of a mixture the genes are still picked
    for arrangement, n_turns, n_maps in (("beside", 0, 1), ("mix", 5, 2)):
        begin_turns(mapped, arrangement, n_turns)
        close_the_slide(mapped)
        mapped.open(sample_path())
        mapped.wait(lambda n_maps=n_maps: queue.is_settled() and len(ours(mapped)) == n_maps)
    mapped.panels.genes.choose_arrangement("one")
    mapped.wait(queue.is_settled)
    begin_turns(mapped, "beside", 2)
    layers.clear()
    mapped.wait(queue.is_settled)
    assert not ours(mapped)


def close_the_slide(road) -> None:
    coordinator = road.dock.coordinator
    road.viewer.layers.remove(coordinator.panels.slide.layer)
    road.wait(lambda: coordinator.panels.maps.layer_queue.is_settled() and not ours(road))
    assert coordinator.slide is None
    assert not road.viewer.canvas.grid.enabled


def test_a_session_brings_side_by_side_back_though_a_layer_has_just_come(mapped):
    genes, maps, sessions = (
        mapped.panels.genes,
        mapped.panels.maps,
        mapped.dock.coordinator.sessions,
    )
    viewer, picked = mapped.viewer, mapped.maps.prediction.genes[:2]
    genes.settings.picked = picked
    genes.choose_arrangement("beside")
    mapped.wait(maps.layer_queue.is_settled)
    view, zoom = sessions.session().view, viewer.scene.camera.zoom
    viewer.add_points([[0, 0]], units=("um", "um"), name="regions")  # ends side by side in a turn
    sessions.restore_view(view)
    mapped.qtbot.wait(50)
    mapped.wait(maps.layer_queue.is_settled)
    assert genes.settings.arrangement == "beside"
    grid = viewer.canvas.grid
    assert grid.enabled
    assert grid.actual_shape(viewer.layers) == (1, 2)
    contents = [
        [viewer.layers[i].name.split()[0] for i in indices if viewer.layers[i].visible]
        for _, indices in grid.iter_viewboxes(viewer.layers)
    ]
    assert contents == [["Slide,", gene] for gene in picked]
    assert viewer.scene.camera.zoom == pytest.approx(zoom)
    genes.choose_arrangement("one")
    mapped.wait(maps.layer_queue.is_settled)
    assert not grid.enabled
    assert all(one.visible for one in viewer.layers)


def test_several_genes_come_back_in_the_window_as_they_were_seen(mapped, qtbot):
    genes, sessions = mapped.panels.genes, mapped.dock.coordinator.sessions
    queue, camera = mapped.panels.maps.layer_queue, mapped.viewer.scene.camera
    genes.settings.picked = mapped.maps.prediction.genes[:2]
    seen = {}
    for arrangement in ("beside", "mix"):
        genes.choose_arrangement(arrangement)
        mapped.wait(queue.is_settled)
        camera.zoom *= 2
        camera.center = (0, 3000, 2500)
        seen[arrangement] = sessions.session()
    genes.choose_arrangement("one")
    genes.settings.picked = genes.settings.picked[:1]
    mapped.wait(queue.is_settled)
    for arrangement, before in seen.items():
        camera.zoom /= 5
        with qtbot.waitSignal(sessions.restored, timeout=60_000):
            sessions.restore(before)
        mapped.wait(queue.is_settled)
        assert sessions.session() == before
        assert genes.settings.arrangement == arrangement
        shown = [one for one in mapped.viewer.layers if one.visible and "predicted" in one.name]
        assert len(shown) == 2


def test_the_window_may_be_closed_while_maps_come(own_road, c5_prediction):
    mapped = with_maps(own_road, c5_prediction)
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
