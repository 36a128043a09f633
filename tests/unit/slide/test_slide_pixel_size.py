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
from napari_stem.slide.scale_check import check_scale, median_width_px


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
    (file,) = (cache / "pixel-sizes").iterdir()
    for text in ("{", "[]", json.dumps({"mpp_um": [0, 0]})):
        file.write_text(text)
        assert remembered(fingerprint) is None
    shutil.rmtree(cache)
    cache.write_text("a file")
    remember(fingerprint, Mpp.square(0.5))
    assert "cannot be remembered" in caplog.text


def test_width_of_discs_and_bars():
    y, x = np.mgrid[:400, :400]
    discs = ((y % 50 - 25) ** 2 + (x % 50 - 25) ** 2) < 10.5**2
    assert median_width_px([discs]) == pytest.approx(21, abs=2.5)
    bars = (x % 40) < 12
    assert median_width_px([bars]) == pytest.approx(12, abs=2)
    assert median_width_px([np.zeros((9, 9), bool)]) is None


@pytest.mark.parametrize(
    ("name", "mpp_um", "factor", "is_wrong"),
    [
        ("CMU-1-Small-Region.svs", 0.499, 1, False),
        ("CMU-1-Small-Region.svs", 0.499, 0.5, True),
        ("CMU-1-Small-Region.svs", 0.499, 4, None),  # pixels of 2 um show no nuclei
        ("C5-crop.jpg", 0.6907, 1, False),
        ("C5-crop.jpg", 0.6907, 2, True),
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
        assert 5 <= found.width_um <= 12
    assert json.loads(json.dumps(found.as_json()))["width_um"] == found.width_um


def test_glass_has_no_nuclei(tmp_path, opened, jpeg_path):
    path = tmp_path / "glass.png"
    Image.fromarray(np.full((900, 900, 3), 240, np.uint8)).save(path)
    found = check_scale(opened(path, Mpp.square(0.5)))
    assert found.width_um is None
    assert "too few" in found.told
    with pytest.raises(MissingMppError):
        check_scale(opened(jpeg_path))
