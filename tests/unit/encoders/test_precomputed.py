"""Embeddings from files: every layout gives the same patches, and what does not fit is refused in words."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import zarr

from napari_stem.encoders.catalogue import CATALOGUE, canonical
from napari_stem.encoders.precomputed import (
    EmbeddingFolder,
    PatchEmbeddings,
    read_embeddings,
)
from napari_stem.errors import EncoderError, StemError
from napari_stem.geometry import Mpp, SizePx, Spots
from napari_stem.model.serving import require_fit
from napari_stem.results.empty import write_zarr
from napari_stem.settings import Stated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

SIDE, WIDTH = 448, 6
SIZE, MPP = SizePx(height_px=4000, width_px=5000), Mpp.square(0.25)
CORNERS = np.array([(x, y) for y in (0, 448, 1344) for x in (448, 896, 2240, 4032)])
CENTRES = CORNERS + SIDE / 2
FEATURES = np.random.default_rng(3).normal(size=(len(CORNERS), WIDTH)).astype(np.float32)
UNI = Stated(encoder="uni")


def spots_at(xy_px: NDArray[Any], names: tuple[str, ...] = ()) -> Spots:
    n = len(xy_px)
    zero = np.zeros(n, np.int64)
    return Spots(
        xy_px[:, 0], xy_px[:, 1], zero, zero, 112.0, 112.0, names or tuple(map(str, range(n)))
    )


def trident(
    path: Path, features: Any = FEATURES, corners: Any = CORNERS, **attributes: Any
) -> Path:
    """As TRIDENT writes patch features."""
    about = {
        "patch_size": 224,
        "patch_size_level0": SIDE,
        "level0_magnification": 40,
        "target_magnification": 20,
        "overlap": 0,
        "name": path.stem,
        **attributes,
    }
    with h5py.File(path, "w") as file:
        file["features"] = features
        file["coords"] = corners
        file["features"].attrs.update({"name": path.stem, "savetodir": "out"})
        file["coords"].attrs.update({k: v for k, v in about.items() if v is not None})
    return path


def clam(path: Path) -> Path:
    """As CLAM writes coordinates: patch size in pixels of a level; features beside them."""
    with h5py.File(path, "w") as file:
        file["features"], file["coords"] = FEATURES, CORNERS
        file["coords"].attrs.update(
            {"patch_size": 224, "patch_level": 1, "downsample": np.array([2.0, 2.0])}
        )
    return path


def as_zarr(path: Path) -> Path:
    group = zarr.open_group(path, mode="w")
    group.create_array("features", data=FEATURES[None])  # a batch of one, as some write it
    group.create_array("coords", data=CORNERS)
    group.attrs.update({"patch_size_level0": SIDE, "level0_mpp": 0.25, "encoder": "uni_v1"})
    return path


def lazyslide(path: Path) -> Path:
    """As LazySlide's ``wsi.fetch.features_anndata`` gives it: top-left corners."""
    table = anndata.AnnData(
        FEATURES,
        obs=pd.DataFrame(
            {"tile_id": range(len(CORNERS))}, index=[str(i) for i in range(len(CORNERS))]
        ),
        obsm={"spatial": CORNERS.astype(float)},
        uns={
            "slide_properties": {"shape": [4000, 5000], "mpp": 0.25, "magnification": 40.0},
            "tile_spec": {"height": 224, "width": 224, "base_downsample": 2.0, "mpp": 0.5},
        },
    )
    if path.suffix == ".zarr":
        write_zarr(table, path)
    else:
        table.write_h5ad(path)
    return path


def squidpy_table(path: Path) -> Path:
    """An AnnData of spots: centres, and their diameter."""
    table = anndata.AnnData(FEATURES, obsm={"spatial": CENTRES})
    table.uns["spatial"] = {"s": {"scalefactors": {"spot_diameter_fullres": float(SIDE)}}}
    table.write_h5ad(path)
    return path


def slide2vec(path: Path) -> Path:
    """As slide2vec writes a run: tile_embeddings/ID.pt and .meta.json, tiles/ID.coordinates.npz."""
    path = path.parent / "tile_embeddings" / path.name
    path.parent.mkdir()
    if path.suffix == ".pt":
        torch.save(torch.from_numpy(FEATURES).half(), path)
    else:
        np.savez_compressed(path, features=FEATURES, tile_index=np.arange(len(FEATURES)))
    said = {"encoder_name": "uni", "tile_size_lv0": SIDE, "requested_spacing_um": 0.5}
    path.with_suffix(".meta.json").write_text(json.dumps(said))
    tiles = path.parent.parent / "tiles"
    tiles.mkdir()
    x, y = CORNERS.T
    np.savez(tiles / f"{path.stem}.coordinates.npz", x=x, y=y, tile_index=np.arange(len(x)))
    (tiles / f"{path.stem}.coordinates.meta.json").write_text(
        json.dumps({"slide": {"dimensions": [5000, 4000], "base_spacing_um": 0.25}, "tiling": {}})
    )
    return path


def torch_with_coordinates(path: Path) -> Path:
    torch.save(
        {
            "feats": torch.from_numpy(FEATURES),
            "coords": torch.from_numpy(CORNERS),
            "model_name": "uni",
            "patch_size_level0": SIDE,
        },
        path,
    )
    return path


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (trident, "a.h5"),
        (clam, "a.h5"),
        (as_zarr, "a.zarr"),
        (lazyslide, "a.h5ad"),
        (lazyslide, "a.zarr"),
        (squidpy_table, "a.h5ad"),
        (slide2vec, "a.pt"),
        (slide2vec, "a.npz"),
        (torch_with_coordinates, "a.pt"),
    ],
)
def test_every_layout_gives_the_same_patches(write: Callable[[Path], Path], name, tmp_path) -> None:
    patches = read_embeddings(write(tmp_path / name), SIZE, MPP, UNI)
    np.testing.assert_array_equal(patches.xy_px, CENTRES)
    np.testing.assert_array_equal(patches.features, FEATURES.astype(np.float16).astype(np.float32))
    assert (patches.encoder, patches.width, patches.field_of_view_um) == ("uni", WIDTH, 112.0)
    assert patches.tolerance_um == pytest.approx(11.2)
    assert patches.remarks == ()


@pytest.mark.parametrize(
    "change",
    [
        torch.Tensor.bfloat16,
        torch.Tensor.half,
        torch.Tensor.double,
        torch.Tensor.requires_grad_,
        torch.nn.Parameter,
        torch.Tensor.to_sparse,
        lambda tensor: tensor.T.contiguous().T,
        lambda tensor: tensor[None],
    ],
    ids=["bf16", "half", "double", "gradient", "parameter", "sparse", "strided", "batch"],
)
def test_tensors_of_every_kind_are_read(change, tmp_path) -> None:
    made = change(torch.from_numpy(FEATURES.copy()))
    about = {"coords": torch.from_numpy(CORNERS), "patch_size_level0": SIDE}
    torch.save({"features": made, **about}, tmp_path / "a.pt")
    patches = read_embeddings(tmp_path / "a.pt", SIZE, MPP, UNI)
    expected = made.detach().to_dense().float().numpy().reshape(FEATURES.shape)
    np.testing.assert_array_equal(patches.features, expected.astype(np.float16))


@pytest.mark.parametrize(
    "word", ["None", "nan", "", b"None", "unknown", np.nan, -1, h5py.Empty("f4")]
)
def test_what_attributes_leave_open_is_unknown(word, tmp_path) -> None:
    about = dict.fromkeys(("level0_magnification", "level0_width", "level0_mpp", "encoder"), word)
    patches = read_embeddings(trident(tmp_path / "a.h5", **about), SIZE, MPP, UNI)
    assert (patches.encoder, patches.remarks) == ("uni", ())
    with pytest.raises(EncoderError, match="--patch-px"):
        read_embeddings(trident(tmp_path / "b.h5", patch_size_level0=word), SIZE, MPP, UNI)


@pytest.mark.parametrize("word", ["40", b"40", np.array([40.0]), np.int8(40)])
def test_numbers_may_be_written_as_texts(word, tmp_path) -> None:
    path = trident(tmp_path / "a.h5", level0_mpp=word)
    with pytest.raises(EncoderError, match="made at 40 um/px"):
        read_embeddings(path, SIZE, MPP, UNI)


@pytest.mark.parametrize("kind", ["npz", "npy", "h5", "beside"])
def test_features_alone_are_given_their_places(kind, tmp_path) -> None:
    path = tmp_path / "features_uni_v1" / "a.pt"
    path.parent.mkdir()
    torch.save(torch.from_numpy(FEATURES), path)
    with pytest.raises(EncoderError, match="--coordinates"):
        read_embeddings(path, SIZE, MPP, UNI)
    places = tmp_path / f"places.{kind}"
    if kind == "npz":
        np.savez(places, x=CORNERS[:, 0], y=CORNERS[:, 1])
    elif kind == "npy":  # older slide2vec: one structured array
        table = np.zeros(len(CORNERS), dtype=[("x", int), ("y", int), ("tile_size_lv0", int)])
        table["x"], table["y"], table["tile_size_lv0"] = *CORNERS.T, SIDE
        np.save(places, table)
    else:
        (tmp_path / "patches").mkdir()
        places = tmp_path / ("patches/a_patches.h5" if kind == "beside" else "other.h5")
        with h5py.File(places, "w") as file:
            file["coords"] = CORNERS
            file["coords"].attrs["patch_size_level0"] = SIDE
    stated = Stated(
        encoder="uni",
        coordinates=None if kind == "beside" else places,
        patch_px=SIDE if kind == "npz" else None,
    )
    patches = read_embeddings(path, SIZE, MPP, stated)
    np.testing.assert_array_equal(patches.xy_px[:, 0], CENTRES[:, 0])


def test_a_pickle_with_code_is_not_run(tmp_path) -> None:
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, (str(ran), "w")

    torch.save({"features": Evil()}, tmp_path / "a.pt")
    with pytest.raises(StemError, match="contains code"):
        read_embeddings(tmp_path / "a.pt", SIZE, MPP, UNI)
    np.savez(tmp_path / "b.npz", features=np.array([Evil()], dtype=object))
    with pytest.raises(StemError, match=r"b\.npz cannot be read"):
        read_embeddings(tmp_path / "b.npz", SIZE, MPP, UNI)
    assert not ran.exists()


def nan_in(rows: list[int]) -> NDArray[np.float32]:
    features = FEATURES.copy()
    features[rows, 2] = np.nan
    return features


@pytest.mark.parametrize(
    ("spoil", "stated", "words"),
    [
        ({"features": nan_in([1, 4])}, UNI, r"2 of 12 embeddings .* \(rows 1, 4\)"),
        (
            {"features": FEATURES[[0, *range(12)]], "corners": CORNERS[[0, *range(12)]]},
            UNI,
            "1 place more than once .*672, 224",
        ),
        ({"features": FEATURES[:5]}, UNI, "5 embeddings and 12 places"),
        ({"features": FEATURES[:0], "corners": CORNERS[:0]}, UNI, "holds no embeddings"),
        ({"corners": CORNERS * 4}, UNI, "lie off the 5000 x 4000 px slide"),
        ({"level0_width": 9000, "level0_height": 4000}, UNI, "slide of 9000 x 4000 px"),
        ({"level0_mpp": 0.5}, UNI, "made at 0.5 um/px .* taken to have 0.25"),
        ({"patch_size_level0": None}, UNI, "--patch-px"),
        ({}, Stated(encoder="uni", patch_px=224), "448 px wide, not 224"),
        ({}, Stated(), "--encoder"),
        ({"encoder": "conch_v15"}, UNI, r"made by encoder 'conch-v1\.5', not by 'uni'"),
        ({"features": FEATURES[:, :, None, None]}, UNI, "cannot be read as embeddings"),
        ({"corners": CORNERS[:, :1]}, UNI, "cannot be read as embeddings"),
    ],
)
def test_what_does_not_fit_is_refused(spoil, stated, words, tmp_path) -> None:
    with pytest.raises(EncoderError, match=words) as caught:
        read_embeddings(trident(tmp_path / "a.h5", **spoil), SIZE, MPP, stated)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".h5", ".h5ad", ".zarr", ".npz", ".pt"])
def test_files_that_are_none_are_refused(suffix, tmp_path) -> None:
    path = tmp_path / f"a{suffix}"
    with pytest.raises(EncoderError, match="There is no file"):
        read_embeddings(path, SIZE, MPP, UNI)
    path.write_bytes(b"this is no such file")
    with pytest.raises(StemError) as caught:
        read_embeddings(path, SIZE, MPP, UNI)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_files_say_what_is_wanted(tmp_path) -> None:
    with pytest.raises(EncoderError, match="ending"):
        read_embeddings(tmp_path / "a.csv", SIZE, MPP, UNI)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["imgs"] = FEATURES
    with pytest.raises(EncoderError, match=r"no array 'features' \(it has imgs\)"):
        read_embeddings(tmp_path / "a.h5", SIZE, MPP, UNI)


def test_an_objective_power_that_does_not_go_with_the_pixel_size_is_said(tmp_path) -> None:
    path = trident(tmp_path / "a.h5", level0_magnification=10)
    (remark,) = read_embeddings(path, SIZE, MPP, UNI).remarks
    assert "10x (about 1 um/px)" in remark


@pytest.fixture
def patches(tmp_path) -> PatchEmbeddings:
    return read_embeddings(trident(tmp_path / "slide.h5"), SIZE, MPP, UNI)


def test_spots_find_their_patches_within_the_tolerance(patches) -> None:
    order = np.array([3, 0, 11])
    told: list[int] = []
    near = spots_at(CENTRES[order] + np.array([30, -30]))  # 10.6 um
    found = patches.embed(near, told.append)
    np.testing.assert_array_equal(found, patches.features[order])
    assert told == [3]


def test_spots_without_a_patch_are_counted_and_named(patches) -> None:
    places = np.vstack([CENTRES[:2], CENTRES[:4] + np.array([0, 60])])
    spots = spots_at(places, ("a", "b", "c", "d", "e", "f"))
    with pytest.raises(EncoderError) as caught:
        patches.embed(spots)
    assert "4 of 6 spots have no patch in slide.h5 within 11.2 um: c (nearest 15 um away)" in str(
        caught.value
    )
    wider = replace(patches, tolerance_um=16.0)
    np.testing.assert_array_equal(wider.embed(spots), patches.features[[0, 1, 0, 1, 2, 3]])


def test_patches_are_spots_where_none_are_given(patches) -> None:
    spots = patches.spots()
    np.testing.assert_array_equal(np.column_stack([spots.x_px, spots.y_px]), CENTRES)
    assert (spots.pitch_um, spots.diameter_um) == (112.0, 112.0)
    assert spots.names[0] == "x672y224"
    np.testing.assert_array_equal(spots.array_col, (CORNERS[:, 0] - 448) // SIDE)
    np.testing.assert_array_equal(spots.array_row, CORNERS[:, 1] // SIDE)


def test_provenance_changes_with_the_numbers(patches, tmp_path) -> None:
    same = read_embeddings(trident(tmp_path / "slide.h5"), SIZE, MPP, UNI)
    other = read_embeddings(trident(tmp_path / "slide.h5", FEATURES + 1), SIZE, MPP, UNI)
    assert same.provenance == patches.provenance
    assert other.provenance != patches.provenance
    assert json.loads(json.dumps(patches.provenance)) == patches.provenance


def model(
    encoder: str = "uni",
    width: int = WIDTH,
    encoder_version: str | None = None,
    fields_of_view_um: tuple[float, ...] | None = (112.0,),
) -> Any:
    """What is compared of a model."""
    return SimpleNamespace(
        name="m",
        encoder_name=encoder,
        head=SimpleNamespace(centre=np.zeros(width)),
        config=SimpleNamespace(
            encoder_version=encoder_version, fields_of_view_um=fields_of_view_um
        ),
    )


def test_a_model_takes_what_it_was_trained_on(patches) -> None:
    assert require_fit(patches, model()) == []
    assert require_fit(patches, model(fields_of_view_um=None)) == []  # UNI's own is 112 um
    (note,) = require_fit(patches, model(fields_of_view_um=(128.0,)))
    assert "112 um wide" in note
    assert "trained on 128 um" in note
    (note,) = require_fit(patches, model(fields_of_view_um=(112.0, 224.0)))
    assert "looks at 2 patches" in note
    own = replace(patches, encoder="my-vit")
    (note,) = require_fit(own, model("my-vit", fields_of_view_um=None))
    assert "nothing was checked" in note


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder": "conch"}, "takes embeddings of encoder 'conch', and those of .* are of 'uni'"),
        ({"width": 1024}, "1024 wide, and those of .* are 6 wide"),
        ({"fields_of_view_um": (256.0,)}, "do not show the same.*112 um.*256 um"),
        ({"encoder_version": "b"}, "trained on version b"),
    ],
)
def test_a_model_refuses_others(patches, change, words) -> None:
    with pytest.raises(EncoderError, match=words):
        require_fit(replace(patches, version="a"), model(**change))


def test_names_of_other_programs() -> None:
    ours = {
        "UNI_v1": "uni",
        "conch_v15": "conch-v1.5",
        "hoptimus0": "h-optimus-0",
        "virchow2": "virchow2",
        "lunit-vits8": "lunit-dino",
        "kaiko-vitl14": "kaiko-l14",
        "my_vit": "my-vit",
    }
    assert {name: canonical(name) for name in ours} == ours
    aliases = [alias for facts in CATALOGUE.values() for alias in facts.aliases]
    assert len(aliases) == len(set(aliases) - CATALOGUE.keys())  # each of one, and none is a name
    assert not any("_" in alias or alias != alias.lower() for alias in aliases)  # else never found


def test_a_folder_leaves_out_spots_without_a_patch(tmp_path, caplog) -> None:
    trident(tmp_path / "A.h5")
    trident(tmp_path / "B.h5")
    folder = EmbeddingFolder(tmp_path, UNI)
    places = CENTRES + 0.0
    places[5] += 200
    found, kept = folder.embed("A", spots_at(places), SIZE, MPP)
    assert found.shape == (11, WIDTH)
    assert np.flatnonzero(~kept).tolist() == [5]
    assert "Section A: 1 of 12 spots have no patch" in caplog.text
    assert folder.embed("B", spots_at(CENTRES), SIZE, MPP)[1].all()
    assert folder.n_left_out == {"A": 1}
    assert folder.note() == (
        "Trained on embeddings from file, patches of 112 um; 1 spots of A had no patch"
    )
    with pytest.raises(EncoderError, match="12 of 12 spots"):
        folder.embed("A", spots_at(CENTRES + 100), SIZE, MPP)


def test_a_folder_has_one_file_per_section_all_alike(tmp_path) -> None:
    folder = EmbeddingFolder(tmp_path, Stated())
    with pytest.raises(EncoderError, match=r"Section A needs one file .* found none"):
        folder.embed("A", spots_at(CENTRES), SIZE, MPP)
    trident(tmp_path / "A.h5", encoder="uni")
    trident(tmp_path / "B.h5", FEATURES[:, :4], encoder="conch")
    folder.embed("A", spots_at(CENTRES), SIZE, MPP)
    with pytest.raises(EncoderError, match="differ in encoder and width"):
        folder.embed("B", spots_at(CENTRES), SIZE, MPP)
    squidpy_table(tmp_path / "A.h5ad")
    with pytest.raises(EncoderError, match=r"found A\.h5, A\.h5ad"):
        folder.embed("A", spots_at(CENTRES), SIZE, MPP)
    with pytest.raises(EncoderError, match="no folder of embeddings"):
        EmbeddingFolder(tmp_path / "none")
