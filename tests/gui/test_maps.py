"""The maps on screen: limits, colours, shapes, several genes at once, the readout."""

from __future__ import annotations

import gc
import json
import shutil
import threading
import weakref
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import zarr
from map_screen import MapScreen, on_screen
from napari.components import ViewerModel
from napari.utils.colormaps import ensure_colormap
from numpy.testing import assert_allclose, assert_array_equal
from qtpy.QtCore import QThreadPool

from napari_stem.layers.values import colour_limits
from napari_stem.progress import go_on
from napari_stem.results import Prediction
from napari_stem.sample_data import sample_path
from napari_stem.settings import settings_of
from napari_stem.slide import open_slide
from napari_stem.widgets.common.garbage import thaw
from napari_stem.widgets.genes import active_prediction
from napari_stem.widgets.genes.map_layers import ScalarMap
from napari_stem.widgets.genes.together import THREE_COLOURS
from napari_stem.widgets.state import COLORMAPS, DisplaySettings
from napari_stem.widgets.views.uncertainty import UncertaintyPanel

pytestmark = [pytest.mark.gui, pytest.mark.slow]


@pytest.fixture
def screen(c5_prediction, qtbot):
    yield from on_screen(ViewerModel(), c5_prediction, qtbot)


@pytest.fixture
def window(one_viewer, c5_prediction, qtbot):
    yield from on_screen(one_viewer, c5_prediction, qtbot)


def spot_position_um(screen: MapScreen, spot: int) -> tuple[float, float]:
    spots, mpp = screen.prediction.spots, screen.slide.require_mpp()
    return spots.y_px[spot] * mpp.y_um, spots.x_px[spot] * mpp.x_um


def other_genes(screen: MapScreen, n: int) -> list[str]:
    return [gene for gene in screen.prediction.genes if gene != screen.genes.settings.gene][:n]


def test_the_most_reliable_gene_comes_first_with_name_and_unit(screen):
    best = max(screen.reliability, key=screen.reliability.get)
    assert screen.genes.settings.gene == best
    assert screen.mean.name == f"{best} predicted, {screen.prediction.unit}"
    assert screen.mean.visible
    assert screen.mean.colorbar.visible
    assert screen.mean.name_overlay.visible


def test_a_change_of_gene_swaps_the_data_and_keeps_the_layers(screen):
    layers = list(screen.viewer.layers)
    for gene in other_genes(screen, 3):
        assert screen.genes.choose(gene)
        assert list(screen.viewer.layers) == layers
        for spot in (0, 7):
            shown = screen.mean.get_value(spot_position_um(screen, spot), world=True)
            assert shown == screen.prediction.values(gene)[spot]
        assert_allclose(screen.mean.contrast_limits, colour_limits(screen.prediction.values(gene)))


def test_values_that_have_been_read_are_taken_from_memory(screen):
    for gene in screen.prediction.genes[:2]:
        for field in ("mean", "sd"):
            stored = screen.prediction.values(gene, field)
            screen.wait(
                lambda gene=gene, field=field, stored=stored: (
                    not np.shares_memory(screen.shown.values(gene, field), stored)
                )
            )
            assert_array_equal(screen.shown.values(gene, field), stored)


def test_values_are_let_go_of_with_their_slide_and_read_again_when_it_is_opened(
    c5_prediction, qtbot
):
    put_away = on_screen(ViewerModel(), c5_prediction, qtbot)
    screen, gene = next(put_away), Prediction.open(c5_prediction).genes[0]

    def is_in_memory() -> bool:
        shown = screen.display.shown_on(screen.slide)
        return not np.shares_memory(shown.values(gene), screen.prediction.values(gene))

    screen.wait(is_in_memory)
    gone = weakref.ref(screen.slide)
    screen.display.activate(None)
    screen.viewer.layers.clear()
    screen.slide = open_slide(sample_path())
    thaw()
    screen.wait(lambda: gc.collect() >= 0 and gone() is None)
    assert not is_in_memory()
    screen.display.activate(screen.slide)
    screen.wait(is_in_memory)
    next(put_away, None)


def test_what_is_being_read_of_a_slide_that_goes_is_not_kept(c5_prediction, qtbot, monkeypatch):
    put_away = on_screen(ViewerModel(), c5_prediction, qtbot)
    screen, read, has_gone = next(put_away), active_prediction.summary_of, threading.Event()

    def slowly(prediction, poll):
        has_gone.wait()
        return read(prediction, go_on)

    monkeypatch.setattr(active_prediction, "summary_of", slowly)
    screen.display.begin(screen.slide, screen.prediction)
    shown, gone = screen.shown, weakref.ref(screen.slide)
    screen.display.activate(None)
    screen.viewer.layers.clear()
    screen.slide = None
    thaw()
    screen.wait(lambda: gc.collect() >= 0 and gone() is None)
    has_gone.set()
    QThreadPool.globalInstance().waitForDone()
    qtbot.wait(100)
    gene = screen.prediction.genes[0]
    assert np.shares_memory(shown.values(gene), screen.prediction.values(gene))
    next(put_away, None)


def test_a_slide_is_opened_again_whose_pixel_size_is_no_longer_known(screen, tmp_path):
    shown = screen.shown
    screen.display.activate(None)
    screen.slide = open_slide(shutil.copy(sample_path(), tmp_path))
    assert (screen.slide.mpp, screen.slide.fingerprint) == (None, shown.fingerprint)
    screen.display.activate(screen.slide)
    assert screen.shown.prediction is screen.prediction


def test_uncertainty_is_that_of_the_gene_chosen_while_it_was_hidden(screen):
    gene = other_genes(screen, 1)[0]
    screen.genes.choose(gene)
    screen.genes.views["sd"].click()
    sd = screen.layer("sd")
    assert sd.visible
    assert not screen.mean.visible
    assert sd.name == f"{gene} predicted, uncertainty (SD), {screen.prediction.unit}"
    where = spot_position_um(screen, 3)
    assert sd.get_value(where, world=True) == screen.prediction.values(gene, "sd")[3]


def test_limits_set_in_napari_become_the_fixed_values(screen):
    screen.mean.contrast_limits = (0.5, 1.5)
    look = screen.genes.look
    assert look.choices["range_kind"].currentData() == "fixed"
    assert [box.value() for box in look.values] == [0.5, 1.5]
    screen.genes.choose(other_genes(screen, 1)[0])
    assert_allclose(screen.mean.contrast_limits, (0.5, 1.5))
    look.values[1].setValue(4)
    assert_allclose(screen.mean.contrast_limits, (0.5, 4))
    screen.range("gene")
    expected = colour_limits(screen.prediction.values(screen.genes.settings.gene))
    assert_allclose(screen.mean.contrast_limits, expected)


def test_napari_s_continuous_contrast_changes_no_setting_and_no_other_gene(screen):
    screen.mean.auto_contrast = True
    screen.range("gene")
    for gene in other_genes(screen, 3):
        screen.genes.choose(gene)
        assert screen.genes.settings.range_kind == "gene"
        assert_allclose(screen.mean.contrast_limits, colour_limits(screen.prediction.values(gene)))


def test_limits_of_the_uncertainty_are_kept_too_and_touch_no_expression(screen):
    screen.genes.views["sd"].click()
    screen.layer("sd").contrast_limits = (0.1, 0.2)
    screen.genes.choose(other_genes(screen, 1)[0])
    assert_allclose(screen.layer("sd").contrast_limits, (0.1, 0.2))
    assert screen.genes.look.choices["range_kind"].currentData() == "gene"


def test_limits_of_the_uncertainty_are_in_the_session_and_go_with_another_range(screen):
    settings = screen.genes.settings
    screen.genes.views["sd"].click()
    screen.layer("sd").contrast_limits = (0.1, 0.2)
    saved = json.loads(json.dumps(settings.dump()))
    again = DisplaySettings()
    again.restore(saved)
    assert again.range_of("sd").limits([0.0, 9.0]) == (0.1, 0.2)
    screen.range("gene")
    sd = screen.prediction.values(settings.gene, "sd")
    assert_allclose(screen.layer("sd").contrast_limits, colour_limits(sd))
    settings.restore(saved)
    assert_allclose(screen.layer("sd").contrast_limits, (0.1, 0.2))


@pytest.mark.parametrize("arrangement", ["mix", "beside"])
def test_limits_of_genes_that_are_seen_together_stay_with_their_gene(screen, arrangement):
    settings, genes = screen.genes.settings, screen.prediction.genes[:3]
    settings.update(arrangement=arrangement, picked=genes[:2])
    maps = {"mix": screen.display.mixed, "beside": screen.display.beside}[arrangement]
    screen.settle()

    def limits(place: int) -> tuple[float, ...]:
        return tuple(map(float, maps.maps[place].layer.contrast_limits))

    own = [colour_limits(screen.prediction.values(gene)) for gene in genes]
    drawn: list[None] = []
    screen.display.map_updated.connect(lambda: drawn.append(None))
    maps.maps[1].layer.contrast_limits = (0.125, 0.5)
    assert drawn == []  # the layer has them already
    note = screen.genes.look.note
    assert note.text().startswith(f"Limits of {genes[1]} were set in napari; choose a range")
    settings.update(picked=(genes[2], genes[1]))
    assert (limits(0), limits(1)) == (pytest.approx(own[2]), (0.125, 0.5))
    settings.update(picked=(genes[1], genes[0]))  # it goes where its colour is another
    assert (limits(0), limits(1)) == ((0.125, 0.5), pytest.approx(own[0]))
    again = DisplaySettings()
    again.restore(json.loads(json.dumps(settings.dump())))
    assert again.range_of("mean", genes[1]).limits([0.0, 9.0]) == (0.125, 0.5)
    settings.update(arrangement="one", gene=genes[1])
    assert_allclose(screen.mean.contrast_limits, own[1])  # a single one is in line with all others
    assert note.isHidden()
    settings.update(arrangement=arrangement)
    assert limits(0) == (0.125, 0.5)
    screen.range("gene")  # the same again
    assert limits(0) == pytest.approx(own[1])
    assert note.isHidden()


@pytest.mark.parametrize("odd", [3, {"sd": 1}, {"sd": [2, 1]}, {"sd": [0, 1, 2]}, {"sd": ["a", 1]}])
def test_odd_limits_in_a_session_are_left_out(odd):
    settings = DisplaySettings()
    settings.restore({"limits_by_hand": odd})
    assert settings.limits_by_hand == {}


def test_a_session_may_hold_whatever_can_be_chosen_and_nothing_else(screen, qtbot):
    panel, uncertainty = screen.genes, UncertaintyPanel(screen.display)
    qtbot.addWidget(uncertainty)
    boxes = panel.look.choices | {
        "arrangement": panel.arrangement_choice,
        "expression": uncertainty.expression_choice,
        "uncertainty": uncertainty.uncertainty_choice,
    }
    for name, setting in settings_of(DisplaySettings).items():
        if name in boxes:
            box = boxes.pop(name)
            assert [box.itemData(i) for i in range(box.count())] == [*setting.choices]
    assert not boxes


def test_what_does_not_hold_for_the_uncertainty_is_said(screen):
    look = screen.genes.look
    assert look.note.isHidden()
    screen.range("fixed")
    assert look.values[0].isEnabled()
    assert look.note.isHidden()
    screen.genes.views["sd"].click()
    assert not look.values[0].isEnabled()
    assert screen.layer("sd").colormap.name in look.note.text()
    assert "its own range" in look.note.text()
    screen.range("percentile")
    assert look.percents[0].isEnabled()
    assert "range" not in look.note.text()
    screen.genes.views["mean"].click()
    assert look.note.isHidden()


def test_what_does_not_hold_for_a_score_is_said(screen):
    look = screen.genes.look
    screen.genes.sets.add_list("my list", screen.prediction.genes[:3])
    screen.genes.choose_arrangement("score")
    assert look.note.isHidden()
    screen.range("fixed")
    assert not look.values[0].isEnabled()
    assert look.note.text() == "A score has its own range, as this one is of expression."
    screen.range("percentile")
    assert look.percents[0].isEnabled()
    assert look.note.isHidden()
    screen.genes.choose_arrangement("one")
    screen.range("fixed")
    assert look.values[0].isEnabled()
    assert look.note.isHidden()


def test_what_does_not_hold_for_the_difference_is_said(screen):
    look, settings = screen.genes.look, screen.genes.settings
    settings.update(view="difference", range_kind="percentile")
    assert not look.percents[0].isEnabled()
    assert "its own colours (red" in look.note.text()
    assert "its own range" in look.note.text()
    settings.update(view="measured")
    assert look.percents[0].isEnabled()
    assert look.note.isHidden()


@pytest.mark.parametrize("kind", ["sd", "width", "score", "difference"])
def test_limits_set_in_napari_are_told_with_the_way_back(screen, kind):
    look, settings = screen.genes.look, screen.genes.settings
    if kind == "score":
        screen.genes.sets.add_list("my list", screen.prediction.genes[:3])
        screen.genes.choose_arrangement("score")
    else:
        settings.update(view="difference" if kind == "difference" else "sd")
        settings.update(uncertainty="width" if kind == "width" else "sd")
    settings.set_limits(kind, 0.125, 2.0)
    told = "Limits 0.125 to 2 were set in napari; choose a range to let go of them."
    assert look.note.text().endswith(told)
    assert "its own range, as this one" not in look.note.text()
    screen.range(settings.range_kind)  # the same again
    assert "Limits" not in look.note.text()


def test_the_tooltip_names_the_uncertainty_that_is_shown(screen):
    settings, button = screen.genes.settings, screen.genes.views["sd"]
    assert button.toolTip() == "How much the samples of a spot differ (standard deviation)"
    settings.update(uncertainty="width")
    assert "(width of the 90% interval)" in button.toolTip()
    screen.genes.choose_arrangement("beside")
    assert "(standard deviation)" in button.toolTip()


def test_one_range_for_all_genes(screen):
    screen.range("all")
    prediction = screen.prediction
    expected = colour_limits([prediction.values(g) for g in prediction.genes])
    for gene in prediction.genes[:3]:
        screen.genes.choose(gene)
        assert_allclose(screen.mean.contrast_limits, expected, rtol=1e-6)


def test_percentiles_and_fixed_values_are_typed(screen):
    look, values = screen.genes.look, screen.prediction.values(screen.genes.settings.gene)
    screen.range("percentile")
    look.percents[0].setValue(20)
    look.percents[1].setValue(80)
    assert_allclose(screen.mean.contrast_limits, np.percentile(values.astype(float), (20, 80)))
    on_show = screen.mean.contrast_limits
    screen.range("fixed")  # starts from what is on show
    assert_allclose(screen.mean.contrast_limits, on_show, atol=1e-3)


@pytest.mark.parametrize("name", COLORMAPS)
def test_expression_and_uncertainty_never_look_alike(screen, name):
    screen.take(screen.genes.look.choices["colormap"], name)
    assert screen.mean.colormap.name == name
    assert screen.layer("sd").colormap.name != name


def test_a_colormap_set_in_napari_stays_until_colours_are_chosen(screen):
    choice = screen.genes.look.choices["colormap"]
    screen.mean.colormap = "turbo"
    screen.genes.choose(other_genes(screen, 1)[0])
    assert screen.mean.colormap.name == "turbo"
    screen.take(choice, choice.currentData())  # the same again
    assert screen.mean.colormap.name == choice.currentData() != "turbo"
    screen.genes.choose_arrangement("mix")
    light = screen.display.mixed.maps[0].layer
    given = light.colormap.name
    light.colormap = "cyan"
    screen.genes.picked.pick(other_genes(screen, 2)[1])
    assert light.colormap.name == "cyan"
    screen.take(screen.genes.look.choices["mix_colours"], "safe")
    assert light.colormap.name == given


def test_circles_have_the_diameter_of_the_spots(screen):
    squares = screen.mean.data
    screen.take(screen.genes.look.choices["spot_shape"], "circle")
    gene, diameter_um = screen.genes.settings.gene, screen.prediction.spots.diameter_um
    centre_um = np.array(spot_position_um(screen, 5))
    value = screen.prediction.values(gene)[5]
    for angle in np.linspace(0, 2 * np.pi, 12, endpoint=False):
        inside = 0.45 * diameter_um * np.array([np.sin(angle), np.cos(angle)])
        outside = inside * 0.55 / 0.45
        assert screen.mean.get_value(centre_um + inside, world=True) == value
        assert screen.mean.get_value(centre_um + outside, world=True) != value
    screen.take(screen.genes.look.choices["spot_shape"], "square")
    assert_array_equal(screen.mean.data, squares)


def test_two_and_three_genes_mixed_have_a_legend_each(screen):
    first, (second, third, fourth) = screen.genes.settings.gene, other_genes(screen, 3)
    screen.genes.choose_arrangement("mix")
    for gene in (second, third):
        screen.genes.picked.pick(gene)
    mixed = screen.display.mixed.maps
    unit = screen.prediction.unit
    assert [one.layer.name for one in mixed] == [
        f"{gene} predicted, {unit}" for gene in (first, second, third)
    ]
    lights = [one.layer.colormap.colors[-1][:3] for one in mixed]
    expected = [ensure_colormap(colour).colors[-1][:3] for colour in THREE_COLOURS["safe"]]
    assert_allclose(lights, expected)
    assert np.ptp(np.sum(lights, 0)) < 0.3  # all of them make nearly white
    screen.take(screen.genes.look.choices["mix_colours"], "rgb")
    lights = [one.layer.colormap.colors[-1][:3] for one in mixed]
    assert_allclose(lights, np.eye(3))
    for gene, one in zip((first, second, third), mixed, strict=True):
        assert one.layer.visible
        assert one.layer.colorbar.visible
        assert one.layer.blending == "additive"
        values = screen.prediction.values(gene)
        assert_allclose(one.layer.contrast_limits, colour_limits(values))
        assert one.layer.get_value(spot_position_um(screen, 2), world=True) == values[2]
    assert not screen.mean.visible
    screen.genes.picked.pick(fourth)  # no room: takes the place of the last
    assert screen.genes.settings.picked == (first, second, fourth)
    screen.genes.picked.buttons[0].click()
    lights = [one.layer.colormap.colors[-1][:3] for one in screen.display.mixed.maps]
    assert_allclose(lights, [(1, 0, 1), (0, 1, 0)])  # for colour-blind eyes
    assert [one.layer.name.split()[0] for one in screen.display.mixed.maps] == [
        second,
        fourth,
    ]
    assert not screen.genes.views["sd"].isEnabled()  # a mixture has no uncertainty


MACHADO_2009 = {  # severity 1.0, of linear RGB; https://doi.org/10.1109/TVCG.2009.113
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}


def least_difference(colours, matrix) -> float:
    """CIEDE2000 of the two colours that eyes of this kind tell apart worst."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    rgb = np.array([ensure_colormap(colour).colors[-1][:3] for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(matrix), 0, 1)
    seen = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    return min(float(deltaE_ciede2000(a, b)) for a, b in combinations(rgb2lab(seen), 2))


def test_mixed_genes_stay_apart_for_colour_blind_eyes():
    for matrix in MACHADO_2009.values():
        assert least_difference(THREE_COLOURS["safe"], matrix) > 30
    assert min(least_difference(THREE_COLOURS["rgb"], m) for m in MACHADO_2009.values()) < 20


def test_one_gene_again_takes_the_mixture_away(screen):
    before = screen.names()
    screen.genes.choose_arrangement("mix")
    mixed = list(screen.viewer.layers)
    assert len(screen.names()) == 3  # slide, ground, gene
    screen.genes.choose_arrangement("one")
    assert [layer.name for layer in screen.viewer.layers] == before
    assert screen.mean.visible
    screen.genes.choose_arrangement("mix")  # with the layers that were made
    assert list(screen.viewer.layers) == mixed
    assert len(screen.names()) == 3


def test_a_score_is_the_mean_z_of_its_genes(screen):
    wanted = list(screen.prediction.genes[:4])
    screen.genes.sets.add_list("my list", (*wanted, "NOSUCHGENE"))
    screen.genes.choose_arrangement("score")
    title = "Score of my list, 4 of 5 genes, predicted, mean z-score"
    screen.wait(lambda: screen.mean.name == title)
    values = np.array([screen.prediction.values(gene) for gene in wanted], dtype=float)
    z_scores = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)
    where = spot_position_um(screen, 6)
    assert screen.mean.get_value(where, world=True) == pytest.approx(
        z_scores.mean(axis=0)[6], rel=1e-5
    )
    (move,) = screen.viewer.mouse_move_callbacks
    move(screen.viewer, SimpleNamespace(position=where))
    assert title in screen.inspect.readout.text()


def test_napari_s_controls_are_about_a_score_that_follows_several_maps(window):
    window.genes.sets.add_list("my list", window.prediction.genes[:3])
    for arrangement in ("mix", "beside"):
        window.genes.choose_arrangement(arrangement)
        window.settle()
        window.genes.choose_arrangement("score")
        window.wait(lambda: window.mean.name.startswith("Score"))
        window.settle()
        assert window.viewer.layers.selection.active is window.mean


def test_a_score_without_a_list_says_what_to_do(screen):
    screen.genes.choose_arrangement("score")
    assert not screen.genes.hint.isHidden()
    assert "Choose a set" in screen.genes.hint.text()
    assert screen.mean.name.startswith(screen.genes.settings.gene)
    screen.genes.sets.add_list("not here", ("NOSUCHGENE",))
    assert "none of the listed genes" in screen.genes.hint.text()


def test_a_score_waits_for_the_first_spots_of_a_run(screen, c5_prediction, tmp_path):
    screen.genes.sets.add_list("mine", screen.prediction.genes[:3])
    screen.genes.choose_arrangement("score")
    screen.wait(lambda: screen.display.shown_map.kind == "score")
    path = shutil.copytree(c5_prediction, tmp_path / "begun.zarr")
    group = zarr.open_group(path, use_consolidated=False)
    group["obs"]["done"][:] = False
    group["X"][:] = np.nan
    begun = Prediction.open(path)
    screen.display.begin(screen.slide, begun, is_growing=True)
    QThreadPool.globalInstance().waitForDone()
    screen.qtbot.wait(50)
    assert screen.failures == []  # that none of the genes varies says nothing yet
    assert screen.display.shown_map is None
    values = dict.fromkeys(
        ("mean", "sd", "q05", "q95"), screen.prediction.rows(slice(0, 8), "mean")
    )
    begun.write_block(np.arange(8), ood_distance=np.zeros(8, np.float32), **values)
    screen.display.grow(begun)
    screen.wait(lambda: screen.display.shown_map is not None)
    assert np.isfinite(screen.display.shown_map.values).sum() == 8


def test_limits_of_a_score_do_not_become_those_of_expression(screen):
    screen.genes.sets.add_list("my list", screen.prediction.genes[:3])
    screen.genes.choose_arrangement("score")
    screen.wait(lambda: screen.mean.name.startswith("Score"))
    screen.mean.contrast_limits = (-0.5, 0.5)
    assert screen.genes.look.choices["range_kind"].currentData() == "gene"


def test_side_by_side_fills_napari_s_grid_and_gives_it_back(window):
    layers, before = list(window.viewer.layers), window.names()
    first, others = window.genes.settings.gene, other_genes(window, 1)
    window.genes.choose_arrangement("beside")
    for gene in others:
        window.genes.picked.pick(gene)
    window.settle()
    grid = window.viewer.canvas.grid
    assert grid.enabled
    assert grid.actual_shape(window.viewer.layers) == (1, 2)
    contents = [
        [window.viewer.layers[i].name.split()[0] for i in indices]
        for _, indices in grid.iter_viewboxes(window.viewer.layers)
    ]
    assert contents == [["Slide,", gene] for gene in (first, *others)]
    window.genes.views["sd"].click()
    assert all("uncertainty" in one.layer.name for one in window.display.beside.maps)
    window.genes.views["mean"].click()
    made = {one.layer for one in window.display.beside.maps}
    window.genes.choose_arrangement("one")
    window.settle()
    assert not grid.enabled
    assert list(window.viewer.layers) == layers
    assert window.names() == before
    window.genes.choose_arrangement("beside")
    window.settle()
    assert grid.actual_shape(window.viewer.layers) == (1, 2)
    contents = [
        [window.viewer.layers[i].name.split()[0] for i in indices]
        for _, indices in grid.iter_viewboxes(window.viewer.layers)
    ]
    assert contents == [["Slide,", gene] for gene in (first, *others)]
    assert {one.layer for one in window.display.beside.maps} == made
    window.viewer.layers.remove(window.viewer.layers[-1])  # the user takes one away
    window.wait(lambda: window.genes.settings.arrangement == "one")
    window.genes.choose_arrangement("beside")
    window.settle()
    assert grid.actual_shape(window.viewer.layers) == (1, 2)


def test_a_layer_that_comes_ends_side_by_side(window):
    window.genes.choose_arrangement("beside")
    window.settle()
    assert window.viewer.canvas.grid.enabled
    window.viewer.add_points([[0, 0]], units=("um", "um"), name="mine")
    window.wait(lambda: window.genes.settings.arrangement == "one")
    window.settle()
    assert not window.viewer.canvas.grid.enabled
    assert window.mean in window.viewer.layers
    assert window.mean.visible
    assert "mine" in window.names()


def test_map_strength_reaches_whatever_is_shown(screen):
    screen.genes.choose_arrangement("mix")
    screen.genes.look.opacity.setValue(35)
    shown = [one.layer for one in screen.display.mixed.maps]
    assert [layer.opacity for layer in shown] == [0.35] * len(shown)
    screen.genes.choose_arrangement("one")
    assert screen.mean.opacity == 0.35


def test_readout_follows_the_gene_under_a_cursor_that_rests(screen):
    (move,) = screen.viewer.mouse_move_callbacks
    move(screen.viewer, SimpleNamespace(position=spot_position_um(screen, 3)))
    other = other_genes(screen, 1)[0]
    screen.genes.settings.update(gene=other)
    expected = f"{other} predicted {screen.prediction.values(other)[3]:.2f}"
    screen.wait(lambda: expected in screen.inspect.readout.text())


def test_readout_tells_the_spot_under_the_cursor(screen):
    prediction, gene = screen.prediction, screen.genes.settings.gene
    (move,) = screen.viewer.mouse_move_callbacks
    where = spot_position_um(screen, 3)
    move(screen.viewer, SimpleNamespace(position=where))
    text = screen.inspect.readout.text()
    low, high = prediction.values(gene, "q05")[3], prediction.values(gene, "q95")[3]
    assert f"{gene} predicted {prediction.values(gene)[3]:.2f}" in text
    assert low < prediction.values(gene)[3] < high
    assert f"90% interval {low:.2f} to {high:.2f}" in text
    assert prediction.unit in text
    other = other_genes(screen, 1)[0]
    screen.genes.choose_arrangement("mix")
    screen.genes.picked.pick(other)
    move(screen.viewer, SimpleNamespace(position=where))
    assert gene in screen.inspect.readout.text()
    assert f"{other} predicted {prediction.values(other)[3]:.2f}" in screen.inspect.readout.text()
    move(screen.viewer, SimpleNamespace(position=(-10.0, -10.0)))
    assert gene not in screen.inspect.readout.text()


@pytest.mark.parametrize("arrangement", ["one", "mix", "beside"])
def test_genes_of_a_prediction_that_is_gone_are_told_once_and_what_was_drawn_stays(
    c5_prediction, tmp_path, qtbot, monkeypatch, arrangement
):
    path = shutil.copytree(c5_prediction, tmp_path / "gone.zarr")
    put_away = on_screen(ViewerModel(), path, qtbot)
    screen = next(put_away)
    monkeypatch.setattr(
        active_prediction, "LARGEST_BYTES", 0
    )  # as if memory did not hold all genes
    monkeypatch.setattr("napari_stem.results.stored.READ_AHEAD_BYTES", 1)  # one gene at a time
    screen.display.begin(screen.slide, screen.prediction)
    screen.wait(lambda: screen.shown.background is not None)
    gene, others = screen.genes.settings.gene, other_genes(screen, 3)
    screen.genes.choose_arrangement(arrangement)
    screen.inspect.inspect(3)
    screen.wait(lambda: screen.inspect.table.rowCount() > 0)
    screen.wait(lambda: screen.display.samples() is not None)
    screen.settle()
    several = {"mix": screen.display.mixed, "beside": screen.display.beside}
    shown = [screen.mean] if arrangement == "one" else [several[arrangement].maps[0].layer]
    layers = list(screen.viewer.layers)
    drawn = [layer.data.copy() for layer in shown]
    assert np.isfinite(drawn[0]).sum() == 16
    shutil.rmtree(path)
    for other in others:
        if arrangement == "one":
            screen.genes.settings.update(gene=other)
        else:
            screen.genes.picked.pick(other)
        QThreadPool.globalInstance().waitForDone()
        qtbot.wait(10)
        assert_array_equal([layer.data for layer in shown], drawn)
        assert all(gene in layer.name for layer in shown)
        screen.settle()
        assert list(screen.viewer.layers) == layers
    (move,) = screen.viewer.mouse_move_callbacks
    move(screen.viewer, SimpleNamespace(position=spot_position_um(screen, 3)))
    screen.genes.settings.update(gene=gene)
    assert_array_equal([layer.data for layer in shown], drawn)
    screen.display.begin(
        screen.slide, screen.prediction
    )  # chosen once more: its genes are summed up anew
    screen.display.choose_gene(screen.slide, others[0])
    QThreadPool.globalInstance().waitForDone()
    qtbot.wait(10)
    sentence = f"There is no prediction {path}; check the path."
    assert screen.failures == [sentence] * 2
    next(put_away, None)


def test_why_a_score_cannot_be_read_is_told_once(c5_prediction, tmp_path, qtbot, monkeypatch):
    path = shutil.copytree(c5_prediction, tmp_path / "gone.zarr")
    put_away = on_screen(ViewerModel(), path, qtbot)
    screen = next(put_away)
    monkeypatch.setattr(active_prediction, "LARGEST_BYTES", 0)  # memory does not hold all genes
    monkeypatch.setattr("napari_stem.results.stored.READ_AHEAD_BYTES", 1)  # one gene at a time
    screen.display.begin(screen.slide, screen.prediction)
    screen.wait(lambda: screen.shown.background is not None)
    screen.genes.sets.add_list("my list", other_genes(screen, 3))
    shutil.rmtree(path)
    screen.genes.choose_arrangement("score")
    for colormap in COLORMAPS[1:3]:  # what asks for the score again
        QThreadPool.globalInstance().waitForDone()
        qtbot.wait(10)
        screen.genes.settings.update(colormap=colormap)
    QThreadPool.globalInstance().waitForDone()
    qtbot.wait(10)
    assert screen.failures == [f"There is no prediction {path}; check the path."]
    next(put_away, None)


def test_readout_of_the_uncertainty_says_what_is_on_the_map(screen):
    screen.genes.views["sd"].click()
    (move,) = screen.viewer.mouse_move_callbacks
    move(screen.viewer, SimpleNamespace(position=spot_position_um(screen, 3)))
    gene, prediction = screen.genes.settings.gene, screen.prediction
    said, mean = screen.inspect.readout.text().splitlines()
    sd = prediction.values(gene, "sd")[3]
    assert said == f"{sd:.2f}: {gene} predicted, uncertainty (SD), {prediction.unit}"
    assert mean.startswith(f"{gene} predicted {prediction.values(gene)[3]:.2f} (90% interval ")


def test_readout_of_the_uncertainty_side_by_side_says_what_is_on_the_maps(screen):
    gene, other = screen.genes.settings.gene, other_genes(screen, 1)[0]
    screen.genes.choose_arrangement("beside")
    screen.genes.picked.pick(other)
    screen.genes.views["sd"].click()
    (move,) = screen.viewer.mouse_move_callbacks
    move(screen.viewer, SimpleNamespace(position=spot_position_um(screen, 3)))
    said = screen.inspect.readout.text().splitlines()
    for name in (gene, other):
        sd, mean = (screen.prediction.values(name, field)[3] for field in ("sd", "mean"))
        title = f"{name} predicted, uncertainty (SD), {screen.prediction.unit}"
        assert said.pop(0) == f"{sd:.2f}: {title}"
        assert said.pop(0).startswith(f"{name} predicted {mean:.2f} (90% interval ")


def test_a_removed_map_comes_back_when_asked_for(screen):
    layer = screen.mean
    screen.viewer.layers.remove(layer)
    screen.genes.views["mean"].click()
    assert layer in screen.viewer.layers
    assert layer.visible


def test_another_prediction_of_the_slide_replaces_the_maps(screen):
    older, layer = screen.maps, screen.mean
    screen.genes.choose_arrangement("mix")
    layers = list(screen.viewer.layers)
    screen.show()
    assert screen.maps is not older
    assert screen.mean is layer  # handed on: taking layers out of a viewer stops the window
    assert list(screen.viewer.layers) == layers
    screen.genes.choose_arrangement("one")
    assert screen.names() == [layers[0].name, screen.mean.name]
    screen.mean.contrast_limits = (0.5, 1.5)  # told once, and by the prediction on show
    assert screen.genes.look.choices["range_kind"].currentData() == "fixed"
    screen.mean.contrast_limits = (0.5, 2.5)
    assert screen.genes.settings.range_of("mean").high == 2.5


def test_a_slide_that_is_looked_at_again_draws_its_map_once(screen, monkeypatch):
    screen.display.activate(None)
    assert screen.genes.settings.gene == ""
    drawn = []
    monkeypatch.setattr(ScalarMap, "show", lambda _, shown, **how: drawn.append(shown.kind))
    screen.display.activate(screen.slide)
    assert drawn == ["mean"]


def test_maps_lie_above_a_slide_that_was_opened_again(screen):
    screen.genes.choose_arrangement("mix")
    screen.genes.choose_arrangement("one")
    screen.viewer.layers.move(0, len(screen.viewer.layers))  # the slide, now on top
    slide = screen.viewer.layers[-1]
    screen.show()
    assert list(screen.viewer.layers) == [slide, screen.mean]
    screen.genes.choose_arrangement("mix")
    layers = list(screen.viewer.layers)
    shown = [one.layer for one in screen.display.mixed.maps]
    assert all(layers.index(la) > layers.index(slide) for la in shown)


def test_a_growing_prediction_shows_new_spots_and_forgets_what_was_computed(
    c5_prediction, tmp_path, qtbot
):
    path = tmp_path / "growing.zarr"
    shutil.copytree(c5_prediction, path)
    group = zarr.open_group(path, use_consolidated=False)
    whole = group["X"][:]
    group["obs"]["done"][8:] = False
    for stored in (group["X"], *(group["layers"][name] for name in ("sd", "q05", "q95"))):
        stored[8:] = np.nan
    put_away = on_screen(ViewerModel(), path, qtbot)
    screen = next(put_away)
    assert np.isfinite(screen.mean.data).sum() == 8
    values = dict.fromkeys(("mean", "sd", "q05", "q95"), whole[8:])
    distance = np.zeros(8, np.float32)
    screen.prediction.write_block(np.arange(8, 16), ood_distance=distance, **values)
    screen.display.grow(screen.prediction)
    screen.wait(lambda: np.isfinite(screen.mean.data).sum() == 16)
    assert screen.shown.limits_of_all is None
    screen.display.finish(screen.prediction)
    screen.wait(lambda: screen.shown.limits_of_all is not None)
    expected = colour_limits(screen.prediction.values(screen.genes.settings.gene))
    assert_allclose(screen.mean.contrast_limits, expected)
    next(put_away, None)
