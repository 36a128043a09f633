"""Tables of spots in every dialect of AnnData, through every way in."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_matrix, csr_matrix

from napari_stem.encoders.precomputed_files import read_raw
from napari_stem.errors import DatasetError, EncoderError, SpotError
from napari_stem.evaluation.comparison import read_truth
from napari_stem.geometry import Mpp, SizePx
from napari_stem.spatial import table_files
from napari_stem.spatial.table_files import read_spots

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COUNTS = np.random.default_rng(1).poisson(2, (12, 5)).astype(np.float32)
XY_PX = np.array([[100.0 + 50 * (i % 4), 100.0 + 60 * (i // 4)] for i in range(12)])
GENES = ["CD74", "FASN", "ERBB2", "GNAS", "VIM"]
SPOTS = [f"s{i}" for i in range(12)]


def sound() -> anndata.AnnData:
    table = anndata.AnnData(
        csr_matrix(COUNTS), obs=pd.DataFrame(index=SPOTS), var=pd.DataFrame(index=GENES)
    )
    table.obsm["spatial"] = XY_PX.copy()
    table.uns["spatial"] = {"L": {"images": {}, "scalefactors": {"spot_diameter_fullres": 40.0}}}
    return table


def normalised(table: anndata.AnnData) -> anndata.AnnData:
    table.X = csr_matrix(np.log1p(COUNTS / 3))
    return table


def in_raw(table: anndata.AnnData) -> anndata.AnnData:
    """As scanpy leaves it: more genes in ``raw`` than were kept."""
    table.raw = table.copy()
    return normalised(table)[:, :3].copy()


def in_layer(table: anndata.AnnData, name: str = "counts") -> None:
    table.layers[name] = csc_matrix(COUNTS)
    normalised(table)


def without_x(table: anndata.AnnData) -> anndata.AnnData:
    bare = anndata.AnnData(obs=table.obs, var=table.var, obsm=dict(table.obsm), uns=dict(table.uns))
    bare.layers["counts"] = table.X
    return bare


def stored(table: anndata.AnnData, how: Callable[[np.ndarray], object]) -> None:
    table.X = how(COUNTS)


def with_z(table: anndata.AnnData) -> None:
    table.obsm["spatial"] = np.column_stack([XY_PX, np.full(12, 7.0)])


def as_frame(table: anndata.AnnData) -> None:
    """Columns that say which is which, in another order."""
    frame = pd.DataFrame({"z": 0, "y": XY_PX[:, 1], "X": XY_PX[:, 0]}, index=SPOTS)
    table.obsm["spatial"] = frame


def flagged(table: anndata.AnnData) -> None:
    table.uns["spatial"] |= {
        "is_single": True,
        "note": "a word",
        "grid": np.ones(3),
        "odd": {"a": 1},
    }


CHANGES = {
    "as it should be": lambda table: None,
    "raw": in_raw,
    "layer": in_layer,
    "layer raw": partial(in_layer, name="raw_counts"),
    "no X": without_x,
    "CSC": partial(stored, how=csc_matrix),
    "dense": partial(stored, how=np.array),
    "64-bit integers": partial(stored, how=lambda x: csr_matrix(x.astype(np.int64))),
    "dense integers": partial(stored, how=lambda x: x.astype(np.int64)),
    "float64": partial(stored, how=lambda x: csr_matrix(x.astype(np.float64))),
    "z": with_z,
    "frame": as_frame,
    "flags": flagged,
}


def old(table: anndata.AnnData, path: Path) -> None:
    """Write as anndata 0.6 did: obs, var and obsm as compound data sets, X as of h5sparse, ``raw.X``."""
    x = table.X.tocsr()
    with h5py.File(path, "w") as file:
        for name, matrix in (("X", np.log1p(x)), ("raw.X", x)):
            group = file.create_group(name)
            group.attrs["h5sparse_format"], group.attrs["h5sparse_shape"] = "csr", np.array(x.shape)
            group["data"], group["indices"], group["indptr"] = matrix.data, x.indices, x.indptr
        names = [("index", "S10")]
        spots = [(spot.encode(), i % 2) for i, spot in enumerate(table.obs_names)]
        file["obs"] = np.array(spots, dtype=[*names, ("kind", "i1")])
        genes = np.array([(gene.encode(),) for gene in table.var_names], dtype=names)
        file["var"], file["raw.var"] = genes, genes
        places = [(tuple(row),) for row in table.obsm["spatial"]]
        file["obsm"] = np.array(places, dtype=[("spatial", "f8", (2,))])
        file["uns/kind_categories"] = np.array([b"a", b"b"])


@pytest.fixture(params=[*CHANGES, "anndata 0.6"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file, table = tmp_path / "t.h5ad", sound()
    if request.param == "anndata 0.6":
        old(table, file)
    else:
        (CHANGES[request.param](table) or table).write_h5ad(file)
    return file


def test_every_dialect_gives_the_same_counts_and_places(path: Path) -> None:
    table = read_truth(path)
    np.testing.assert_array_equal(table.X.toarray(), COUNTS)
    assert (list(table.obs_names), list(table.var_names)) == (SPOTS, GENES)
    np.testing.assert_array_equal(table.obsm["spatial"], XY_PX)
    blocks = [block.toarray() for block in table_files.row_blocks(path)]
    np.testing.assert_array_equal(np.concatenate(blocks), COUNTS)
    assert table_files.read_genes(path) == GENES
    spots = read_spots(path, SizePx(1000, 1000), Mpp.square(0.5), 50)
    np.testing.assert_array_equal(np.column_stack([spots.x_px, spots.y_px]), XY_PX)
    assert spots.names == tuple(SPOTS)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_spots_are_read_from_tables_of_any_program(mark: str, tmp_path: Path) -> None:
    path = tmp_path / "SPOTS.CSV"
    path.write_text("name,x_px,y_px\n007,10.5,20\nb,30,40\n".replace(",", mark), encoding="utf-16")
    spots = read_spots(path, SizePx(1000, 1000), Mpp.square(0.5), 50)
    assert (list(spots.x_px), list(spots.y_px)) == ([10.5, 30], [20, 40])
    assert spots.names == ("007", "b")


@pytest.mark.parametrize("asked_um", [100.0, 200.0])
def test_given_spots_are_no_further_apart_than_they_lie(tmp_path: Path, asked_um: float) -> None:
    """Of spots 100 um apart a prediction said 200 um, the model's."""
    path, mpp = tmp_path / "spots.csv", Mpp(y_um=0.5, x_um=0.25)
    row, col = np.mgrid[:5, :7].reshape(2, -1)
    lines = [f"{400 * c + 33},{200 * r + 7}" for r, c in zip(row, col, strict=True)]
    path.write_text("\n".join(["x_px,y_px", *lines]))
    spots = read_spots(path, SizePx(4000, 4000), mpp, asked_um)
    assert (spots.pitch_um, spots.diameter_um) == (100, asked_um)
    np.testing.assert_array_equal(spots.array_row, row)
    np.testing.assert_array_equal(spots.array_col, col)


def test_spots_of_a_thinned_lattice_are_as_far_apart_as_they_lie() -> None:
    """Every 50th bin of Visium HD, 100 um apart: its bins are 2 um apart."""
    row, col = 50 * np.mgrid[:5, :7].reshape(2, -1)
    obs = pd.DataFrame({"array_row": row, "array_col": col}, index=[f"s{n}" for n in range(35)])
    table = anndata.AnnData(obs=obs, obsm={"spatial": np.column_stack([4.0 * col, 4.0 * row])})
    assert read_spots(table, SizePx(4000, 4000), Mpp.square(0.5), 200.0).pitch_um == 100


@pytest.mark.parametrize(
    "heading", ["x_px,x_px,y_px", ' x_px ,"x_px",y_px', "x_px,y_px,NA,NA", "x_px,y_px,y_px"]
)
def test_a_column_named_twice_is_told(tmp_path: Path, heading: str) -> None:
    path = tmp_path / "spots.csv"
    path.write_text(f"{heading}\n1,20,30\n")
    with pytest.raises(SpotError, match="two columns of the same name"):
        read_spots(path, SizePx(100, 100), Mpp.square(1.0), 10.0)
    for empty in (",,", ", , "):  # as spreadsheets write empty columns, and others fill them up
        path.write_text(f"x_px,y_px{empty}\n1,20{empty}\n")
        assert len(read_spots(path, SizePx(100, 100), Mpp.square(1.0), 10.0)) == 1


def test_spots_with_decimal_commas_are_read_where_that_is_sure(tmp_path: Path) -> None:
    path = tmp_path / "spots.csv"

    def read(text: str) -> list[tuple[float, float]]:
        path.write_text(text)
        spots = read_spots(path, SizePx(1000, 1000), Mpp.square(0.5), 50)
        return list(zip(spots.x_px, spots.y_px, strict=True))

    assert read("x_px;y_px;name\n10,5;20;1,5\n30;40,25;2,5\n") == [(10.5, 20), (30, 40.25)]
    assert read("x_px;y_px;name\n10.5;20;1,5\n30;40.25;2,5\n") == [(10.5, 20), (30, 40.25)]
    for unsure in (
        "x_px;y_px\n10,5;1.200\n",
        "x_px;y_px\n1.010,5;20\n",
        "x_px\ty_px\n10,500\t20\n",
        'x_px,y_px\n"10,5","20"\n',
        "x_px,y_px\n10,20\n30,5,20\n30,5,20,5\n",
    ):
        with pytest.raises(SpotError, match="decimal commas, put semicolons between the cells"):
            read(unsure)
    for too_many in ("x_px,y_px\n10,5,20,5\n30,5,20,5\n", "x_px,y_px\n10,5,20\n30,5,20\n"):
        with pytest.raises(SpotError, match="more cells in its lines than columns"):
            read(too_many)


def test_embeddings_lie_where_spots_do(path: Path) -> None:
    with h5py.File(path) as file:
        has_features = "X" in file
    if has_features:
        np.testing.assert_array_equal(read_raw(path).xy_px, XY_PX)
        return
    with pytest.raises(EncoderError, match="cannot be read as embeddings"):
        read_raw(path)


@pytest.mark.parametrize("change", [in_raw, in_layer, without_x])
def test_counts_from_elsewhere_are_told(
    tmp_path: Path, change: Callable[[anndata.AnnData], object], caplog: pytest.LogCaptureFixture
) -> None:
    table = sound()
    (change(table) or table).write_h5ad(tmp_path / "t.h5ad")
    read_truth(tmp_path / "t.h5ad")
    assert "holds no raw counts in X; those in " in caplog.text


def test_a_third_column_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = sound()
    with_z(table)
    table.write_h5ad(tmp_path / "t.h5ad")
    read_truth(tmp_path / "t.h5ad")
    assert 'has 3 columns in obsm["spatial"]; the first two are taken' in caplog.text


def test_normalised_values_alone_are_refused(tmp_path: Path) -> None:
    normalised(sound()).write_h5ad(tmp_path / "t.h5ad")
    with pytest.raises(DatasetError, match="must hold raw counts"):
        read_truth(tmp_path / "t.h5ad")


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"is a folder, not an \.h5ad file"):
        read_truth(tmp_path)


def test_names_are_cleaned_and_repeats_added_up(tmp_path: Path) -> None:
    table = sound()
    table.var_names = ['\ufeff"CD74"', "FASN\r", " CD74 ", "ENSG00000141736.14", "VIM\x1b[2J"]
    table.write_h5ad(tmp_path / "t.h5ad")
    read = read_truth(tmp_path / "t.h5ad")
    assert list(read.var_names) == ["CD74", "FASN", "ENSG00000141736", "VIM"]
    np.testing.assert_array_equal(read.X[:, 0].toarray().ravel(), COUNTS[:, [0, 2]].sum(axis=1))


def damages() -> dict[str, Callable[[h5py.File], object]]:
    def put(name: str, value: object) -> Callable[[h5py.File], None]:
        def change(file: h5py.File) -> None:
            del file[name]
            file[name] = value

        return change

    return {
        "no X": lambda file: file.__delitem__("X"),
        "no obs": lambda file: file.__delitem__("obs"),
        "no index": lambda file: file["obs"].attrs.__delitem__("_index"),
        "column beside": lambda file: file["X/indices"].__setitem__(0, 10**6),
        "negative column": lambda file: file["X/indices"].__setitem__(0, -3),
        "rows beside": lambda file: file["X/indptr"].__setitem__(5, 10**6),
        "words for counts": put("X/data", np.array([b"a"] * 3)),
        "a number for X": put("X", 3.0),
        "a number for obs": put("obs", 3.0),
        "another encoding": lambda file: file["X"].attrs.__setitem__("encoding-type", "cube"),
        "another shape": lambda file: file["X"].attrs.__setitem__("shape", [3, 10**9]),
        "flat X": put("X", np.ones(7)),
    }


@pytest.mark.parametrize("damage", damages())
def test_damage_ends_in_a_sentence(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "t.h5ad"
    sound().write_h5ad(path)
    with h5py.File(path, "r+") as file:
        damages()[damage](file)
    with pytest.raises(DatasetError, match=r"damaged|X must hold"):
        read_truth(path)


@pytest.mark.parametrize("damage", ["column beside", "negative column", "rows beside"])
def test_embeddings_beside_their_table_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "t.h5ad"
    sound().write_h5ad(path)
    with h5py.File(path, "r+") as file:
        damages()[damage](file)
    with pytest.raises(EncoderError, match="damaged"):  # scipy would write beside its memory
        read_raw(path)


@pytest.mark.parametrize("size", [0, 7, 500, 2000, 6000])
def test_files_cut_short_end_in_a_sentence(tmp_path: Path, size: int) -> None:
    path = tmp_path / "t.h5ad"
    sound().write_h5ad(path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DatasetError, match="damaged"):
        read_truth(path)
    with pytest.raises(SpotError, match="damaged"):
        read_spots(path, SizePx(1000, 1000), Mpp.square(0.5), 50)
    with pytest.raises(EncoderError, match=r"damaged|cannot be read"):
        read_raw(path)
