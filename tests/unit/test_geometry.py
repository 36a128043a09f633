"""Properties of units, lattices and regions that every other station relies on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st

from napari_stem.errors import RegionError, SettingsError, SpotError
from napari_stem.geometry import (
    Mpp,
    Region,
    SizePx,
    inside,
    lattice,
    shared_tissue,
    spots_in_regions,
)

mpps = st.builds(Mpp, y_um=st.floats(0.1, 4), x_um=st.floats(0.1, 4))
corner_um = st.integers(0, 90_000).map(lambda tenths: tenths / 10)  # as fine as a mouse can point
corners_um = st.lists(st.tuples(corner_um, corner_um), min_size=3, max_size=12, unique=True)
radii_um = st.lists(st.integers(10, 4_000), min_size=3, max_size=12)


@st.composite
def slides(draw: st.DrawFn) -> tuple[SizePx, Mpp, float]:
    """Size, pixel size, and a pitch that gives one to some thousand spots."""
    mpp = draw(mpps)
    size = SizePx(draw(st.integers(200, 20_000)), draw(st.integers(200, 20_000)))
    sides_um = (size.height_px * mpp.y_um, size.width_px * mpp.x_um)
    smallest = max(sides_um) / 60
    return size, mpp, draw(st.floats(smallest, max(smallest, min(sides_um))))


SIZE = SizePx(height_px=4_000, width_px=6_000)
HALF = Mpp.square(0.5)


def rectangle(x0: float, y0: float, x1: float, y1: float, name: str = "region") -> Region:
    """Region from corners in level-0 px."""
    return Region(shapely.box(x0, y0, x1, y1), name)


@given(mpps, st.floats(1, 5_000), st.floats(1, 5_000))
def test_a_drawn_rectangle_keeps_its_area_in_um(
    mpp: Mpp, height_um: float, width_um: float
) -> None:
    yx_um = [(10, 20), (10, 20 + width_um), (10 + height_um, 20 + width_um), (10 + height_um, 20)]
    region = Region.from_vertices_um(yx_um, mpp)
    assert region.area_mm2(mpp) == pytest.approx(height_um * width_um * 1e-6, rel=1e-6)


@given(mpps, radii_um)
def test_corners_come_back_from_px(mpp: Mpp, radii: list[int]) -> None:
    angles = 2 * np.pi * np.arange(len(radii)) / len(radii)  # a star: never crosses itself
    y_um, x_um = 5_000 + radii * np.sin(angles), 5_000 + radii * np.cos(angles)
    drawn = shapely.Polygon(np.column_stack([x_um, y_um]))
    region = Region.from_vertices_um(np.column_stack([y_um, x_um]), mpp)
    back = shapely.transform(region.polygon, lambda xy_px: xy_px * [mpp.x_um, mpp.y_um])
    assert back.symmetric_difference(drawn).area == pytest.approx(0, abs=1e-6 * drawn.area)


@given(mpps, corners_um)
def test_any_outline_with_an_area_gives_a_valid_polygon(
    mpp: Mpp, yx_um: list[tuple[float, float]]
) -> None:
    try:
        region = Region.from_vertices_um(yx_um, mpp)
    except RegionError:
        # Refused only where the corners lie on a line, up to rounding.
        yx = np.asarray(yx_um)
        spread = np.linalg.svd(yx - yx.mean(axis=0), compute_uv=False)
        assert spread[1] <= 1e-6 * max(spread[0], 1)
        return
    assert region.polygon.is_valid
    assert region.polygon.geom_type in {"Polygon", "MultiPolygon"}
    assert region.polygon.area > 0


def test_a_bow_tie_becomes_its_two_triangles() -> None:
    region = Region.from_vertices_um([(0, 0), (100, 100), (0, 100), (100, 0)], Mpp.square(1))
    assert region.polygon.geom_type == "MultiPolygon"
    assert region.polygon.area == pytest.approx(5_000)


def test_a_bow_tie_with_a_tail_loses_the_tail() -> None:
    outline = [(0, 0), (100, 100), (100, 0), (0, 100), (0, 0), (0, -50), (0, 0)]
    region = Region.from_vertices_um(outline, Mpp.square(1))
    assert region.polygon.geom_type == "MultiPolygon"
    assert region.polygon.area == pytest.approx(5_000)


def test_a_square_with_a_tail_loses_the_tail() -> None:
    region = Region.from_vertices_um(
        [(0, 0), (0, 100), (100, 100), (100, 0), (0, 0), (-50, 0), (0, 0)], Mpp.square(1)
    )
    assert region.polygon.geom_type in {"Polygon", "MultiPolygon"}
    assert region.polygon.area == pytest.approx(10_000)


@pytest.mark.parametrize(
    "yx_um", [[], [(0, 0), (1, 1)], [(0, 0), (1, 1), (2, 2)], [(3, 3)] * 4, [(0, 0, 0)] * 3]
)
def test_outlines_without_area_are_refused(yx_um: list[tuple[float, ...]]) -> None:
    with pytest.raises(RegionError, match="draw it again"):
        Region.from_vertices_um(yx_um, HALF)


@pytest.mark.parametrize("value", [0, -0.5, float("nan"), float("inf"), 0.001, 1_000])
def test_impossible_pixel_sizes_are_refused(value: float) -> None:
    with pytest.raises(SettingsError, match="not plausible"):
        Mpp.square(value)


@given(slides())
def test_lattice_spots_lie_half_a_pitch_off_multiples_of_the_pitch(
    slide: tuple[SizePx, Mpp, float],
) -> None:
    size, mpp, pitch_um = slide
    assume(min(size.height_px * mpp.y_um, size.width_px * mpp.x_um) >= pitch_um)
    spots = lattice(size, mpp, pitch_um)
    np.testing.assert_allclose(spots.x_px * mpp.x_um / pitch_um, spots.array_col + 0.5)
    np.testing.assert_allclose(spots.y_px * mpp.y_um / pitch_um, spots.array_row + 0.5)


@given(slides())
def test_lattice_spots_lie_on_the_slide_and_cover_it(slide: tuple[SizePx, Mpp, float]) -> None:
    size, mpp, pitch_um = slide
    assume(min(size.height_px * mpp.y_um, size.width_px * mpp.x_um) >= pitch_um)
    spots = lattice(size, mpp, pitch_um)
    edge = 1 + 1e-9
    assert (spots.x_px >= 0).all()
    assert (spots.x_px <= size.width_px * edge).all()
    assert (spots.y_px >= 0).all()
    assert (spots.y_px <= size.height_px * edge).all()
    # The next row or column would have its centre off the slide.
    assert (spots.array_col.max() + 1.5) * pitch_um / mpp.x_um >= size.width_px / edge
    assert (spots.array_row.max() + 1.5) * pitch_um / mpp.y_um >= size.height_px / edge


@given(st.floats(0, 5_000), st.floats(0, 3_000), st.floats(600, 3_000), st.floats(600, 3_000))
def test_a_spot_is_the_same_whatever_region_asks_for_it(
    x0: float, y0: float, width: float, height: float
) -> None:
    spots = lattice(SIZE, HALF, 250)
    asked = rectangle(x0, y0, x0 + width, y0 + height)
    found = spots_in_regions(spots, [asked])
    place = {name: i for i, name in enumerate(spots.names)}
    for i, name in enumerate(found.names):
        j = place[name]
        assert (found.x_px[i], found.y_px[i]) == (spots.x_px[j], spots.y_px[j])
        assert (found.array_row[i], found.array_col[i]) == (spots.array_row[j], spots.array_col[j])


@given(st.floats(0, 3_000), st.floats(0, 1_900), st.floats(600, 2_000), st.floats(600, 2_000))
def test_squares_end_within_half_a_pitch_of_a_region_on_every_side(
    x0: float, y0: float, width: float, height: float
) -> None:
    spots = lattice(SIZE, HALF, 250)
    found = spots_in_regions(spots, [rectangle(x0, y0, x0 + width, y0 + height)])
    half_px = 125 / HALF.x_um
    for at, low, side in ((found.x_px, x0, width), (found.y_px, y0, height)):
        assert at.min() > low  # every centre is inside
        assert at.max() < low + side
        assert abs(at.min() - half_px - low) <= half_px + 1e-6
        assert abs(at.max() + half_px - low - side) <= half_px + 1e-6


def test_a_larger_slide_keeps_the_spots_of_a_smaller() -> None:
    small, large = lattice(SIZE, HALF, 250), lattice(SizePx(9_000, 9_000), HALF, 250)
    place = {name: i for i, name in enumerate(large.names)}
    index = np.array([place[name] for name in small.names])
    np.testing.assert_array_equal(large.x_px[index], small.x_px)
    np.testing.assert_array_equal(large.y_px[index], small.y_px)


def test_holes_hold_no_spots() -> None:
    ring = shapely.box(0, 0, 4_000, 4_000) - shapely.box(1_000, 1_000, 3_000, 3_000)
    spots = lattice(SIZE, HALF, 250)
    chosen = inside(spots, [Region(ring)])
    in_hole = inside(spots, [rectangle(1_000, 1_000, 3_000, 3_000)])
    in_box = inside(spots, [rectangle(0, 0, 4_000, 4_000)])
    assert in_hole.any()
    np.testing.assert_array_equal(chosen, in_box & ~in_hole)


def test_overlapping_regions_give_each_spot_once() -> None:
    spots = lattice(SIZE, HALF, 250)
    first, second = rectangle(0, 0, 3_000, 3_000), rectangle(2_000, 0, 5_000, 3_000)
    both = spots_in_regions(spots, [first, second])
    assert len(set(both.names)) == len(both)
    np.testing.assert_array_equal(
        inside(spots, [first, second]), inside(spots, [first]) | inside(spots, [second])
    )


@pytest.mark.parametrize(
    "region",
    [rectangle(-900, -900, -100, -100, "far away"), rectangle(10, 10, 20, 20, "far away")],
    ids=["off the slide", "between spots"],
)
def test_regions_without_spots_are_refused_by_name(region: Region) -> None:
    with pytest.raises(RegionError, match="No spot lies inside far away"):
        spots_in_regions(lattice(SIZE, HALF, 250), [region])


@pytest.mark.parametrize("pitch_um", [0, -5, float("nan")])
def test_impossible_pitches_are_refused(pitch_um: float) -> None:
    with pytest.raises(SpotError, match="not possible"):
        lattice(SIZE, HALF, pitch_um)


@pytest.mark.parametrize("pitch_um", [1e6, float("inf")])
def test_a_pitch_wider_than_the_slide_is_refused(pitch_um: float) -> None:
    with pytest.raises(SpotError, match="wider than the slide"):
        lattice(SIZE, HALF, pitch_um)


@given(st.data())
def test_taking_spots_keeps_their_columns_together(data: st.DataObject) -> None:
    spots = lattice(SIZE, HALF, 500)
    order = data.draw(st.lists(st.integers(0, len(spots) - 1), unique=True, max_size=10))
    taken = spots.take(np.array(order, dtype=np.int64))
    assert list(taken.names) == [spots.names[i] for i in order]
    for name, row, col in zip(taken.names, taken.array_row, taken.array_col, strict=True):
        assert name == f"r{row}c{col}"
    assert (taken.pitch_um, taken.diameter_um) == (spots.pitch_um, spots.diameter_um)


def test_taking_by_mask_and_slice_agree() -> None:
    spots = lattice(SIZE, HALF, 500)
    mask = np.zeros(len(spots), dtype=bool)
    mask[2:5] = True
    assert spots.take(mask).names == spots.take(slice(2, 5)).names == spots.names[2:5]


def test_broken_spot_lists_are_refused() -> None:
    spots = lattice(SIZE, HALF, 500)
    with pytest.raises(SpotError, match="differ in length"):
        replace(spots, x_px=spots.x_px[1:])
    with pytest.raises(SpotError, match="names repeat"):
        replace(spots, names=(spots.names[1], *spots.names[1:]))
    x_px = spots.x_px.copy()
    x_px[0] = np.nan
    with pytest.raises(SpotError, match="not numbers"):
        replace(spots, x_px=x_px)


def test_neighbours_share_tissue_where_patches_overlap():
    assert "600 µm round each" in shared_tissue(100.0, 600.0)
    assert not shared_tissue(200.0, 112.0)
