"""Tissue on real sections (grey-lilac ground, eosin halo, array dots) and on changed grounds."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import shapely
from PIL import Image
from scipy import ndimage

from napari_stem.errors import RegionError
from napari_stem.geometry import Mpp, Region, lattice
from napari_stem.settings import TissueSettings
from napari_stem.slide.tissue import (
    LEAST_TISSUE,
    TissueView,
    find_tissue,
    glass_share,
    on_glass,
    view_of,
)

MPP_UM = {"C2": 0.6961, "C3": 0.6691, "C4": 0.6901, "C5": 0.6907}
DOWNSAMPLE = 8


def as_scanned(rgb):
    return rgb


def on_white(rgb):
    ground = np.percentile(rgb, 85, axis=(0, 1))
    return np.clip(rgb / ground * 255, 0, 255).astype(np.uint8)


def on_grey(rgb):
    return (on_white(rgb) * 0.7).astype(np.uint8)


def shaded(rgb):
    y, x = np.mgrid[0 : 1 : rgb.shape[0] * 1j, 0 : 1 : rgb.shape[1] * 1j]
    return (rgb * (1 - 0.45 * x * y)[..., None]).astype(np.uint8)


def noisy(rgb):
    noise = np.random.default_rng(0).normal(0, 5, rgb.shape)
    return np.clip(rgb + noise, 0, 255).astype(np.uint8)


@cache
def far_from_spots(section, shape, x, y):
    """Where the next spot is more than 200 um away: a mask."""
    away = np.ones(shape, bool)
    away[np.array(y).astype(int), np.array(x).astype(int)] = False
    return ndimage.distance_transform_edt(away) * DOWNSAMPLE * MPP_UM[section] > 200


@pytest.fixture(scope="module", params=sorted(MPP_UM))
def section(request):
    return request.param


@pytest.fixture(scope="module", params=[as_scanned, on_white, on_grey, shaded, noisy])
def view(request, section, slides):
    """What is seen of a section on a changed ground."""
    with Image.open(slides / f"{section}-thumbnail.jpg") as image:
        return TissueView.of_thumbnail(request.param(np.asarray(image)))


def test_spots_under_tissue_are_inside_and_little_else_is(section, view, slides):
    x, y = np.loadtxt(slides / f"{section}-spots.csv", delimiter=",", skiprows=1).T
    mask = view.mask()
    assert mask[y.astype(int), x.astype(int)].mean() > 0.98
    assert (
        mask & far_from_spots(section, mask.shape, tuple(x), tuple(y))
    ).sum() < 0.05 * mask.sum()


def test_a_whole_slide_has_glass(view):
    assert view.has_glass
    assert view.stained_left_out == 0


def test_regions_of_a_real_slide(svs_path, opened):
    slide = opened(svs_path)
    regions = find_tissue(slide).regions
    assert [region.name for region in regions] == ["tissue 1"]
    (piece,) = regions
    assert piece.polygon.is_valid
    assert piece.polygon.interiors  # glass shows through the section
    extent = shapely.box(0, 0, slide.size.width_px, slide.size.height_px)
    assert extent.covers(piece.polygon)
    view = view_of(slide)
    mask = view.mask()
    assert mask.shape == slide.levels[2].pixels.shape[:2]  # nearest to 1024 px
    # the outline and the mask are the same area, seen twice
    rows, columns = np.nonzero(mask)
    centres = (columns + 0.5) * view.downsample, (rows + 0.5) * view.downsample
    assert shapely.contains_xy(piece.polygon, *centres).mean() > 0.97
    outside = np.nonzero(~mask)
    centres = (outside[1] + 0.5) * view.downsample, (outside[0] + 0.5) * view.downsample
    assert shapely.contains_xy(piece.polygon, *centres).mean() < 0.02


def test_glass_is_where_no_tissue_is(svs_path, opened):
    slide = opened(svs_path)
    view = view_of(slide)
    mask, mpp = view.mask(), slide.require_mpp()
    spots = lattice(slide.size, mpp, 100)
    boxes = [
        shapely.box(x - 50 / mpp.x_um, y - 50 / mpp.y_um, x + 50 / mpp.x_um, y + 50 / mpp.y_um)
        for x, y in zip(spots.x_px, spots.y_px, strict=True)
    ]
    row, col = np.indices(mask.shape) + 0.5
    tissue = [
        mask[shapely.contains_xy(box, col * view.downsample, row * view.downsample)].mean()
        for box in boxes
    ]
    clear = (
        np.abs(np.array(tissue) - LEAST_TISSUE) > 0.05
    )  # the edges of pixels decide of the others
    np.testing.assert_array_equal(
        on_glass(slide, spots)[clear], (np.array(tissue) < LEAST_TISSUE)[clear]
    )
    assert 0 < on_glass(slide, spots).mean() < 1
    region = Region(shapely.union_all(boxes[: len(boxes) // 2]))
    held = shapely.contains_xy(region.polygon, col * view.downsample, row * view.downsample)
    assert glass_share(slide, [region]) == pytest.approx(1 - mask[held].mean(), abs=0.01)


def test_small_pieces_count_where_they_are_asked_for(svs_path, opened):
    slide = opened(svs_path)
    pieces = find_tissue(slide, TissueSettings(min_area_mm2=1e-4)).regions
    areas = [piece.area_mm2(slide.require_mpp()) for piece in pieces]
    assert len(pieces) > 1
    assert areas == sorted(areas, reverse=True)
    assert min(areas) >= 1e-4


def test_tissue_is_found_without_a_pixel_size(jpeg_path, opened):
    slide = opened(jpeg_path)
    assert slide.mpp is None
    assert find_tissue(slide).regions[0].polygon.area > 1e5


@pytest.mark.parametrize("ground", ["white", "noise", "gradient"])
def test_an_empty_slide_is_told(ground, tmp_path, opened):
    rgb = np.full((900, 700, 3), 238.0)
    if ground == "noise":
        rgb += np.random.default_rng(1).normal(0, 3, rgb.shape)
    elif ground == "gradient":
        rgb -= np.linspace(0, 120, 700)[None, :, None]
    Image.fromarray(rgb.astype(np.uint8)).save(tmp_path / "blank.png")
    slide = opened(tmp_path / "blank.png", Mpp.square(0.5))
    with pytest.raises(RegionError, match=r"No tissue was found on blank\.png; draw"):
        find_tissue(slide)


def test_a_slide_that_is_all_tissue(slides):
    rgb = np.asarray(Image.open(slides / "C5-thumbnail.jpg"))[300:520, 400:600]
    assert TissueView.of_thumbnail(rgb).mask().mean() > 0.95


# C5-crop.jpg: hardly any of the first looks like glass; the second has a corner of it
NO_GLASS, LITTLE_GLASS = np.s_[300:900, 500:1100], np.s_[600:1200, 400:1000]


def crop(slides, part, coarser=1):
    with Image.open(slides / "C5-crop.jpg") as image:
        rgb = np.asarray(image)[part]
    height, width = (side // coarser for side in rgb.shape[:2])
    return rgb.reshape(height, coarser, width, coarser, 3).mean(axis=(1, 3)).astype(np.uint8)


@pytest.mark.parametrize("coarser", [1, 2, 6])
def test_a_crop_without_glass_is_all_tissue(coarser, slides, tmp_path, opened):
    rgb = crop(slides, NO_GLASS, coarser)
    mpp = Mpp.square(0.6907 * coarser)
    Image.fromarray(rgb).save(tmp_path / "crop.png")
    slide = opened(tmp_path / "crop.png", mpp)
    found = find_tissue(slide)
    assert found.note == "There is no glass in this image: all of it is taken as tissue."
    assert found.marks_mm2 == 0  # dense nuclei are no ink
    (whole,) = found.regions
    assert whole.polygon.area > 0.98 * slide.size.width_px * slide.size.height_px  # corners are cut
    assert glass_share(slide, [whole]) == 0
    assert not on_glass(slide, lattice(slide.size, mpp, 100)).any()
    with pytest.raises(RegionError, match=r"largest piece of tissue on crop\.png has 0\.17 mm2"):
        find_tissue(slide, TissueSettings(min_area_mm2=0.2))


def test_where_little_looks_like_glass_it_is_told_how_to_take_the_rest(slides, tmp_path, opened):
    rgb = crop(slides, LITTLE_GLASS)
    Image.fromarray(rgb).save(tmp_path / "corner.png")
    slide = opened(tmp_path / "corner.png", Mpp.square(0.6907))
    view, found = view_of(slide), find_tissue(slide)
    assert view.has_glass
    assert found.note.endswith(
        f"There is little glass in this image, and {view.stained_left_out:.0%} of it was left out "
        f"though it looks stained: if that is tissue, draw the region by hand, or take the whole "
        f"slide (--all on the command line)."
    )
