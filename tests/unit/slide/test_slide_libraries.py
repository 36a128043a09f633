"""Readers that come with extras: OpenSlide (DICOM, and as a witness) and pylibCZIrw."""

from __future__ import annotations

import shutil
import sys

import anndata
import numpy as np
import pytest
from damage import damaged, opened_and_read
from vendor_files import write_vms

from napari_stem.errors import SlideError
from napari_stem.geometry import Mpp, SizePx
from napari_stem.slide import describe, open_slide
from napari_stem.spatial.dataset import MPP_KEY
from napari_stem.spatial.importing import NewSection, import_sections


@pytest.fixture
def dicom(slides):
    pytest.importorskip("openslide")
    return slides / "CMU-1-Small-Region-dicom"


def test_a_folder_of_dicom_files_and_each_of_them_is_the_slide(dicom, opened):
    import openslide

    slide = opened(dicom)
    assert (slide.reader, slide.vendor, slide.mpp) == ("openslide", "dicom", Mpp.square(0.499))
    assert slide.mpp_sources[0].source == "DICOM PixelSpacing"
    assert set(slide.associated) == {"label", "macro", "thumbnail"}
    file = next(dicom.glob("*.dcm"))
    with openslide.OpenSlide(file) as osr:
        expected = np.asarray(osr.read_region((300, 500), 0, (200, 100)))[..., :3]
        label = np.asarray(osr.associated_images["label"])[..., :3]
    np.testing.assert_array_equal(slide.read_region(300, 500, 0, SizePx(100, 200)), expected)
    np.testing.assert_array_equal(slide.associated["label"].whole(), label)
    assert {opened(each).fingerprint for each in dicom.glob("*.dcm")} == {slide.fingerprint}


def test_dicom_and_svs_show_the_same_tissue(dicom, svs_path, opened):
    one, other = (opened(p).levels[-1].pixels.compute().astype(int) for p in (dicom, svs_path))
    assert np.abs(one - other).mean() < 2  # compressed anew


def test_a_closed_dicom_slide_says_so(dicom):
    slide = open_slide(dicom)
    slide.close()
    with pytest.raises(SlideError, match="already closed"):
        slide.read_region(0, 0, 0, SizePx(10, 10))
    with pytest.raises(SlideError, match="already closed"):
        slide.associated["label"].whole()


def test_a_folder_with_two_dicom_slides_asks_which(dicom, tmp_path):
    files = sorted(dicom.glob("*.dcm"))
    shutil.copy(files[0], tmp_path)
    data = files[1].read_bytes()
    at = data.index(b"\x20\x00\x0e\x00UI") + 8
    changed = data[:at] + data[at : at + 40].replace(b"1", b"9") + data[at + 40 :]
    (tmp_path / "other.dcm").write_bytes(changed)
    with pytest.raises(SlideError, match="holds 2 slides; name a file of one of them"):
        open_slide(tmp_path)


@pytest.mark.parametrize(
    ("code", "is_refused"),
    [
        ("raise SystemExit(0)", False),
        ("raise SystemExit(1)", False),
        ("import os; os.abort()", True),
    ],
)
def test_a_dicom_file_that_openslide_does_not_survive_is_refused(
    code, is_refused, dicom, monkeypatch
):
    monkeypatch.setattr("napari_stem.slide.openslide_reader.PROBE_CODE", code)
    file = next(dicom.glob("*.dcm"))
    if is_refused:
        with pytest.raises(SlideError, match="in a way that OpenSlide does not survive"):
            open_slide(file)
    else:  # what a child finds wrong is told by whoever reads
        open_slide(file).close()


def test_telling_what_is_known_of_a_dicom_file_probes_it_once(dicom, tmp_path, monkeypatch):
    probes = tmp_path / "probes"
    code = f"import sys; open({str(probes)!r}, 'a').write(sys.argv[1] + chr(10))"
    monkeypatch.setattr("napari_stem.slide.openslide_reader.PROBE_CODE", code)
    assert describe(next(dicom.glob("*.dcm")))["readers"]["openslide"] is None
    assert len(probes.read_text().splitlines()) == 1


def test_this_process_survives_a_header_that_openslide_does_not(dicom, tmp_path, cache):
    largest = max(dicom.glob("*.dcm"), key=lambda p: p.stat().st_size)
    path = tmp_path / "fuzzed.dcm"
    path.write_bytes(damaged(largest.read_bytes(), "header", 212))  # OpenSlide 4.0.1 crashes on it
    told = opened_and_read(path)
    assert told is None or "fuzzed.dcm" in told


def test_a_damaged_dicom_file_is_told_at_the_latest_when_it_is_read(dicom, tmp_path):
    largest = max(dicom.glob("*.dcm"), key=lambda p: p.stat().st_size)
    whole = largest.read_bytes()
    path = tmp_path / "cut.dcm"
    for n_bytes in (200, 1000, 3000, 500_000, len(whole) - 1000):
        path.write_bytes(whole[:n_bytes])
        with pytest.raises(SlideError, match=r"cut\.dcm"):
            open_slide(path).levels[0].pixels.compute()


def test_without_openslide_its_formats_say_what_to_install(slides, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(
        SlideError, match=r"OpenSlide, which is not installed.*napari-stem\[openslide\]"
    ):
        open_slide(slides / "CMU-1-Small-Region-dicom")
    mrxs = tmp_path / "slide.mrxs"
    mrxs.write_bytes(b"nothing known")
    with pytest.raises(SlideError, match=r"napari-stem\[openslide\]"):
        describe(mrxs)
    assert "not installed" in describe(slides / "C5-crop.jpg")["readers"]["openslide"]


@pytest.fixture(scope="module")
def czi_path(pixels, tmp_path_factory):
    czi = pytest.importorskip("pylibCZIrw.czi")
    path = tmp_path_factory.mktemp("czi") / "slide.czi"
    with czi.create_czi(str(path)) as document:
        for top, left in ((0, 0), (0, 700), (600, 0), (600, 700)):  # a mosaic with its own origin
            tile = np.ascontiguousarray(pixels[top : top + 600, left : left + 700, ::-1])
            document.write(tile, location=(left - 1000, top + 50), plane={"C": 0})
        document.write_metadata("slide", scale_x=0.22e-6, scale_y=0.22e-6, scale_z=1e-6)
    return path


def test_czi(czi_path, pixels, opened):
    slide = opened(czi_path)
    assert (slide.reader, slide.vendor) == ("czi", "zeiss")
    assert slide.mpp.x_um == pytest.approx(0.22)
    assert slide.mpp_sources[0].source == "CZI scaling"
    np.testing.assert_array_equal(slide.levels[0].pixels.compute(), pixels[:1200, :1400])
    assert [level.downsample for level in slide.levels] == [1, 2]
    coarse = slide.levels[1].pixels.compute().astype(float)
    halved = pixels[:1200, :1400].reshape(600, 2, 700, 2, 3).mean(axis=(1, 3))
    assert np.abs(coarse - halved).mean() < 12  # libCZI takes the nearest pixel
    slide.close()
    with pytest.raises(SlideError, match="closed"):
        slide.read_region(0, 0, 0, SizePx(5, 5))


def test_czi_without_its_library_or_cut_short(czi_path, tmp_path, monkeypatch):
    cut = tmp_path / "cut.czi"
    cut.write_bytes(czi_path.read_bytes()[:5000])
    with pytest.raises(SlideError, match=r"cut\.czi is a damaged or incomplete CZI"):
        open_slide(cut)
    monkeypatch.setitem(sys.modules, "pylibCZIrw", None)
    with pytest.raises(SlideError, match=r"pylibCZIrw, which is not installed.*napari-stem\[czi\]"):
        open_slide(czi_path)  # OpenSlide cannot read this one


def test_slides_whose_index_is_alike_are_told_apart(pixels, tmp_path):
    pytest.importorskip("openslide")
    fingerprints = set()
    for name, shown in (("one", pixels[:192, :256]), ("other", pixels[500:692, :256])):
        (tmp_path / name).mkdir()
        write_vms(tmp_path / name / "slide.vms", shown)
        fingerprints.add(describe(tmp_path / name / "slide.vms")["fingerprint"])
    assert len(fingerprints) == 2


@pytest.mark.parametrize("how", ["changed or replaced", "gone away"])
@pytest.mark.parametrize("kind", ["vms", "DICOM folder", "DICOM file"])
def test_a_file_of_a_slide_that_changes_while_it_is_open(
    kind, how, dicom, pixels, tmp_path, opened
):
    shutil.copytree(dicom, tmp_path / "slide")
    path = tmp_path / "slide"
    *others, part = sorted(path.iterdir(), key=lambda file: file.stat().st_size)
    if kind == "DICOM file":
        path = others[0]
    elif kind == "vms":
        path, part = tmp_path / "slide" / "index.vms", tmp_path / "slide" / "pixels.jpg"
        write_vms(path, pixels[:192, :256])
    slide = opened(path)
    slide.read_region(0, 0, 0, SizePx(50, 50))
    if how == "gone away":
        part.rename(tmp_path / "elsewhere")
    else:
        part.write_bytes(part.read_bytes()[:-1] + b"x")
    words = rf"^{path.name} (has|was) {how} while it was open"
    with pytest.raises(SlideError, match=words):
        slide.read_region(0, 0, 0, SizePx(50, 50))
    if kind != "vms":
        with pytest.raises(SlideError, match=words):
            slide.associated["label"].whole()


@pytest.mark.parametrize("kind", ["vms", "DICOM folder", "DICOM label"])
def test_a_slide_of_several_files_is_not_imported_as_one(kind, dicom, pixels, tmp_path):
    """A section has one image file: linked alone it could not be read, and would be said to be imported."""
    image, out = dicom, tmp_path / "dataset"
    if kind == "vms":
        image = tmp_path / "C3.vms"
        write_vms(image, pixels[:192, :256])
    elif kind == "DICOM label":
        image = min(dicom.glob("*.dcm"), key=lambda path: path.stat().st_size)
    table = anndata.AnnData(
        np.ones((2, 1), np.float32), obsm={"spatial": np.array([[20.0, 20], [90, 90]])}
    )
    section = NewSection("S1", image, table, {MPP_KEY: 0.5})
    outcome = import_sections({"S1": lambda: section}, out)
    assert outcome.sections == []
    assert "export it as a tiled TIFF or OME-TIFF" in outcome.failed["S1"]
    assert image.name in outcome.failed["S1"]
    assert not [path for path in out.rglob("*") if path.is_file()]
