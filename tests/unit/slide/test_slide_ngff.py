"""OME-Zarr 0.4 and 0.5, SpatialData and bioformats2raw layouts; folders, zip files and URLs."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import zarr

from napari_stem.errors import MissingMppError, SlideError
from napari_stem.geometry import Mpp, PatchSpec, SizePx
from napari_stem.slide import describe, open_slide
from napari_stem.slide.display import Pyramid
from napari_stem.slide.patches import Look, PatchReader

AXES = {"yxc": (0, 1, 2), "cyx": (2, 0, 1)}


@pytest.fixture(scope="session")
def crop(pixels):
    return np.ascontiguousarray(pixels[400:1430, 300:1590])


def write(root, pixels, *, version="0.5", path="", axes="cyx", unit="micrometer", mpp=0.4, n=2):
    """By the specification, with zarr alone; units in micrometre unless said otherwise."""
    group = zarr.open_group(root, mode="a", zarr_format=2 if version == "0.4" else 3)
    group = group.require_group(path) if path else group
    datasets = []
    lead = len(axes) - 3
    for level in range(n):
        data = np.transpose(pixels[:: 2**level, :: 2**level], AXES[axes[lead:]])
        data = data.reshape((1,) * lead + data.shape)
        chunks = tuple(256 if a in "yx" else size for a, size in zip(axes, data.shape, strict=True))
        array = group.create_array(str(level), shape=data.shape, chunks=chunks, dtype="uint8")
        array[...] = data
        scale = [mpp * 2**level if a in "yx" else 1.0 for a in axes]
        datasets.append(
            {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        )
    kinds = {"c": "channel", "t": "time"}
    described = [{"name": a, "type": kinds.get(a, "space")} for a in axes]
    for axis in described:
        if axis["type"] == "space" and unit:
            axis["unit"] = unit
    multiscales = [{"axes": described, "datasets": datasets, "version": version, "name": "x"}]
    if version == "0.4":
        group.attrs["multiscales"] = multiscales
    else:
        group.attrs["ome"] = {"version": version, "multiscales": multiscales}
    return root


def assert_same(slide, pixels, n=2):
    for number in range(n):
        shown = slide.levels[number].pixels.compute()
        np.testing.assert_array_equal(shown, pixels[:: 2**number, :: 2**number])
    assert max(slide.levels[-1].pixels.shape[:2]) <= 1024


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["cyx", "yxc", "tczyx"])
def test_versions_and_axes(version, axes, crop, tmp_path, cache, opened):
    if axes == "tczyx":
        root = write_5d(tmp_path / "slide.zarr", crop, version)
    else:
        root = write(tmp_path / "slide.zarr", crop, version=version, axes=axes)
    slide = opened(root)
    assert slide.reader == "ome-zarr"
    assert_same(slide, crop)
    assert (slide.mpp.y_um, slide.mpp.x_um) == pytest.approx((0.4, 0.4))
    assert slide.mpp_sources[0].source == "OME-Zarr scale"
    assert describe(root)["fingerprint"] == slide.fingerprint


def write_5d(root, pixels, version):
    write(root, pixels, version=version)
    group = zarr.open_group(root, mode="a")
    for level in ("0", "1"):
        data = group[level][:]
        del group[level]
        t_c_z = data[None, :, None]
        array = group.create_array(
            level, shape=t_c_z.shape, chunks=(1, 3, 1, 256, 256), dtype="uint8"
        )
        array[...] = t_c_z
    ome = group.attrs["ome"] if version == "0.5" else dict(group.attrs)
    multiscale = ome["multiscales"][0]
    space = {"type": "space", "unit": "micrometer"}
    multiscale["axes"] = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}] + [
        {"name": a, **space} for a in "zyx"
    ]
    for number, dataset in enumerate(multiscale["datasets"]):
        scale = [1.0, 1.0, 1.0, 0.4 * 2**number, 0.4 * 2**number]
        dataset["coordinateTransformations"] = [{"type": "scale", "scale": scale}]
    group.attrs.update({"ome": ome} if version == "0.5" else {"multiscales": [multiscale]})
    return root


def test_missing_levels_are_made(crop, tmp_path, cache, opened):
    slide = opened(write(tmp_path / "slide.zarr", crop, n=1))
    assert [level.downsample for level in slide.levels] == [1, 2]
    assert slide.properties["native_levels"] == 1
    assert not cache.exists()  # it is so small that storing it would gain nothing


def test_levels_down_to_one_pixel_are_no_overview(crop, tmp_path, opened):
    slide = opened(write(tmp_path / "slide.zarr", crop, n=11))
    assert slide.levels[-1].size == SizePx(2, 2)
    overview = slide.levels[slide.overview_level]
    assert (overview.size, overview.downsample) == (SizePx(515, 645), 2)
    small = opened(write(tmp_path / "small.zarr", crop[:300, :300], n=8))
    assert small.overview_level == 0


def test_what_is_known_of_a_slide_with_levels_down_to_one_pixel_is_its_overview(
    crop, tmp_path, opened
):
    pyramid = Pyramid(opened(write(tmp_path / "slide.zarr", crop, n=11)))
    np.asarray(pyramid.arrays[-1])
    assert pyramid.known is None  # rather than its two pixels
    np.asarray(pyramid.arrays[pyramid.overview_level])
    np.testing.assert_array_equal(pyramid.known, crop[::2, ::2])


@pytest.mark.parametrize(
    ("unit", "mpp", "expected"),
    [
        ("nanometer", 250.0, 0.25),
        ("millimeter", 0.0005, 0.5),
        (None, 1.0, None),
        ("micrometer", 1e3, None),
    ],
)
def test_units(unit, mpp, expected, crop, tmp_path, opened):
    slide = opened(write(tmp_path / "slide.zarr", crop[:300, :300], unit=unit, mpp=mpp))
    found = None if slide.mpp is None else slide.mpp.x_um
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    ("of_level", "of_all", "expected"),
    [
        (None, None, None),
        ([{"type": "identity"}], None, None),
        ([{"type": "translation", "translation": [0, 5, 5]}], None, None),
        ([{"type": "scale", "scale": [1, 1, 1]}], [{"type": "identity"}], None),
        ([{"type": "scale", "scale": [1, 1, 1]}], [{"type": "scale", "scale": [1, 0.5, 0.5]}], 0.5),
        ([{"type": "scale", "scale": [1, 0.5, 0.5]}], None, 0.5),
    ],
)
def test_levels_without_a_scale_are_of_no_known_size(
    version, of_level, of_all, expected, crop, tmp_path, opened
):
    root = write(tmp_path / "slide.zarr", crop[:300, :300], version=version, n=1)
    group = zarr.open_group(root, mode="a")
    about = group.attrs.asdict()
    multiscale = about.get("ome", about)["multiscales"][0]
    for place, told in ((multiscale["datasets"][0], of_level), (multiscale, of_all)):
        place.pop("coordinateTransformations", None)
        if told is not None:
            place["coordinateTransformations"] = told
    group.attrs.update(about)
    slide = opened(root)
    assert (None if slide.mpp is None else slide.mpp.x_um) == expected
    if expected is None:
        with pytest.raises(MissingMppError, match="--mpp"):
            slide.require_mpp()


def test_written_by_ome_zarr_py(crop, tmp_path, opened):
    writer = pytest.importorskip("ome_zarr.writer")
    root = tmp_path / "slide.zarr"
    data = np.transpose(crop, (2, 0, 1))
    group = zarr.open_group(root, mode="w")
    writer.write_image(data, group, axes="cyx")
    slide = opened(root)
    np.testing.assert_array_equal(slide.levels[0].pixels.compute(), crop)
    assert slide.mpp is None


def test_spatialdata_images(crop, tmp_path, opened):
    root = tmp_path / "data.zarr"
    write(root, crop[:400, :500], path="images/lowres", unit=None, mpp=1.0)
    write(root, crop, path="images/full", unit=None, mpp=1.0)
    image = zarr.open_group(root / "images" / "full", mode="a")
    ome = dict(image.attrs["ome"])
    ome["multiscales"][0]["coordinateTransformations"] = [
        {"type": "identity", "output": {"name": "global"}},
        {"type": "scale", "scale": [1.0, 0.3, 0.3], "output": {"name": "micron"}},
    ]
    image.attrs["ome"] = ome
    slide = opened(root)
    assert slide.properties["image"] == "images/full"  # the largest
    assert_same(slide, crop)
    assert slide.mpp.x_um == pytest.approx(0.3)
    assert_same(opened(root / "images" / "lowres"), crop[:400, :500])


def test_bioformats2raw_layout(crop, tmp_path, opened):
    root = tmp_path / "raw.zarr"
    write(root, crop, version="0.4", path="0")
    write(root, crop[:200, :200], version="0.4", path="1")
    group = zarr.open_group(root, mode="a")
    group.attrs["bioformats2raw.layout"] = 3
    group.require_group("OME").attrs["series"] = ["0", "1"]
    slide = opened(root)
    assert slide.properties["image"] == "0"
    assert_same(slide, crop)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_zip_files_and_urls(version, crop, tmp_path, opened):
    root = write(tmp_path / "slide.zarr", crop, version=version)
    shutil.make_archive(str(tmp_path / "flat.zarr"), "zip", root)
    shutil.make_archive(str(tmp_path / "nested"), "zip", tmp_path, "slide.zarr")
    for place in (
        tmp_path / "flat.zarr.zip",
        tmp_path / "nested.zip",
        root.as_uri(),
        f"local://{root}",
        f"file:{root}",
    ):
        slide = opened(place)
        assert_same(slide, crop)
        assert slide.reader == "ome-zarr"


def test_memory_url(crop, opened):
    fsspec = pytest.importorskip("fsspec")
    store = zarr.storage.FsspecStore.from_url("memory://slides/a.zarr")
    write(store, crop)
    slide = opened("memory://slides/a.zarr")
    assert_same(slide, crop)
    assert slide.path.name == "a.zarr"
    with pytest.raises(
        SlideError, match=r"memory://slides/none\.zarr cannot be read.*check the URL"
    ):
        open_slide("memory://slides/none.zarr")
    fsspec.filesystem("memory").rm("/slides", recursive=True)


def test_what_is_no_rgb_image_says_so(crop, tmp_path):
    deep = tmp_path / "deep.zarr"
    group = zarr.open_group(deep, mode="w")
    group.create_array("0", shape=(3, 64, 64), dtype="uint16")
    axes = [{"name": a} for a in "cyx"]
    multiscale = {"axes": axes, "datasets": [{"path": "0"}]}
    group.attrs["ome"] = {"multiscales": [multiscale]}
    with pytest.raises(SlideError, match=r"deep\.zarr stores uint16 pixels, not 8-bit RGB"):
        open_slide(deep)
    stack = write(tmp_path / "stack.zarr", crop[:64, :64])
    metadata = json.loads((stack / "zarr.json").read_text())
    metadata["attributes"]["ome"]["multiscales"][0]["axes"][0]["name"] = "z"
    (stack / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(SlideError, match=r"stack\.zarr is not one RGB image .*z 3"):
        open_slide(stack)
    table = tmp_path / "table.zarr"
    zarr.open_group(table, mode="w").create_array("X", shape=(3,), dtype="uint8")
    with pytest.raises(SlideError, match=r"table\.zarr is Zarr, but holds no OME-Zarr image"):
        open_slide(table)
    (stack / "zarr.json").write_text("{")
    with pytest.raises(SlideError, match=r"stack\.zarr cannot be read as OME-Zarr"):
        open_slide(stack)
    absurd = write(tmp_path / "absurd.zarr", crop[:64, :64], n=1)
    array = absurd / "0" / "zarr.json"
    array.write_text(array.read_text().replace("64", str(2**31)))
    with pytest.raises(SlideError, match="more than any slide"):
        open_slide(absurd)


@pytest.mark.parametrize("what", ["slide", "level"])
def test_a_folder_that_goes_away_is_not_shown_black(what, crop, tmp_path, opened):
    root = write(tmp_path / "slide.zarr", crop)
    slide = opened(root)
    gone = root if what == "slide" else root / "0"
    gone.rename(tmp_path / "elsewhere")
    with pytest.raises(SlideError, match=r"^slide\.zarr has gone away while it was open"):
        slide.levels[0].pixels.compute()


def chunk_file(root, version, axes, level=0):
    """The file of the chunk that begins at row and column 256."""
    place = ("1" if axis in "yx" else "0" for axis in axes)
    return root / str(level) / ("c/" + "/".join(place) if version == "0.5" else ".".join(place))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["cyx", "yxc"])
def test_a_chunk_that_is_not_stored_is_white_as_glass(version, axes, tmp_path, cache, opened):
    grey = np.full((1100, 1100, 3), 200, np.uint8)
    root = write(tmp_path / "slide.zarr", grey, version=version, axes=axes, n=1)
    chunk_file(root, version, axes).unlink()
    expected = grey.copy()
    expected[256:512, 256:512] = 255
    slide = opened(root)
    np.testing.assert_array_equal(slide.levels[0].pixels.compute(), expected)
    np.testing.assert_array_equal(np.asarray(Pyramid(slide).arrays[0]), expected)
    np.testing.assert_array_equal(slide.levels[1].whole(), expected[::2, ::2])  # made of level 0
    np.testing.assert_array_equal(np.asarray(Pyramid(slide).arrays[1]), expected[::2, ::2])
    shown = opened(root, Mpp.square(1.0))
    looks = [Look((0,), at_px, at_px, False) for at_px in (384.0, 900.0)]
    lost, kept = PatchReader(shown, PatchSpec((64.0,), 32)).read_looks(looks)
    assert (lost.min(), lost.max(), kept.min(), kept.max()) == (255, 255, 200, 200)


def test_a_fill_value_that_was_chosen_and_a_transparent_chunk_stay(tmp_path, opened):
    root = write(tmp_path / "grey.zarr", np.full((600, 600, 3), 200, np.uint8), n=1)
    about = root / "0" / "zarr.json"
    about.write_text(about.read_text().replace('"fill_value": 0', '"fill_value": 240'))
    chunk_file(root, "0.5", "cyx").unlink()
    assert opened(root).read_region(300, 300, 0, SizePx(2, 2)).tolist() == [[[240] * 3] * 2] * 2
    clear = tmp_path / "clear.zarr"
    group = zarr.open_group(clear, mode="w")
    array = group.create_array("0", shape=(4, 600, 600), chunks=(1, 256, 256), dtype="uint8")
    array[:3] = 90  # and no alpha is stored
    array[3, :256] = 255
    axes = [{"name": a} for a in "cyx"]
    group.attrs["ome"] = {"multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}
    slide = opened(clear)
    assert slide.read_region(300, 300, 0, SizePx(1, 1)).tolist() == [[[255] * 3]]
    assert slide.read_region(10, 10, 0, SizePx(1, 1)).tolist() == [[[90] * 3]]
