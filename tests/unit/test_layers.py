"""Layer data: where it lies, what it shows. Checked through napari's own transforms, without Qt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel
from numpy.testing import assert_allclose, assert_array_equal

from napari_stem.errors import PredictionError, SpotError
from napari_stem.geometry import Mpp, SizePx, Spots, lattice
from napari_stem.layers.placement import SpotGrid, outline, slide_layer
from napari_stem.layers.values import (
    ColourRange,
    colour_limits,
    map_title,
    mean_z_score,
    read_by_gene,
    score_title,
)
from napari_stem.progress import Stopped, go_on
from napari_stem.results import Prediction
from napari_stem.slide import Slide
from napari_stem.slide.level import downsample, level_of_array

MPP = Mpp(y_um=0.5, x_um=0.25)


def small_slide(mpp: Mpp | None) -> Slide:
    """A slide of arrays, without a file."""
    fine = np.zeros((400, 800, 3), dtype=np.uint8)
    sources = tuple(level_of_array(each, "a.tif") for each in (fine, fine[::2, ::2]))
    levels = tuple(
        replace(each, downsample=downsample(sources[0].size, each.size)) for each in sources
    )
    return Slide(Path("a.tif"), levels, "f", mpp=mpp, reader="none")


def measured_spots() -> Spots:
    """Three spots as an array measures them: numbered in a grid, lying somewhat off it."""
    return Spots(
        x_px=np.array([100.0, 503.0, 100.0]),
        y_px=np.array([100.0, 104.0, 300.0]),
        array_row=np.array([0, 0, 1]),
        array_col=np.array([0, 1, 0]),
        pitch_um=100.0,
        diameter_um=50.0,
        names=("a", "b", "c"),
    )


def test_slide_layer_has_its_outer_corner_at_the_origin():
    data, options, kind = slide_layer(small_slide(MPP))
    viewer = ViewerModel()
    (layer,) = viewer._add_layer_from_data(data, options, kind)
    assert_allclose(layer.data_to_world((-0.5, -0.5)), (0, 0))
    assert_allclose(layer.data_to_world((399.5, 799.5)), (400 * 0.5, 800 * 0.25))
    assert [str(u) for u in layer.units] == ["micrometer", "micrometer"]
    assert layer.axis_labels == ("y", "x")
    assert layer.multiscale
    assert layer.metadata["napari_stem"]["slide"].fingerprint == "f"


def test_slide_layer_without_pixel_size_is_in_pixels():
    _, options, _ = slide_layer(small_slide(None))
    assert options["units"] == ("pixel", "pixel")
    assert "scale" not in options


def test_lattice_raster_pixels_lie_on_their_spots_and_touch():
    spots = lattice(SizePx(400, 800), MPP, 50.0).take(np.array([5, 6, 9]))
    grid = SpotGrid.of(spots, MPP)
    image = grid.raster([1.0, 2.0, 3.0])
    (layer,) = ViewerModel()._add_layer_from_data(image, grid.placement.as_layer_options(), "image")
    for spot, value in enumerate((1.0, 2.0, 3.0)):
        centre_um = (spots.y_px[spot] * MPP.y_um, spots.x_px[spot] * MPP.x_um)
        index = layer.world_to_data(centre_um)
        assert_allclose(index, np.round(index), atol=1e-9)  # pixel centre on spot centre
        assert layer.get_value(centre_um, world=True) == value
        inside_edge = np.add(centre_um, (24.9, -24.9))
        assert layer.get_value(inside_edge, world=True) == value
    assert_allclose(layer.scale, (50, 50))


def test_raster_is_nan_where_no_spot_is_or_nothing_is_predicted():
    spots = lattice(SizePx(400, 800), MPP, 50.0).take(np.array([0, 5]))
    image = SpotGrid.of(spots, MPP).raster([np.nan, 7.0])
    assert image.dtype == np.float32
    assert_array_equal(image, [[np.nan, np.nan], [np.nan, 7.0]])


@given(st.sets(st.integers(0, 15), min_size=1), st.randoms(use_true_random=False))
def test_every_lattice_spot_finds_itself_whatever_the_choice_and_order(chosen, random):
    order = list(chosen)
    random.shuffle(order)
    spots = lattice(SizePx(400, 800), MPP, 50.0).take(np.array(order))
    grid = SpotGrid.of(spots, MPP)
    values = np.arange(len(spots), dtype=float)
    image = grid.raster(values)
    assert np.nansum(image) == values.sum()
    for spot in range(len(spots)):
        row = spots.array_row[spot] - spots.array_row.min()
        col = spots.array_col[spot] - spots.array_col.min()
        assert grid.spot_under(row, col) == spot


def test_spots_off_a_lattice_are_squares_of_their_diameter():
    spots = measured_spots()
    grid = SpotGrid.of(spots, MPP)
    image = grid.raster([1.0, 2.0, 3.0])
    step_um = grid.placement.scale_um[0]
    assert step_um == 50 / 8
    for spot, value in enumerate((1.0, 2.0, 3.0)):
        rows, cols = np.nonzero(image == value)
        assert len(rows) == 64
        y_um = grid.placement.translate_um[0] + rows.mean() * step_um
        x_um = grid.placement.translate_um[1] + cols.mean() * step_um
        assert abs(y_um - spots.y_px[spot] * MPP.y_um) <= step_um / 2
        assert abs(x_um - spots.x_px[spot] * MPP.x_um) <= step_um / 2


@pytest.mark.parametrize("off_lattice", [False, True], ids=["lattice", "measured"])
def test_circles_are_round_and_of_the_spots_diameter(off_lattice):
    spots = measured_spots() if off_lattice else lattice(SizePx(400, 800), MPP, 50.0)
    grid = SpotGrid.of(spots, MPP, "circle")
    step_um = grid.placement.scale_um[0]
    for spot in range(len(spots)):
        rows, cols = np.nonzero(grid.spot_at == spot)
        assert len(rows) * step_um**2 == pytest.approx(np.pi * 25**2, rel=0.02)
        y_um = grid.placement.translate_um[0] + rows * step_um - spots.y_px[spot] * MPP.y_um
        x_um = grid.placement.translate_um[1] + cols * step_um - spots.x_px[spot] * MPP.x_um
        assert np.hypot(y_um, x_um).max() <= 25


@given(st.sets(st.integers(0, 15), min_size=1), st.integers(0, 2**32 - 1))
def test_a_smooth_raster_invents_nothing(chosen, seed):
    spots = lattice(SizePx(400, 800), MPP, 50.0).take(np.array(sorted(chosen)))
    plain, smooth = (SpotGrid.of(spots, MPP, shape) for shape in ("square", "smooth"))
    values = np.random.default_rng(seed).normal(size=len(spots))
    values[0] = np.nan
    squares, image = plain.raster(values), smooth.raster(values)
    n = smooth.n_smooth
    assert n > 1
    assert_array_equal(np.isnan(image), np.isnan(squares).repeat(n, 0).repeat(n, 1))
    padded = np.pad(squares, 1, constant_values=np.nan)
    for row, col in np.argwhere(np.isfinite(squares)):
        around = padded[row : row + 3, col : col + 3]
        square = image[row * n : (row + 1) * n, col * n : (col + 1) * n]
        assert square.min() >= np.nanmin(around) - 1e-6
        assert square.max() <= np.nanmax(around) + 1e-6
    for one, other in zip(
        plain.placement.translate_um, smooth.placement.translate_um, strict=True
    ):  # the same outer edge
        assert one - 25 == pytest.approx(other - 25 / n)


def test_a_smooth_raster_is_linear_between_two_spots():
    spots = lattice(SizePx(400, 800), MPP, 50.0).take(np.array([5, 6]))
    grid = SpotGrid.of(spots, MPP, "smooth")
    half = grid.n_smooth // 2
    between = grid.raster([1.0, 3.0])[0, half:-half]
    assert_allclose(between, 1 + 2 * (np.arange(len(between)) + 0.5) / len(between), rtol=1e-5)


def test_too_many_spots_for_circles_stay_squares():
    spots = lattice(SizePx(60_000, 60_000), Mpp.square(0.5), 50.0)
    grid = SpotGrid.of(spots, Mpp.square(0.5), "circle")
    assert grid.spot_at.shape == (600, 600)


def test_spots_far_apart_are_refused_before_memory_is_asked_for():
    spots = measured_spots()
    far = Spots(
        spots.x_px * 1e5, spots.y_px, spots.array_row, spots.array_col, 100.0, 50.0, spots.names
    )
    with pytest.raises(SpotError, match="too far apart"):
        SpotGrid.of(far, MPP)


def test_no_spots_are_refused():
    with pytest.raises(SpotError, match="no spots"):
        SpotGrid.of(measured_spots().take(slice(0, 0)), MPP)


@pytest.mark.parametrize(
    "where",
    [(-0.51, 0), (0, 1.5), (0.6, 0), (np.nan, 0)],
    ids=["above", "right", "below", "nowhere"],
)
def test_no_spot_is_found_off_the_raster(where):
    spots = lattice(SizePx(400, 800), MPP, 50.0).take(np.array([0, 1]))
    grid = SpotGrid.of(spots, MPP)
    assert grid.spot_under(-0.49, 1.49) == 1
    assert grid.spot_under(*where) is None


def test_colour_limits_leave_out_extremes_and_gaps():
    values = np.append(np.linspace(0, 100, 1001), [np.nan, np.inf])
    assert_allclose(colour_limits(values), (1, 99))


@pytest.mark.parametrize(
    ("values", "limits"), [([], (0, 1)), ([np.nan], (0, 1)), ([3.0, 3.0], (2.5, 3.5))]
)
def test_colour_limits_always_differ(values, limits):
    assert colour_limits(values) == limits


@pytest.mark.parametrize(
    ("colours", "limits"),
    [
        (ColourRange(), (1, 99)),
        (ColourRange("percentile", 10, 90), (10, 90)),
        (ColourRange("percentile", 90, 10), (10, 90)),
        (ColourRange("fixed", -1, 2.5), (-1, 2.5)),
        (ColourRange("fixed", 2, 2), (1.5, 2.5)),
        (ColourRange("all"), (0, 7)),
    ],
)
def test_limits_are_those_asked_for(colours, limits):
    assert_allclose(colours.limits(np.linspace(0, 100, 1001), (0, 7)), limits)


def test_limits_of_all_genes_wait_for_their_computation():
    values = np.linspace(0, 100, 1001)
    assert_allclose(ColourRange("all").limits(values), colour_limits(values))


@pytest.mark.parametrize("kind", ["gene", "all", "fixed"])
def test_values_of_another_unit_take_no_limits_of_expression(kind):
    assert ColourRange(kind, 0, 1).as_percentiles() == ColourRange()
    percent = ColourRange("percentile", 5, 95)
    assert percent.as_percentiles() == percent


def test_a_score_leaves_out_what_does_not_vary_and_what_is_not_done():
    rising = np.array([1, 2, 3, np.nan], np.float32)
    values, n_used = mean_z_score([rising, 10 * rising + 5, np.full(4, 2, np.float32), -rising])
    assert n_used == 3
    z_score = np.array([-1, 0, 1]) / np.std([-1, 0, 1])
    assert_allclose(values[:3], z_score / 3, atol=1e-6)
    assert np.isnan(values[3])
    with pytest.raises(PredictionError, match="None of these genes varies"):
        mean_z_score([np.ones(3, np.float32), np.full(3, np.nan, np.float32)])


def test_the_title_of_a_score_says_how_much_of_the_set_it_rests_on():
    expected = "Score of pam50, 43 of 50 genes, predicted, mean z-score"
    assert score_title("pam50", 43, 50) == expected


def test_values_by_gene_are_those_of_the_prediction(c5_prediction, stopped):
    prediction = Prediction.open(c5_prediction)
    for field in ("mean", "sd"):
        by_gene = read_by_gene(prediction, field, go_on)
        assert by_gene.shape == (len(prediction.genes), len(prediction.spots))
        assert_array_equal(by_gene[7], prediction.values(prediction.genes[7], field))
    with pytest.raises(Stopped):
        read_by_gene(prediction, "mean", stopped)


def test_titles_say_that_the_map_is_predicted():
    assert map_title("ERBB2", "mean", "log2(count + 1)") == "ERBB2 predicted, log2(count + 1)"
    assert "predicted" in map_title("ERBB2", "sd", "log2(count + 1)")
    assert "uncertainty" in map_title("ERBB2", "sd", "log2(count + 1)")


def test_outline_of_an_ellipse_lies_within_its_box_and_has_its_area():
    box = np.array([[0, 0], [0, 20], [10, 20], [10, 0]], dtype=float)
    corners = outline(box, "ellipse")
    y, x = corners.T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    assert area == pytest.approx(np.pi * 10 * 5, rel=0.01)
    assert_allclose(np.abs(corners).max(axis=0), (10, 20))


def test_outline_keeps_polygons_and_leaves_out_lines():
    triangle = [[0, 0], [0, 1], [1, 0]]
    assert_array_equal(outline(triangle, "polygon"), triangle)
    assert outline(triangle[:2], "line") is None
    assert outline(triangle, "path") is None
