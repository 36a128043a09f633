"""Pixel size: many sources, their conflicts, the user's answer, and the tissue's own scale."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_stem.errors import MissingMppError
from napari_stem.geometry import Mpp
from napari_stem.slide import describe
from napari_stem.slide.pixel_size import MppSource, conflict, remember, remembered, source_of
from napari_stem.slide.scale_check import (
    check_scale,
    known_check,
    median_width_px,
    nuclei,
)


def test_sources_that_agree_are_no_conflict():
    one = MppSource("Aperio MPP", Mpp.square(0.499))
    assert conflict([]) is None
    assert conflict([one, MppSource("resolution tag", Mpp.square(0.5))]) is None
    told = conflict([one, MppSource("resolution tag", Mpp(y_um=0.25, x_um=0.499))])
    assert (
        "disagree by a factor of 2 (Aperio MPP: 0.499 um; resolution tag: 0.499 x 0.25 um)" in told
    )
    assert "Aperio MPP is used" in told


def test_nonsense_is_no_source():
    for y, x in (("0", "0"), ("nan", "1"), (None, 1), ("", ""), (1e6, 1e6), (-0.5, 0.5)):
        assert source_of("x", y, x) == ()
    assert source_of("x", "0,25", " 0.25 ")[0].mpp == Mpp.square(0.25)


def test_the_file_disagrees_with_itself(pixels, tmp_path, opened):
    path = tmp_path / "slide.svs"
    tifffile.imwrite(
        path,
        pixels[:600, :600],
        tile=(256, 256),
        photometric="rgb",
        description="Aperio Image Library v1\r\n600x600|AppMag = 40|MPP = 0.25",
        resolution=(20_000, 20_000),
        resolutionunit="centimeter",
        metadata=None,
    )
    told = describe(path)
    assert told["mpp"] == [0.25, 0.25]
    assert told["mpp_sources"] == [
        {"source": "Aperio MPP", "mpp_um": [0.25, 0.25]},
        {"source": "resolution tag", "mpp_um": [0.5, 0.5]},
    ]
    assert "disagree by a factor of 2" in told["mpp_conflict"]
    stated = describe(path, Mpp.square(0.5))
    assert stated["mpp_sources"][0]["source"] == "stated by you"
    assert opened(path).mpp_sources[0].source == "Aperio MPP"


@pytest.mark.parametrize("tag_um", [0.5, None])
def test_a_placeholder_gives_way_to_a_plausible_tag(tag_um, pixels, tmp_path, cache):
    folder = tmp_path / "wsis"
    folder.mkdir()
    path = folder / "slide.ome.tif"
    per_cm = {} if tag_um is None else {"resolution": (1e4 / tag_um,) * 2, "resolutionunit": 3}
    about = {"PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0}
    tifffile.imwrite(path, pixels[:300, :300], photometric="rgb", metadata=about, **per_cm)
    sidecar = tmp_path / "metadata" / "slide.ome.json"
    sidecar.parent.mkdir()
    sidecar.write_text('{"pixel_size_um_estimated": 1.0}')
    told = describe(path)
    sources = [each["source"] for each in told["mpp_sources"]]
    placeholders = ["metadata of the data set", "OME PhysicalSize"]
    assert sources == ([] if tag_um is None else ["resolution tag"]) + placeholders
    assert told["mpp"] == [tag_um or 1.0] * 2
    remember(told["fingerprint"], Mpp.square(1.0))  # the user's word is none
    assert describe(path)["mpp_sources"][0]["source"] == "your earlier answer"
    assert describe(path, Mpp.square(1.0))["mpp_sources"][0]["source"] == "stated by you"


def test_imagej_keeps_its_unit_apart(pixels, tmp_path, opened):
    path = tmp_path / "imagej.tif"
    tifffile.imwrite(
        path, pixels[:300, :300], imagej=True, resolution=(2.0, 4.0), metadata={"unit": "um"}
    )
    slide = opened(path)
    assert slide.mpp == Mpp(y_um=0.25, x_um=0.5)
    assert [each.source for each in slide.mpp_sources] == ["ImageJ unit"]


def test_an_answer_is_remembered_by_content(jpeg_path, tmp_path, cache, opened):
    slide = opened(jpeg_path)
    assert slide.mpp is None
    assert remembered(slide.fingerprint) is None
    remember(slide.fingerprint, Mpp(y_um=0.69, x_um=0.7))
    copy = tmp_path / "renamed.jpg"
    shutil.copy(jpeg_path, copy)
    assert opened(copy).mpp == Mpp(y_um=0.69, x_um=0.7)
    told = describe(copy)
    assert told["mpp_sources"] == [{"source": "your earlier answer", "mpp_um": [0.69, 0.7]}]
    assert describe(copy, Mpp.square(1.0))["mpp"] == [1.0, 1.0]
    remember(slide.fingerprint, None)
    assert describe(copy)["mpp"] is None


def test_a_damaged_or_unwritable_memory_is_no_obstacle(jpeg_path, cache, opened, caplog):
    fingerprint = describe(jpeg_path)["fingerprint"]
    remember(fingerprint, Mpp.square(0.5))
    (file,) = (cache / "answers").iterdir()
    for text in ("{", "[]", json.dumps({"mpp_um": [0, 0]})):
        file.write_text(text)
        assert remembered(fingerprint) is None
    shutil.rmtree(cache)
    cache.write_text("a file")
    remember(fingerprint, Mpp.square(0.5))
    assert "cannot be remembered" in caplog.text


def ellipses(width_px: float, length_px: float, side_px: int = 600) -> np.ndarray:
    """Dark ellipses far apart on pale ground: (side, side, 3) uint8."""
    y, x = np.mgrid[:side_px, :side_px]
    step = 2 * round(length_px) + 8
    across, along = y % step - step / 2, x % step - step / 2
    inside = (2 * across / width_px) ** 2 + (2 * along / length_px) ** 2 < 1
    grey = np.where(inside, 90, 220).astype(np.uint8)
    return np.repeat(grey[..., np.newaxis], 3, axis=2)


@pytest.mark.parametrize("width_px", [6.0, 12.0, 24.0])
def test_single_nuclei_are_as_wide_as_they_are(width_px):
    windows = [ellipses(width_px, 1.5 * width_px)] * 2
    # with the rim that smoothing gives them: the lowest level counts
    assert width_px < median_width_px(windows) < width_px + 2.5


def test_fibres_clusters_and_glass_are_no_nuclei():
    y, x = np.mgrid[:400, :400]
    clusters = np.zeros((400, 400), bool)
    for top, left in ((20, 20), (20, 48), (48, 20)):
        clusters |= (y % 80 - top) ** 2 + (x % 80 - left) ** 2 < 15**2
    for dark in (clusters, (x % 40) < 12, np.zeros((400, 400), bool)):
        grey = np.where(dark, 90, 220).astype(np.uint8)
        assert len(nuclei(np.repeat(grey[..., np.newaxis], 3, axis=2))) == 0
    assert len(nuclei(ellipses(12, 30))) == 0  # long ones are fibroblasts, cut anyhow
    assert median_width_px([ellipses(12, 18, 100)]) is None  # too few
    assert median_width_px([]) is None


@pytest.mark.parametrize(
    ("name", "mpp_um", "factor", "is_wrong"),
    [
        ("CMU-1-Small-Region.svs", 0.499, 1, False),
        ("CMU-1-Small-Region.svs", 0.499, 0.5, True),
        ("CMU-1-Small-Region.svs", 0.499, 2, True),
        ("CMU-1-Small-Region.svs", 0.499, 0.25, True),
        ("CMU-1-Small-Region.svs", 0.499, 4, True),
        ("CMU-1-Small-Region-dicom", 0.499, 1, False),
        ("CMU-1-Small-Region-dicom", 0.499, 2, True),
        ("CMU-1-Small-Region-dicom", 0.499, 0.5, True),
        ("C2-thumbnail.jpg", 5.5, 0.9, None),  # pixels of 5 um show no nuclei
        ("C2-thumbnail.jpg", 5.5, 0.5, None),
        ("C5-crop.jpg", 0.6907, 1, False),
        ("C5-crop.jpg", 0.6907, 0.5, True),
        ("C5-crop.jpg", 0.6907, 2, True),
        ("C5-crop.jpg", 0.6907, 4, True),
        ("C5-crop.jpg", 0.6907, 0.25, True),
    ],
)
def test_nuclei_tell_a_wrong_pixel_size(name, mpp_um, factor, is_wrong, slides, opened):
    found = check_scale(opened(slides / name, Mpp.square(mpp_um * factor)))
    if is_wrong is None:
        assert found.width_um is None
        assert "cannot be measured" in found.told
        return
    assert (found.warning is not None) == is_wrong
    if is_wrong:
        assert name in found.warning
        assert "the pixel size may be wrong by a factor of" in found.warning
    else:
        assert 4.7 <= found.width_um <= 7.5
    assert json.loads(json.dumps(found.as_json()))["width_um"] == found.width_um


def test_glass_has_no_nuclei(tmp_path, opened, jpeg_path):
    path = tmp_path / "glass.png"
    Image.fromarray(np.full((900, 900, 3), 240, np.uint8)).save(path)
    found = check_scale(opened(path, Mpp.square(0.5)))
    assert found.width_um is None
    assert "too few" in found.told
    with pytest.raises(MissingMppError):
        check_scale(opened(jpeg_path))


@pytest.mark.parametrize("reduction", [1.41, 2.0])
@pytest.mark.parametrize(
    ("name", "mpp_um"), [("CMU-1-Small-Region.svs", 0.499), ("C5-crop.jpg", 0.6907)]
)
def test_a_coarser_scan_of_the_same_tissue_shows_the_same_nuclei(
    name, mpp_um, reduction, slides, tmp_path, opened
):
    whole = opened(slides / name, Mpp.square(mpp_um))
    picture = Image.fromarray(whole.read_region(0, 0, 0, whole.size))
    size = (round(picture.width / reduction), round(picture.height / reduction))
    path = tmp_path / "coarse.png"
    picture.resize(size, Image.Resampling.BOX).save(path)
    coarse, true_um = opened(path), mpp_um * reduction
    assert check_scale(coarse, Mpp.square(true_um)).warning is None
    assert check_scale(coarse, Mpp.square(true_um / 2)).warning is not None
    if 2 * true_um <= 1.5:
        assert check_scale(coarse, Mpp.square(2 * true_um)).warning is not None


def test_a_slide_is_measured_once_for_each_pixel_size(slides, opened, monkeypatch):
    monkeypatch.setattr("napari_stem.slide.scale_check._known", {})
    slide = opened(slides / "C5-crop.jpg", Mpp.square(0.345))
    record = known_check(slide).as_json()
    assert record == check_scale(slide).as_json()
    monkeypatch.setattr("napari_stem.slide.scale_check.check_scale", None)  # asked no more
    again = opened(slides / "C5-crop.jpg", Mpp.square(0.345))
    assert known_check(again).as_json() == record
    again.mpp = Mpp.square(0.6907)
    with pytest.raises(TypeError):
        known_check(again)
