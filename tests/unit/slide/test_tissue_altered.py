"""Tissue on real sections that were made faint, dense, shaded or written on, and looked for otherwise.

The measure is what was found on the section as scanned: intersection over union of the two masks.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from napari_stem.errors import RegionError
from napari_stem.geometry import Mpp
from napari_stem.settings import TissueSettings
from napari_stem.slide.tissue import TissueView, find_tissue

THUMBNAILS = {
    "C5": ("C5-thumbnail.jpg", np.s_[100:800, 0:900]),
    "macro": ("CMU-1-macro-crop.png", np.s_[:]),
}
# ink on white as it is scanned; not the colours that the limits were chosen with
INKS = {
    "blue": (30, 80, 170),
    "light blue": (100, 160, 215),
    "green": (60, 130, 95),
    "black": (25, 25, 30),
    "red": (200, 45, 70),
}


@pytest.fixture(scope="module", params=[*THUMBNAILS, "CMU-1"])
def section(request, slides):
    """(thumbnail, its tissue, width of a pen's stroke in px)."""
    if request.param == "CMU-1":
        import tifffile

        whole = tifffile.imread(slides / "CMU-1-Small-Region.svs", series=0)
        height, width = (side // 4 * 4 for side in whole.shape[:2])
        rgb = whole[:height, :width].reshape(height // 4, 4, width // 4, 4, 3).mean(axis=(1, 3))
        rgb = rgb.astype(np.uint8)
    else:
        name, part = THUMBNAILS[request.param]
        with Image.open(slides / name) as image:
            rgb = np.asarray(image.convert("RGB"))[part]
    return rgb, TissueView.of_thumbnail(rgb).mask(), 10 if request.param == "macro" else 24


def stained(rgb, factor):
    """Optical density above the glass times a factor."""
    glass = np.percentile(rgb, 95, axis=(0, 1))
    through = np.clip(rgb / glass, 1 / 512, 1) ** factor
    return np.clip(glass * through + np.maximum(rgb - glass, 0), 0, 255).astype(np.uint8)


def lit(rgb, least):
    """Light that falls off linearly to one side."""
    return (rgb * np.linspace(1, least, rgb.shape[1])[None, :, None]).astype(np.uint8)


@lru_cache(maxsize=2)
def strokes(height, width, place, width_px):
    """How much ink is where: (height, width), 1 as it is."""
    y, x = np.mgrid[:height, :width]
    if place == "glass":
        y_px, x_px = 0.05 * height + 8 * np.sin(x / 40), 0.05 * width + 8 * np.sin(y / 50)
        away = np.minimum(np.abs(y - y_px), np.abs(x - x_px))
    else:
        slanted = y - 0.5 * height - 0.2 * (x - 0.5 * width) - 12 * np.sin(x / 60)
        away = np.minimum(np.abs(slanted), np.abs(x - 0.55 * width - 0.3 * (y - 0.5 * height)))
    blots = ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 1, (height, width)), 12)
    amount = np.clip((width_px / 2 - away) / 2 + 0.5, 0, 1)
    return amount * np.clip(1 + 0.12 * blots / blots.std(), 0.5, 1.5)


def written_on(rgb, colour, place, width_px):
    """Strokes of a felt pen, seen through: (changed thumbnail, where the ink is)."""
    amount = strokes(*rgb.shape[:2], place, width_px)
    inked, through = amount > 0, (np.array(colour) + 1) / 256
    marked = rgb.copy()
    marked[inked] = (rgb[inked] * through ** amount[inked][:, None]).astype(np.uint8)
    return marked, amount > 0.3


def agreement(found, expected):
    return (found & expected).sum() / (found | expected).sum()


@pytest.mark.parametrize(
    ("change", "least"),
    [
        (lambda rgb: stained(rgb, 0.3), 0.97),
        (lambda rgb: stained(rgb, 0.15), 0.94),
        (lambda rgb: stained(rgb, 2.0), 0.97),
        (lambda rgb: lit(rgb, 0.4), 0.96),
    ],
    ids=["faint", "very faint", "dense", "shaded"],
)
def test_tissue_is_the_same_in_other_stains_and_light(change, least, section):
    rgb, expected, width_px = section
    if (
        width_px == 10
    ):  # a line of one pixel round the macro image's small pieces is a tenth of them
        least -= 0.18
    assert agreement(TissueView.of_thumbnail(change(rgb)).mask(), expected) > least


@pytest.mark.parametrize("name", INKS)
def test_pen_marks_are_left_out_and_tissue_beside_them_is_not(name, section):
    rgb, expected, width_px = section
    marked, on_glass = written_on(rgb, INKS[name], "glass", width_px)
    marked, on_tissue = written_on(marked, INKS[name], "tissue", width_px)
    ink = on_glass | on_tissue
    view = TissueView.of_thumbnail(marked)
    found = view.mask()
    assert (found & ink & ~expected).sum() < 0.03 * ink.sum()  # ink on glass is no tissue
    near = ndimage.binary_dilation(ink, iterations=3)
    assert agreement(found & ~near, expected & ~near) > 0.95
    assert (view.marks & ink & ~expected).sum() > 0.95 * (ink & ~expected).sum()
    assert not (view.marks & ~ndimage.binary_dilation(ink, iterations=8) & expected).sum() > (
        0.015 * expected.sum()  # CMU-1 has green margin dye of its own
    )


@pytest.mark.parametrize(
    ("name", "strength"),
    [("blue", 0.5), ("blue", 1.6), ("green", 1.0), ("black", 0.5), ("red", 0.5), ("red", 1.6)],
)
def test_ink_is_followed_across_tissue(name, strength, section):
    rgb, _, width_px = section
    rgb = stained(rgb, strength)
    expected = TissueView.of_thumbnail(rgb).mask()
    marked, ink = written_on(rgb, INKS[name], "tissue", width_px)
    marks = TissueView.of_thumbnail(marked).marks
    assert (marks & ink & expected).sum() > 0.9 * (ink & expected).sum()
    beside = marks & expected & ~ndimage.binary_dilation(ink, iterations=8)
    assert beside.sum() < 0.015 * expected.sum()


@pytest.mark.parametrize(("name", "strength"), [("C2", 1.0), ("C3", 0.5), ("C4", 0.5)])
def test_red_ink_that_takes_a_good_part_of_a_section_is_followed(name, strength, slides):
    """The plane of the stains that fits best is drawn to so much ink, whose colour is not far from it."""
    with Image.open(slides / f"{name}-thumbnail.jpg") as image:
        rgb = stained(np.asarray(image), strength)
    clean = TissueView.of_thumbnail(rgb)
    expected = clean.mask()
    marked, ink = written_on(rgb, INKS["red"], "tissue", 24)
    marks = TissueView.of_thumbnail(marked).marks
    assert (marks & ink & expected).sum() > 0.95 * (ink & expected).sum()
    assert not (marks & expected & ~ndimage.binary_dilation(ink, iterations=8)).any()
    assert not clean.marks.any()


def test_pigment_that_touches_no_mark_is_tissue(section):
    rgb, expected, _ = section
    marked, _ink = written_on(rgb, INKS["red"], "glass", 10)
    alone = TissueView.of_thumbnail(marked).marks
    # melanin: patches in the tissue that absorb blue most and red much
    y, x = np.argwhere(ndimage.binary_erosion(expected, iterations=10)).T
    away = np.full(expected.shape, np.inf)
    for place in np.linspace(0, len(y) - 1, 6).astype(int):
        grid_y, grid_x = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
        away = np.minimum(away, np.hypot(grid_y - y[place], grid_x - x[place]))
    patch = (away < 8) & expected & ~ndimage.binary_dilation(alone, iterations=4)
    melanin = (np.array([120, 85, 60]) + 1) / 256
    pigmented = (marked * np.where(patch[..., None], melanin, 1)).astype(np.uint8)
    marks = TissueView.of_thumbnail(pigmented).marks
    assert (marks & patch).sum() < 0.02 * patch.sum()


def test_tissue_without_ink_has_none(section):
    rgb, expected, _ = section
    for changed in (rgb, stained(rgb, 2.0), stained(rgb, 0.3), lit(rgb, 0.4)):
        marks = TissueView.of_thumbnail(changed).marks
        assert (marks & expected).sum() < 0.01 * expected.sum()


def test_a_thumbnail_of_a_few_pixels_or_one_colour_has_no_ink():
    for size in ((5, 5), (33, 47), (300, 300)):
        for value in (0, 120, 255):
            rgb = np.full((*size, 3), value, np.uint8)
            view = TissueView.of_thumbnail(rgb)
            assert view.marks.shape == size
            assert not view.marks.any()
            assert not view.mask().any()


def test_what_was_left_out_is_told_with_its_area(slides, tmp_path, opened):
    with Image.open(slides / "C5-thumbnail.jpg") as image:
        rgb = np.asarray(image)
    marked, ink = written_on(rgb, INKS["black"], "glass", 24)
    mpp = Mpp.square(8 * 0.6907)
    for name, pixels in (("clean.png", rgb), ("marked.png", marked)):
        Image.fromarray(pixels).save(tmp_path / name)
    assert find_tissue(opened(tmp_path / "clean.png", mpp)).note == ""
    found = find_tissue(opened(tmp_path / "marked.png", mpp))
    ink_mm2 = ink.sum() * (mpp.x_um / 1000) ** 2
    assert ink_mm2 < found.marks_mm2 < 1.4 * ink_mm2
    assert found.note == f"Pen marks were left out ({found.marks_mm2:.2f} mm2)."
    assert find_tissue(opened(tmp_path / "marked.png")).note == ""  # of unknown area


@pytest.mark.parametrize(
    ("name", "least"),
    # pale blue on the densest tissue is missed, and red that touches no glass: see pen_marks
    [("blue", 0.9), ("light blue", 0.75), ("green", 0.9), ("black", 0.9)],
)
def test_ink_is_left_out_of_a_crop_without_glass(name, least, slides):
    with Image.open(slides / "C5-crop.jpg") as image:
        rgb = np.asarray(image)[300:900, 500:1100]
    marked, ink = written_on(rgb, INKS[name], "tissue", 24)
    view = TissueView.of_thumbnail(marked)
    assert not view.has_glass
    assert (view.marks & ink).sum() > least * ink.sum()
    beside = ~ndimage.binary_dilation(ink, iterations=8)
    assert (view.marks & beside).sum() < 0.015 * beside.sum()
    np.testing.assert_array_equal(view.mask(), ~view.marks)


def test_more_sensitivity_finds_more(section):
    view = TissueView.of_thumbnail(section[0])
    areas = [view.mask(sensitivity).mean() for sensitivity in (0, 50, 100)]
    assert areas == sorted(areas)
    assert areas[0] < 0.98 * areas[2]
    assert view.mask(50).mean() == section[1].mean()


def test_small_pieces_are_left_out_as_asked(svs_path, opened):
    slide = opened(svs_path)
    mpp = slide.require_mpp()
    few, many = (find_tissue(slide, TissueSettings(50, least)).regions for least in (0.05, 0.0))
    assert len(few) < len(many)
    assert min(region.area_mm2(mpp) for region in few) >= 0.05
    with pytest.raises(RegionError, match=r"largest piece of tissue on .*\.svs has"):
        find_tissue(slide, TissueSettings(min_area_mm2=50))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sensitivity": 101}, "sensitivity must be a whole number from 0 to 100, not 101"),
        ({"min_area_mm2": -1.0}, "min_area_mm2 must be a number from 0 to 10,000, not -1"),
        ({"min_area_mm2": float("inf")}, "min_area_mm2 must be a number from 0"),
    ],
)
def test_impossible_settings_are_refused(wrong, said):
    with pytest.raises(RegionError, match=said):
        TissueSettings(**wrong)
