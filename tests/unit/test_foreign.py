"""Files of strangers: links are not followed, claims are not believed, and a sentence says so."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pytest
import zarr
from scipy import sparse

from napari_stem import foreign
from napari_stem.encoders.precomputed_files import read_raw
from napari_stem.errors import PredictionError, StemError
from napari_stem.evaluation.comparison import read_prediction, read_truth
from napari_stem.exporting.kinds import export
from napari_stem.exporting.selection import model_card
from napari_stem.file_kinds import kind_of, read
from napari_stem.foreign import dense, opened_hdf5, read_h5ad, read_json, require_own_zarr
from napari_stem.geometry import Mpp, SizePx, lattice
from napari_stem.model.sources import named_in_file
from napari_stem.results import PROVENANCE_KEY, Prediction
from napari_stem.spatial import table_files
from napari_stem.texts import visible

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZE, MPP = SizePx(1000, 1000), Mpp.square(0.5)
LINK, CLAIM = "links are not followed", "claims"


def table(path: Path) -> Path:
    """Counts with places, which every reader of tables takes."""
    counts = anndata.AnnData(np.ones((3, 2), np.float32))
    counts.obsm["spatial"] = np.array([(10.0, 10.0), (20.0, 10.0), (30.0, 10.0)])
    counts.write_h5ad(path)
    return path


def to_outside(file: h5py.File, name: str, secret: Path) -> None:
    del file[name]
    file[name] = h5py.ExternalLink(str(secret), name)


def virtual(file: h5py.File, name: str, secret: Path) -> None:
    stored = file[name]
    layout = h5py.VirtualLayout(stored.shape, stored.dtype)
    layout[:] = h5py.VirtualSource(str(secret), name, stored.shape)
    del file[name]
    file.create_virtual_dataset(name, layout)


def raw_elsewhere(file: h5py.File, name: str, secret: Path) -> None:
    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    external = [(str(secret), 0, h5py.h5f.UNLIMITED)]
    file.create_dataset(name, shape, dtype, external=external)


def huge(file: h5py.File, name: str, _: Path) -> None:
    dtype = file[name].dtype
    del file[name]
    file.create_dataset(name, (10_000_000, 1000), dtype, chunks=(1000, 1000))


HOSTILE = [(to_outside, LINK), (virtual, LINK), (raw_elsewhere, LINK), (huge, CLAIM)]
READERS: dict[str, Callable[[Path], Any]] = {
    "truth": read_truth,
    "spots": lambda path: table_files.read_spots(path, SIZE, MPP, 100.0),
    "table": table_files.read_table,
    "places": table_files.read_spot_table,
    "embeddings": read_raw,
    "prediction": read_prediction,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("spoil", "said"), HOSTILE, ids=lambda each: getattr(each, "__name__", ""))
@pytest.mark.parametrize("name", ["X", "obsm/spatial"])
def test_no_reader_of_tables_leaves_the_file(reader, spoil, said, name, tmp_path) -> None:
    path, secret = table(tmp_path / "t.h5ad"), table(tmp_path / "secret.h5ad")
    with h5py.File(path, "a") as file:
        spoil(file, name, secret)
    with pytest.raises(StemError, match=said) as error:
        READERS[reader](path)
    assert name in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_the_window_says_why_a_table_is_not_read(tmp_path) -> None:
    path = table(tmp_path / "t.h5ad")
    with h5py.File(path, "a") as file:
        to_outside(file, "X", table(tmp_path / "secret.h5ad"))
    kind = kind_of(path)
    assert kind is not None
    with pytest.warns(UserWarning, match=LINK):
        assert read(kind, str(path)) == [(None,)]


def test_a_sound_file_may_be_reached_by_a_link_and_have_links_within(tmp_path) -> None:
    (tmp_path / "link.h5ad").symlink_to(table(tmp_path / "t.h5ad"))
    assert read_truth(tmp_path / "link.h5ad").shape == (3, 2)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["feats"] = np.ones((3, 4))
        file["features"], file["gone"] = h5py.SoftLink("/feats"), h5py.SoftLink("/nowhere")
        file["empty"] = h5py.Empty("f4")
    with opened_hdf5(tmp_path / "f.h5") as file:
        assert file["features"].shape == (3, 4)


@pytest.mark.parametrize("at", ["a", "g/a"])
def test_groups_in_a_circle_are_refused(at, tmp_path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file[at] = file.create_group("g") if at == "a" else file.require_group("g")
    with pytest.raises(ValueError, match="at more than one place"), opened_hdf5(tmp_path / "f.h5"):
        pass


def test_an_array_that_lies_at_many_places_counts_each_time(tmp_path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        array = file.create_dataset("a", (20_000_000,), "f4", chunks=True)
        for i in range(9):
            file[f"b{i}"] = array
    with pytest.raises(ValueError, match="500 times as much"), opened_hdf5(tmp_path / "f.h5"):
        pass


def test_an_index_of_a_hundred_million_is_refused(tmp_path) -> None:
    path = table(tmp_path / "t.h5ad")
    with h5py.File(path, "a") as file:
        del file["obs/_index"]
        file.create_dataset("obs/_index", (10**8,), h5py.string_dtype(), chunks=(10**6,))
    with pytest.raises(StemError, match="100,000,000 rows, and 10,000,000 are allowed"):
        read_truth(path)


def test_what_real_sections_need_is_allowed(tmp_path, monkeypatch) -> None:
    """A million spots of 20,000 genes, one count in a hundred known; a limit met exactly."""
    foreign.require_rows(foreign.MAX_ROWS, "obs")
    foreign.require_held(4 * 20_000 * 1_000_000, 20_000 * 1_000_000 // 100 * 3, "X")
    monkeypatch.setattr(foreign, "FREE_BYTES", 0)
    foreign.require_held(500, 1, "X")
    with pytest.raises(ValueError, match="claims"):
        foreign.require_held(501, 1, "X")


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A finished prediction of 16 spots and 3 genes."""
    spots = lattice(SizePx(800, 800), MPP, 100.0)
    made = {
        "unit": "log2(count + 1)",
        "normalisation": "log2_counts",
        "model": "her2st-breast",
        "mpp": [0.5, 0.5],
        "pitch_um": 100.0,
        "spot_diameter_um": 100.0,
        "slide": "a.svs",
    }
    prediction = Prediction.create(
        tmp_path / "p.zarr",
        spots,
        ("A", "B", "C"),
        made,
        image=np.zeros((8, 8, 3), np.uint8),
        image_scale=0.01,
        spot_diameter_px=200.0,
    )
    values = np.arange(3 * len(spots), dtype=np.float32).reshape(-1, 3)
    fields = dict.fromkeys(("mean", "sd", "q05", "q95"), values)
    everywhere, near = np.arange(len(spots)), np.zeros(len(spots), np.float32)
    prediction.write_block(everywhere, **fields, ood_distance=near)
    return prediction.path


@pytest.mark.parametrize("place", ["X", "obs/_index", "X/c/0/0", "uns"])
def test_links_in_a_prediction_are_not_followed(stored, place, tmp_path) -> None:
    (tmp_path / "elsewhere").mkdir()
    shutil.move(stored / place, tmp_path / "elsewhere" / "moved")
    (stored / place).symlink_to(tmp_path / "elsewhere" / "moved")
    with pytest.raises(PredictionError, match=LINK) as error:
        Prediction.open(stored)
    assert f"'{place}'" in str(error.value)


def test_a_prediction_may_be_reached_by_a_link(stored, tmp_path) -> None:
    (tmp_path / "link.zarr").symlink_to(stored, target_is_directory=True)
    assert len(Prediction.open(tmp_path / "link.zarr").spots) == 16


def test_links_in_zarr_embeddings_are_not_followed(tmp_path) -> None:
    group = zarr.open_group(tmp_path / "e.zarr", mode="w")
    group["features"], group["coords"] = np.ones((3, 4)), np.ones((3, 2))
    assert read_raw(tmp_path / "e.zarr").features.shape == (3, 4)
    shutil.move(tmp_path / "e.zarr" / "features", tmp_path / "features")
    (tmp_path / "e.zarr" / "features").symlink_to(tmp_path / "features")
    with pytest.raises(StemError, match=LINK):
        read_raw(tmp_path / "e.zarr")


@pytest.mark.parametrize(
    ("place", "shape"),
    [
        ("obs/_index", [10**8]),
        ("obsm/spatial", [10**9, 2]),
        ("X", [16, 10**9]),
        ("X", [10**9, 3]),
    ],
)
def test_a_prediction_is_not_believed_what_it_claims(stored, place, shape) -> None:
    about = json.loads((stored / place / "zarr.json").read_text("utf-8"))
    about["shape"] = shape
    (stored / place / "zarr.json").write_text(json.dumps(about), "utf-8")
    with pytest.raises(PredictionError, match=r"claims|of shape"):
        Prediction.open(stored)


def test_consolidated_metadata_is_not_believed_either(tmp_path) -> None:
    zarr.open_group(tmp_path / "e.zarr", mode="w")["features"] = np.ones((3, 4))
    with pytest.warns(UserWarning, match="Consolidated"):
        zarr.consolidate_metadata(tmp_path / "e.zarr")
    path = tmp_path / "e.zarr" / "zarr.json"
    about = json.loads(path.read_text("utf-8"))
    about["consolidated_metadata"]["metadata"]["features"]["shape"] = [10**9, 4]
    path.write_text(json.dumps(about), "utf-8")
    with pytest.raises(ValueError, match="'features' it claims 32,000 MB"):
        require_own_zarr(tmp_path / "e.zarr")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "brackets"),
        ("1" * 400, "400 digits"),
        ('{"a":' * 50_000, "brackets"),
        ("{", "Expecting"),
    ],
)
def test_json_that_no_one_writes(text, said) -> None:
    with pytest.raises(ValueError, match=said):
        read_json(text)


def test_json_that_people_write() -> None:
    assert read_json(b'{"a": [1, -2.5, 12345678901234567890]}') == {
        "a": [1, -2.5, 12345678901234567890]
    }


def test_a_zip_is_not_believed_what_it_claims(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(foreign, "FREE_BYTES", 0)
    with zipfile.ZipFile(tmp_path / "e.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("features.npy", bytes(20_000_000))
    with pytest.raises(StemError, match=r"'features\.npy' it claims 20 MB"):
        read_raw(tmp_path / "e.npz")
    header = np.lib.format
    with (
        zipfile.ZipFile(tmp_path / "h.npz", "w") as archive,
        archive.open("features.npy", "w") as member,
    ):
        about = {"descr": "<f8", "fortran_order": False, "shape": (10**12, 10**3)}
        header.write_array_header_1_0(member, about)
    with pytest.raises(StemError, match=r"h\.npz cannot be read"):
        read_raw(tmp_path / "h.npz")
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2L, ".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "i.npz", "w") as archive:
        archive.writestr("features.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header)
    with pytest.raises(StemError, match=r"i\.npz cannot be read .*header is damaged"):
        read_raw(tmp_path / "i.npz")


# provenance is text


def told(path: Path, **changes: object) -> Path:
    """The prediction with other provenance."""
    node = zarr.open_group(path, use_consolidated=False)["uns"][PROVENANCE_KEY]["json"]
    node[()] = json.dumps(json.loads(str(node[()])) | changes)
    return path


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


NAMES = [
    "hf://clinic/breast",
    "clinic/breast",
    "//server/share/model",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("_no_network")
def test_a_model_that_a_prediction_names_is_not_fetched(stored, name) -> None:
    prediction = Prediction.open(told(stored, model=name, encoder=name))
    assert model_card(prediction) == {}
    with pytest.raises(StemError, match="none that comes with"):
        named_in_file(name)
    assert len(read("prediction", str(stored))) == 3


@pytest.mark.usefixtures("_no_network")
def test_exports_fetch_no_model(stored, tmp_path) -> None:
    prediction = Prediction.open(told(stored, model="hf://clinic/breast", encoder="clinic/breast"))
    for kind, ending in (("report", "html"), ("geojson", "geojson"), ("h5ad", "h5ad")):
        export(prediction, kind, tmp_path / f"out.{ending}", progress=False)
        assert (tmp_path / f"out.{ending}").is_file()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("unit", None),
        ("unit", 3),
        ("model", ["a"]),
        ("slide", None),
        ("mpp", None),
        ("mpp", [0.5]),
        ("mpp", ["a", "b"]),
        ("mpp", [1e9, 1e9]),
        ("mpp", {"x": 1}),
        ("pitch_um", None),
        ("pitch_um", "100"),
        ("pitch_um", 0),
        ("pitch_um", 10**299),
        ("spot_diameter_um", float("nan")),
        ("limits", None),
        ("limits", [1]),
        ("format", None),
        ("normalisation", {}),
    ],
)
def test_provenance_of_a_wrong_kind_is_told(stored, key, value) -> None:
    with pytest.raises(PredictionError, match=rf"{key}|pixel size|format") as error:
        Prediction.open(told(stored, **{key: value}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["null", "[]", "[" * 5000, '"a"', "3", "", "1" * 400])
def test_provenance_that_is_no_object_is_told(stored, text) -> None:
    zarr.open_group(stored, use_consolidated=False)["uns"][PROVENANCE_KEY]["json"][()] = text
    with pytest.raises(PredictionError, match="not a prediction"):
        Prediction.open(stored)


def test_an_exported_prediction_with_a_name_that_is_no_utf8_is_opened(stored, tmp_path) -> None:
    path = tmp_path / os.fsdecode(b"x\xff.h5ad")
    export(Prediction.open(stored), "h5ad", path, progress=False)
    export(Prediction.open(stored), "csv", path.with_suffix(".csv"), progress=False)
    assert Prediction.open(path).genes == ("A", "B", "C")


def test_names_that_are_no_utf8_are_told_as_they_can_be(tmp_path) -> None:
    name = os.fsdecode(b"x\xff.h5ad")
    with pytest.raises(StemError) as error:
        read_truth(tmp_path / name)
    assert "There is no table" in str(error.value)
    assert visible(name) == r"x\udcff.h5ad"
    assert read_json(r'{"slide": "x\udcff"}') == {"slide": "x?"}
    assert read_json(rb'["\ud83d\ude00"]') == ["\U0001f600"]


def test_a_part_that_anndata_does_not_know_is_damage(tmp_path) -> None:
    path = table(tmp_path / "t.h5ad")
    with h5py.File(path, "a") as file:
        file["obsm"].attrs["encoding-type"] = "from tomorrow"
    with pytest.raises(ValueError, match="No read method"):
        read_h5ad(path)


def test_a_sparse_matrix_of_nothing_is_not_made_dense() -> None:
    few = sparse.csr_matrix(([1.0], [0], [0, 1, *[1] * 99_999]), shape=(100_000, 10_000_000))
    with pytest.raises(ValueError, match="claims 8,000,000 MB"):
        dense(few)
    assert dense(sparse.eye(3)).tolist() == np.eye(3).tolist()
