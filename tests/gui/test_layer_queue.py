"""Layers come and go one per turn of the event loop, and the list holds what is shown, nothing else."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from map_screen import MapScreen, on_screen, one_turn
from napari.components import ViewerModel
from napari.layers import Image

from napari_stem.widgets.common import garbage
from napari_stem.widgets.genes.layer_queue import (
    LEAST_LETTERS_PT,
    MEAN_RANK,
    OUTLINES_RANK,
    VIEWS_RANK,
    LayerQueue,
)
from napari_stem.widgets.genes.together import GROUND_NAME

pytestmark = [pytest.mark.gui, pytest.mark.slow]

UM = {"units": ("um", "um"), "scale": (1, 1)}


@pytest.fixture
def window(one_viewer, c5_prediction, qtbot):
    yield from on_screen(one_viewer, c5_prediction, qtbot)


@pytest.fixture
def queue():
    queue = LayerQueue(ViewerModel())
    yield queue
    queue.close()


def layer(name: str = "a", **options) -> Image:
    return Image(np.zeros((4, 4), np.float32), name=name, **UM, **options)


def names(queue: LayerQueue) -> list[str]:
    return [one.name for one in queue.viewer.layers]


class Changes:
    """How many layers came or went, and how many legends were made, in each turn."""

    def __init__(self, screen: MapScreen, monkeypatch) -> None:
        self.per_turn: list[list[str]] = []
        queue = screen.display.layer_queue
        events, step = screen.viewer.layers.events, queue.step

        def noted() -> bool:
            self.per_turn.append([])
            return step()

        def note(event) -> None:
            self.per_turn[-1].append(event.type)

        monkeypatch.setattr(queue, "step", noted)
        events.inserted.connect(note)
        events.removed.connect(note)

    def most(self) -> int:
        return max(map(len, self.per_turn))

    def in_all(self) -> int:
        return sum(map(len, self.per_turn))


@pytest.fixture
def changes(window, monkeypatch) -> Changes:
    window.settle()
    return Changes(window, monkeypatch)


def pick(window: MapScreen, n_genes: int) -> tuple[str, ...]:
    window.genes.settings.picked = window.prediction.genes[:n_genes]
    return window.genes.settings.picked


def listed(window: MapScreen) -> list[str]:
    return [one.name for one in window.viewer.layers]


# in the window


def test_a_mixture_comes_layer_by_layer_and_goes_without_a_trace(window, changes):
    before = listed(window)
    genes, unit = pick(window, 3), window.prediction.unit
    window.genes.choose_arrangement("mix")
    assert listed(window) == before  # nothing yet: the click itself costs nothing
    window.settle()
    lights = [f"{gene} predicted, {unit}" for gene in reversed(genes)]
    assert listed(window) == [before[0], GROUND_NAME, *lights]
    assert window.viewer.layers.selection.active.name == lights[-1]
    assert changes.most() == 1
    assert changes.in_all() == 5  # the map goes; the ground and three genes come
    window.genes.choose_arrangement("one")
    window.settle()
    assert listed(window) == before
    assert changes.most() == 1
    assert window.viewer.layers.selection.active is window.mean


def test_views_come_layer_by_layer_and_go_without_a_trace(window, changes):
    before = listed(window)
    genes = pick(window, 4)
    zoom = window.viewer.scene.camera.zoom
    window.genes.choose_arrangement("beside")
    window.settle()
    views = [
        [f"Slide, view {place}", f"{gene} predicted"]  # with the unit it would be cut off
        for place, gene in reversed(list(enumerate(genes, start=1)))
    ]
    assert listed(window) == [before[0], *(name for view in views for name in view)]
    assert window.viewer.canvas.grid.actual_shape(window.viewer.layers) == (2, 2)
    assert changes.most() == 1
    window.genes.choose_arrangement("one")
    window.settle()
    assert listed(window) == before
    assert window.viewer.scene.camera.zoom == pytest.approx(zoom)
    assert not window.viewer.canvas.grid.enabled
    assert window.viewer.layers[0].visible
    assert changes.most() == 1


def test_legends_come_one_by_one_too(window, changes, monkeypatch):
    pick(window, 2)
    shown: list[int] = []
    window.genes.choose_arrangement("mix")
    lights = [one.layer for one in window.display.mixed.maps]
    while not window.display.layer_queue.is_settled():
        one_turn()
        shown.append(sum(la.colorbar.visible + la.name_overlay.visible for la in lights))
    assert shown[-1] == 4
    assert len(changes.per_turn) >= 4 + 4  # three layers and the map, then four parts of legends


def test_a_change_of_mind_leaves_no_layer_behind(window, changes):
    before = listed(window)
    pick(window, 4)
    window.genes.choose_arrangement("beside")
    for _ in range(3):
        one_turn()
    window.genes.choose_arrangement("mix")
    for _ in range(2):
        one_turn()
    window.genes.choose_arrangement("beside")
    window.genes.choose_arrangement("one")
    window.settle()
    assert listed(window) == before
    assert not window.viewer.canvas.grid.enabled
    assert all(one.visible for one in window.viewer.layers)


def test_genes_that_change_places_keep_their_names(window):
    first, second, third = pick(window, 3)
    window.genes.choose_arrangement("mix")
    window.settle()
    window.genes.picked.buttons[0].click()  # the first goes: both others move on by a colour
    window.settle()
    unit = window.prediction.unit
    shown = [one.layer.name for one in window.display.mixed.maps]
    assert shown == [f"{gene} predicted, {unit}" for gene in (second, third)]
    assert f"{first} predicted, {unit}" not in listed(window)


def test_only_what_is_shown_is_listed(window):
    window.settle()
    slide = listed(window)[0]
    gene, unit = window.genes.settings.gene, window.prediction.unit
    for view, expected in (
        ("sd", [slide, f"{gene} predicted, uncertainty (SD), {unit}"]),
        ("none", [slide]),
        ("mean", [slide, f"{gene} predicted, {unit}"]),
    ):
        window.genes.settings.apply(view=view)
        window.settle()
        assert listed(window) == expected


@pytest.mark.parametrize("arrangement", ["one", "mix", "beside"])
def test_no_map_is_seen_of_a_slide_that_was_left(window, changes, arrangement):
    pick(window, 2)
    window.genes.choose_arrangement(arrangement)
    window.settle()
    slide = window.viewer.layers[0]
    window.display.activate(None)  # as for a slide without a prediction
    assert len(window.viewer.layers) > 1  # they go in later turns
    assert not any(one.visible for one in window.viewer.layers if one is not slide)
    window.settle()
    assert window.names() == [slide.name]
    assert changes.most() == 1


def test_a_slide_that_is_looked_at_again_at_once_has_its_map(window):
    window.settle()
    window.display.activate(None)
    window.display.activate(window.slide)
    window.settle()
    assert window.mean.visible
    assert window.mean.colorbar.visible
    assert window.mean.name_overlay.visible


@pytest.mark.parametrize("take_away", ["remove", "clear"])
def test_the_legend_of_a_map_that_was_taken_away_is_stacked_anew(window, take_away):
    window.settle()
    mean = window.mean
    if take_away == "clear":
        window.viewer.layers.clear()
    else:
        window.viewer.layers.remove(mean)
    legend = mean.colorbar, mean.name_overlay
    assert not any(part.visible for part in (mean, *legend))
    window.display.draw()
    while mean not in window.viewer.layers:
        one_turn()
    assert not any(part.visible for part in legend)  # they come after it, one by one
    window.settle()
    assert all(part.visible for part in (mean, *legend))


@pytest.mark.parametrize("width_px", [300, 600, 2000])
def test_titles_end_within_the_canvas(queue, width_px):
    queue.viewer.canvas.size = (500, width_px)
    title = "CD74 predicted, where P(above 3.76) > 80%, log2(count + 1) at the training depth"
    shown = layer(title)
    queue.show(shown, MEAN_RANK, title, 10)
    sizes = {300: LEAST_LETTERS_PT, 2000: 10}
    assert sizes.get(width_px, 7.5) == pytest.approx(shown.name_overlay.font_size, abs=0.05)
    queue.viewer.canvas.size = (500, 2000)
    assert shown.name_overlay.font_size == 10


# the order, and garbage


def test_layers_lie_by_rank_above_slides_and_below_what_others_added(queue):
    slide = Image(
        [np.zeros((side, side, 3), np.uint8) for side in (4, 2)],
        name="slide",
        rgb=True,
        multiscale=True,
        metadata={"napari_stem": {"slide": object()}},
        **UM,
    )
    queue.viewer.add_layer(slide)
    queue.viewer.add_layer(layer("mine"))
    for name, rank in (("outlines", OUTLINES_RANK), ("view", VIEWS_RANK), ("map", MEAN_RANK)):
        queue.show(layer(name), rank)
    assert names(queue) == ["slide", "map", "outlines", "mine", "view"]


@pytest.mark.parametrize("mode", ["add_polygon", "pan_zoom"])
def test_a_map_that_comes_ends_no_outline(queue, mode):
    drawn_on = queue.viewer.add_shapes(ndim=2)
    drawn_on.mode = mode
    image = layer()
    queue.show(image, MEAN_RANK)
    queue.select(image)
    while queue.step():
        pass
    assert queue.viewer.layers.selection.active is (image if mode == "pan_zoom" else drawn_on)


def test_what_the_user_took_away_stays_away_until_asked_for(queue):
    ours, other = layer("ours"), layer("other")
    queue.show(ours, MEAN_RANK)
    queue.viewer.layers.remove(ours)
    queue.show(other, OUTLINES_RANK)
    assert names(queue) == ["other"]
    queue.show(ours, MEAN_RANK)
    assert names(queue) == ["ours", "other"]


def test_a_layer_hidden_by_the_eye_is_seen_again_when_asked_for(queue):
    ours = layer()
    queue.show(ours, MEAN_RANK)
    ours.visible = False
    queue.show(ours, MEAN_RANK)
    assert ours.visible


def test_layers_go_in_the_context_of_the_canvas(window):
    from qtpy.QtGui import QOpenGLContext
    from qtpy.QtOpenGLWidgets import QOpenGLWidget

    main = window.viewer.window.main_menu.parentWidget()
    (canvas,) = main.centralWidget().findChildren(QOpenGLWidget)
    window.settle()
    seen: list[bool] = []
    window.viewer.layers.events.removed.connect(
        lambda _: seen.append(QOpenGLContext.currentContext() is canvas.context())
    )
    window.genes.settings.apply(view="none")
    window.settle()
    assert seen == [True]


def test_libraries_are_spared_and_foreign_layers_are_not(frozen_by_the_dock, window):
    window.settle()
    window.viewer.add_layer(layer("mine"))
    garbage.spare_libraries()
    assert gc.get_freeze_count() > 0
    window.genes.settings.apply(view="none")  # one of ours goes
    window.settle()
    assert gc.get_freeze_count() > 0
    seen: list[int] = []
    window.viewer.layers.events.removed.connect(lambda _: seen.append(gc.get_freeze_count()))
    window.viewer.layers.remove("mine")
    assert seen == [0]  # napari collects all that it means to
    window.display.close()
    assert gc.get_freeze_count() == 0
