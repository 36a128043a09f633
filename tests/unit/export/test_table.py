"""AnnData for scanpy and squidpy."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pytest

from napari_stem.errors import OutputError, PredictionError
from napari_stem.exporting.options import ExportOptions
from napari_stem.exporting.selection import Selection
from napari_stem.exporting.table import write_anndata
from napari_stem.results import LIBRARY, PROVENANCE_KEY, Prediction
from napari_stem.spatial_analysis import Domains
from napari_stem.spatial_analysis.store import sidecar_path, write_domains

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".h5ad", ".zarr")


def read(path: Path) -> anndata.AnnData:
    return anndata.read_h5ad(path) if path.suffix == ".h5ad" else anndata.read_zarr(path)


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path: Path) -> Path:
    return tmp_path / "new folder" / f"copy{request.param}"


def test_a_whole_copy_holds_the_same(prediction: Prediction, path: Path) -> None:
    write_anndata(Selection.of(prediction), path)
    found, expected = read(path), prediction.to_anndata()
    np.testing.assert_array_equal(found.X, expected.X)
    for layer in ("sd", "q05", "q95"):
        np.testing.assert_array_equal(found.layers[layer], expected.layers[layer])
    np.testing.assert_array_equal(found.obsm["draws"], expected.obsm["draws"])
    assert json.loads(found.uns[PROVENANCE_KEY]["json"]) == prediction.provenance
    assert found.uns["spatial"][LIBRARY]["images"]["hires"].dtype == np.uint8


@pytest.mark.parametrize("room", [1_000, 300_000, 1_000_000])  # bytes; in all it takes 1.4 MB
def test_where_there_is_no_room_one_sentence_says_so(
    prediction: Prediction, tmp_path: Path, capfd, room: int
) -> None:
    resource = pytest.importorskip("resource")  # not on Windows
    path, limits = tmp_path / "copy.h5ad", resource.getrlimit(resource.RLIMIT_FSIZE)
    selection = Selection.of(prediction)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"copy\.h5ad cannot be written \(File too large\)"):
            write_anndata(selection, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_some_genes_of_what_is_done(half_done: Prediction, regions, path: Path) -> None:
    genes = ("SCD", "GNAS")
    selection = Selection.of(half_done, genes, regions)
    write_anndata(selection, path)
    found = read(path)
    assert tuple(found.var_names) == genes
    assert tuple(found.obs_names) == half_done.spots.names[:10]
    for number, gene in enumerate(genes):
        np.testing.assert_array_equal(found.X[:, number], half_done.values(gene)[:10])
        np.testing.assert_array_equal(
            found.layers["q95"][:, number], half_done.values(gene, "q95")[:10]
        )
    column = half_done.genes.index("GNAS")
    draws = half_done.to_anndata().obsm["draws"]
    np.testing.assert_array_equal(found.obsm["draws"][:, 1], draws[:10, column])
    assert list(found.obs["region"]) == selection.region_names


def test_a_zarr_can_be_opened_as_a_prediction_again(half_done: Prediction, tmp_path: Path) -> None:
    write_anndata(Selection.of(half_done, ("SCD",)), tmp_path / "part.zarr")
    again = Prediction.open(tmp_path / "part.zarr")
    assert again.done.all()
    assert again.provenance == half_done.provenance
    np.testing.assert_array_equal(again.values("SCD"), half_done.values("SCD")[:10])


def test_domains_found_beside_the_prediction_come_along(half_done: Prediction, path: Path) -> None:
    labels = np.array([0, 1, 0, 0, 1, 0, 0, 0, 1, 0])
    domains = Domains(half_done.spots.names[:10], labels, ("Tumour", "Stroma"), ((), ()), 1.0)
    write_domains(domains, sidecar_path(half_done))
    write_anndata(Selection.of(half_done, ("SCD",)), path)
    found = read(path).obs["domain"]
    assert list(found.cat.categories) == ["Tumour", "Stroma"]
    np.testing.assert_array_equal(found.cat.codes, labels)


def test_a_whole_copy_has_its_domains_too(c5_prediction: Path, path: Path, tmp_path: Path) -> None:
    shutil.copytree(c5_prediction, tmp_path / "C5.zarr")
    whole = Prediction.open(tmp_path / "C5.zarr")
    labels = np.arange(len(whole.spots)) % 2
    domains = Domains(whole.spots.names, labels, ("A", "B"), ((), ()), 1.0)
    write_domains(domains, sidecar_path(whole))
    write_anndata(Selection.of(whole), path)
    np.testing.assert_array_equal(read(path).obs["domain"].cat.codes, labels)
    stale = Domains(whole.spots.names[1:], labels[1:], ("A", "B"), ((), ()), 1.0)
    write_domains(stale, sidecar_path(whole))  # of other spots than are done by now
    write_anndata(Selection.of(whole), path, ExportOptions(overwrite=True))
    assert "domain" not in read(path).obs


def test_squidpy_uses_it_as_it_is(prediction: Prediction, path: Path, tmp_path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import squidpy

    write_anndata(Selection.of(prediction, ("SCD", "GNAS")), path)
    table = read(path)
    squidpy.pl.spatial_scatter(table, color="SCD", shape="square")
    (drawn,) = plt.gcf().axes[0].collections
    plt.close("all")
    shown = np.ma.compressed(np.ma.masked_invalid(drawn.get_array()))
    np.testing.assert_allclose(np.sort(shown), np.sort(prediction.values("SCD")), rtol=1e-6)
    squidpy.gr.spatial_neighbors_grid(table, n_neighs=4)
    neighbours = table.obsp["spatial_connectivities"]
    assert neighbours.shape == (len(prediction.spots),) * 2
    assert neighbours.sum(1).max() == 4
    assert neighbours.sum(1).min() == 2  # the corners of a square


def test_what_cannot_be_written_is_said(prediction: Prediction, tmp_path: Path) -> None:
    selection = Selection.of(prediction)
    with pytest.raises(OutputError, match=r"copy\.csv has an ending"):
        write_anndata(selection, tmp_path / "copy.csv")
    (tmp_path / "file").write_text("in the way")
    for suffix in SUFFIXES:
        with pytest.raises(OutputError, match=rf"copy\{suffix} cannot be written"):
            write_anndata(selection, tmp_path / "file" / f"copy{suffix}")


def test_a_damaged_prediction_is_told(half_done: Prediction, tmp_path: Path) -> None:
    for chunk in (half_done.path / "X" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"no chunk at all")
    opened = Prediction.open(half_done.path)
    with pytest.raises(PredictionError, match="is damaged"):
        write_anndata(Selection.of(opened), tmp_path / "copy.h5ad")
    assert not list(tmp_path.glob("copy*"))
