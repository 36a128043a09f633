"""Files that LazySlide, slide2vec and TRIDENT wrote of a real slide: every patch lies where its colours are."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import shapely
import zarr

from napari_stem.encoders.precomputed import read_embeddings
from napari_stem.errors import EncoderError, StemError
from napari_stem.geometry import SizePx
from napari_stem.settings import Stated
from napari_stem.slide import open_slide
from napari_stem.slide.tissue import find_tissue
from napari_stem.spatial.region_files import read_regions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_stem.encoders.precomputed import PatchEmbeddings
    from napari_stem.slide.base import Slide

DATA = Path(__file__).parents[2] / "data"
NAME = "CMU-1-Small-Region"
STORE = f"lazyslide/{NAME}.zarr"
TRIDENT = "trident/10x_128px_0px_overlap/features_mean-colour/" + NAME


@pytest.fixture(scope="module")
def slide() -> Iterator[Slide]:
    slide = open_slide(DATA / "slides" / f"{NAME}.svs")
    yield slide
    slide.close()


def read(path: Path, slide: Slide, **options: Any) -> PatchEmbeddings:
    return read_embeddings(path, slide.size, slide.require_mpp(), **options)


def colours(slide: Slide, patches: PatchEmbeddings, right_px: float = 0.0) -> NDArray[np.float64]:
    """Mean colour of each quarter of each patch, as the slide has it; NaN where it leaves the slide."""
    half = int(patches.field_of_view_um / slide.require_mpp().x_um) // 2
    found = np.full((len(patches.xy_px), 12), np.nan)
    for row, (x, y) in enumerate(patches.xy_px + np.array([right_px, 0])):
        left, top = int(x) - half, int(y) - half
        if left < 0 or top < 0 or left + 2 * half > 2220 or top + 2 * half > 2967:
            continue
        pixels = slide.read_region(left, top, 0, SizePx(height_px=2 * half, width_px=2 * half))
        quarters = pixels.reshape(2, half, 2, half, 3).mean((1, 3)) / 255
        found[row] = quarters.transpose(2, 0, 1).ravel()
    return found


@pytest.mark.parametrize(
    ("file", "options", "n", "side_px", "first_corner", "step_px"),
    [
        (f"{STORE}/tables/mean-colour_tiles", {}, 31, 256, (51, 65), 256),
        (f"{STORE}/tables/mean-colour_fine", {}, 68, 224, (51, 65), 168),
        (
            "lazyslide/features.h5ad",
            {"stated": Stated(encoder="mean-colour")},
            31,
            256,
            (51, 65),
            256,
        ),
        (f"slide2vec/0.5um/tile_embeddings/{NAME}.pt", {}, 62, 256, (49, 63), 256),
        (f"slide2vec/1.0um/tile_embeddings/{NAME}.npz", {}, 20, 513, (49, 63), 513),
        (f"{TRIDENT}.h5", {}, 64, 256, (0, 0), 256),
        (f"{TRIDENT}.pt", {}, 64, 256, (0, 0), 256),
    ],
)
def test_every_patch_lies_where_its_colours_are(
    file, options, n, side_px, first_corner, step_px, other_programs, slide
) -> None:
    patches = read(other_programs / file, slide, **options)
    assert (patches.encoder, patches.features.shape) == ("mean-colour", (n, 12))
    assert patches.field_of_view_um == pytest.approx(side_px * 0.499)
    corners = patches.xy_px - side_px / 2
    assert not ((corners - first_corner) % step_px).any()
    seen = colours(slide, patches)
    inside = np.isfinite(seen).all(axis=1)
    assert inside.sum() > 0.7 * n
    error = np.abs(patches.features[inside] - seen[inside])
    assert np.median(error) < 0.002
    assert np.quantile(error, 0.95) < 0.02
    beside = np.abs(patches.features - colours(slide, patches, right_px=step_px / 4))
    assert np.nanmedian(beside) > 4 * np.median(error)
    spots = patches.spots()
    assert spots.pitch_um == pytest.approx(step_px * 0.499)
    assert len({*zip(spots.array_row.tolist(), spots.array_col.tolist(), strict=True)}) == n


def test_patches_centred_off_the_slide_are_left_out_and_said(other_programs, slide) -> None:
    (remark,) = read(other_programs / f"slide2vec/0.5um/tile_embeddings/{NAME}.pt", slide).remarks
    assert (
        remark == f"6 of 68 patches of {NAME}.pt have their centre off the slide and are left out."
    )


def test_of_several_sets_the_one_of_the_encoder_is_taken(other_programs, slide) -> None:
    store = other_programs / STORE
    assert read(store, slide, wanted="brightness").encoder == "brightness"
    assert read(store, slide, stated=Stated(encoder="brightness")).encoder == "brightness"
    with pytest.raises(
        EncoderError, match=r"several sets of features; give one of .*tables/brightness_tiles"
    ):
        read(store, slide)
    with pytest.raises(EncoderError) as caught:
        read(store, slide, wanted="mean-colour")
    assert "mean-colour_fine, " in str(caught.value)
    assert "brightness" not in str(caught.value)
    with pytest.raises(EncoderError, match="holds no features of tiles; give one of"):
        read(store / "tables" / "none", slide)
    with pytest.raises(EncoderError, match="made by encoder 'brightness', not by 'uni'"):
        read(store / "tables" / "brightness_tiles", slide, stated=Stated(encoder="uni"))


def test_a_store_of_another_slide_is_refused(other_programs, slide) -> None:
    table = other_programs / STORE / "tables" / "mean-colour_tiles"
    with pytest.raises(EncoderError, match="slide of 2220 x 2967 px, this one has 900 x 900 px"):
        read_embeddings(table, SizePx(height_px=900, width_px=900), slide.require_mpp())


def test_the_tissue_of_other_programs_is_the_tissue(other_programs, slide) -> None:
    ours = shapely.union_all([each.polygon for each in find_tissue(slide).regions])
    for path in (
        other_programs / STORE,
        other_programs / "trident" / "contours_geojson" / f"{NAME}.geojson",
    ):
        (tissue,) = read_regions(path)
        assert tissue.name == "tissue 1"
        assert len(tissue.polygon.interiors) == 2
        both = tissue.polygon.intersection(ours).area / tissue.polygon.union(ours).area
        assert both > 0.7


def test_annotations_of_a_store_keep_name_class_and_colour(other_programs) -> None:
    (region,) = read_regions(other_programs / STORE / "shapes" / "annotations")
    assert (region.name, region.classification, region.colour) == ("Nest A", "Tumor", (200, 0, 0))
    assert region.polygon.bounds == (500, 1000, 900, 1500)
    with pytest.raises(
        StemError, match=r"no outlines 'cells'; give one of .*/shapes/annotations, "
    ):
        read_regions(other_programs / STORE / "shapes" / "cells")


def test_damaged_and_scaled_outlines_are_told(other_programs, tmp_path) -> None:
    store = shutil.copytree(other_programs / STORE, tmp_path / "s.zarr")
    tissue = zarr.open_group(store / "shapes" / "tissues", mode="r+")
    tissue.attrs["coordinateTransformations"] = [{"type": "scale", "scale": [2.0, 2.0]}]
    with pytest.raises(StemError, match="is scaled or moved"):
        read_regions(store)
    (store / "shapes" / "tissues" / "shapes.parquet").write_bytes(b"this is no table")
    with pytest.raises(StemError, match="cannot be read as outlines") as caught:
        read_regions(store)
    assert "\n" not in str(caught.value)


def test_without_pyarrow_a_store_says_what_to_install(other_programs, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        StemError, match=r"needs the package pyarrow: run pip install 'napari-stem\[spatialdata\]'"
    ):
        read_regions(other_programs / STORE)


def test_features_of_a_whole_slide_are_told_apart(tmp_path, slide) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:  # as TRIDENT writes those of TITAN
        file["features"], file["coords"] = np.ones(8, np.float32), np.zeros((3, 2))
    with pytest.raises(EncoderError, match="one vector of the whole slide, not one for each patch"):
        read(tmp_path / "a.h5", slide)
