"""Reading sections in HEST layout, whole and broken."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import anndata
import h5py
import numpy as np
import pytest
from scipy.sparse import issparse

from napari_stem.errors import DatasetError
from napari_stem.geometry import Mpp
from napari_stem.slide.pixel_size import sidecar_mpp
from napari_stem.spatial.dataset import Dataset, Section
from napari_stem.spatial.importing import check_dataset
from napari_stem.spatial.table_files import row_blocks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def dataset(her2st_dataset: Path, tmp_path: Path) -> Path:
    """A copy of section C3 that a test may damage."""
    folder = tmp_path / "dataset"
    for path in her2st_dataset.glob("*/C3.*"):
        copy = folder / path.relative_to(her2st_dataset)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return folder


def change_table(dataset: Path, change: Callable[[anndata.AnnData], object]) -> Section:
    """Rewrite C3's table after ``change`` (which may return another table)."""
    path = dataset / "st" / "C3.h5ad"
    table = anndata.read_h5ad(path)
    changed = change(table)
    (changed if isinstance(changed, anndata.AnnData) else table).write_h5ad(path)
    return Dataset(dataset).section("C3")


def change_metadata(dataset: Path, **changes: object) -> Section:
    """Rewrite entries of C3's metadata; None removes one."""
    path = dataset / "metadata" / "C3.json"
    metadata = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in metadata.items() if v is not None}))
    return Dataset(dataset).section("C3")


def test_sections_are_listed_in_order(her2st_dataset: Path) -> None:
    assert Dataset(her2st_dataset).sections == ("C2", "C3")


def test_a_section_knows_its_files_and_scale(her2st_dataset: Path) -> None:
    section = Dataset(her2st_dataset).section("C2")
    assert section.slide_path == her2st_dataset / "wsis" / "C2.jpg"
    assert section.mpp == Mpp.square(section.metadata["pixel_size_um_estimated"])
    assert issparse(section.counts.X)
    assert section.counts.X.dtype == np.float32


def test_array_positions_are_found_where_the_table_has_none(dataset: Path) -> None:
    known = Dataset(dataset).section("C3").spots()
    section = change_table(dataset, lambda t: t.obs.drop(columns=list(t.obs), inplace=True))
    found = section.spots()
    # The refined positions stray from the array's nodes by up to a third of a step.
    for ours, theirs in ((found.array_row, known.array_row), (found.array_col, known.array_col)):
        offset = np.median(theirs - ours)
        assert np.abs(theirs - ours - offset).max() <= 1
        assert (theirs - ours == offset).mean() > 0.9


def test_pitch_is_measured_where_nobody_states_it(dataset: Path) -> None:
    section = change_metadata(dataset, inter_spot_dist=None)
    # These spots stray from their nodes; the nearest neighbour is one that strayed this way.
    assert section.spots().pitch_um == pytest.approx(200, rel=0.08)


def test_diameter_comes_from_metadata_without_scale_factors(dataset: Path) -> None:
    change_table(dataset, lambda t: t.uns.clear())
    assert change_metadata(dataset, spot_diameter=55).spots().diameter_um == 55


def test_dense_tables_are_read_too(dataset: Path) -> None:
    before = Dataset(dataset).section("C3").counts.X.toarray()

    def densify(table: anndata.AnnData) -> None:
        table.X = table.X.toarray()

    section = change_table(dataset, densify)
    assert issparse(section.counts.X)
    np.testing.assert_array_equal(section.counts.X.toarray(), before)


def test_listing_and_describing_reads_no_table(
    her2st_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a table was read")

    monkeypatch.setattr("h5py.File.__init__", refuse)
    dataset = Dataset(her2st_dataset)
    sections = [dataset.section(section_id) for section_id in dataset.sections]
    assert [s.metadata["patient"] for s in sections] == ["C", "C"]
    assert all(s.mpp.x_um > 2 for s in sections)


def test_spots_genes_and_sizes_need_no_counts(dataset: Path) -> None:
    whole = Dataset(dataset).section("C3").counts
    with h5py.File(dataset / "st" / "C3.h5ad", "r+") as file:
        file["X/data"][:] = np.nan  # would be refused, were it read
    section = Dataset(dataset).section("C3")
    assert section.genes == tuple(whole.var_names)
    assert section.n_spots == whole.n_obs
    assert section.spots().names == tuple(whole.obs_names)
    np.testing.assert_array_equal(section.spots().x_px, whole.obsm["spatial"][:, 0])


@pytest.mark.parametrize("stored", ["csr", "csc", "dense"])
def test_chosen_genes_are_read_in_blocks(
    dataset: Path, stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_stem.spatial.table_files._VALUES_PER_BLOCK", 1000)
    whole = Dataset(dataset).section("C3").counts

    def store(table: anndata.AnnData) -> None:
        table.X = table.X.toarray() if stored == "dense" else getattr(table.X, f"to{stored}")()

    section = change_table(dataset, store)
    blocks = list(row_blocks(section.table_path))
    assert (len(blocks) > 10) == (stored != "csc")
    genes = ["ERBB2", "CD3D", "FASN"]
    expected = whole[:, genes].X.toarray()
    np.testing.assert_array_equal(section.counts_of(genes), expected)
    assert section.counts_of(genes).dtype == np.float32
    np.testing.assert_array_equal(section.library_sizes, whole.X.toarray().sum(axis=1))


def test_chosen_genes_that_were_not_measured_are_told(dataset: Path) -> None:
    with pytest.raises(DatasetError, match=r"1 of 2 genes were not measured .*\(MYC-1\)"):
        Dataset(dataset).section("C3").counts_of(["ERBB2", "MYC-1"])


def test_impossible_chosen_counts_are_told(dataset: Path) -> None:
    section = change_table(dataset, lambda t: t.X.data.__setitem__(slice(None), -1))
    with pytest.raises(DatasetError, match="negative counts"):
        section.counts_of(["ERBB2"])


def test_array_positions_that_are_no_numbers_are_not_used(dataset: Path) -> None:
    known = Dataset(dataset).section("C3").spots()

    def spoil(table: anndata.AnnData) -> None:
        table.obs["array_row"] = ["?"] * table.n_obs

    found = change_table(dataset, spoil).spots()
    assert np.abs(np.ptp(found.array_row) - np.ptp(known.array_row)) <= 1


def test_an_unknown_section_is_told(her2st_dataset: Path) -> None:
    with pytest.raises(DatasetError, match=r"no section 'C9'; it has C2, C3"):
        Dataset(her2st_dataset).section("C9")


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no data set folder"):
        Dataset(tmp_path / "nowhere")


@pytest.mark.parametrize("part", ["wsis", "st", "metadata"])
def test_a_missing_part_is_told(dataset: Path, part: str) -> None:
    shutil.rmtree(dataset / part)
    with pytest.raises(DatasetError, match=f"no folder '{part}'"):
        Dataset(dataset)


@pytest.mark.parametrize("part", ["wsis", "st", "metadata"])
def test_a_part_of_a_data_set_is_led_back_from(her2st_dataset: Path, part: str) -> None:
    with pytest.raises(DatasetError, match=f"; name {re.escape(str(her2st_dataset))}[.]"):
        Dataset(her2st_dataset / part)


def test_a_data_set_without_sections_is_told(dataset: Path) -> None:
    (dataset / "st" / "C3.h5ad").unlink()
    with pytest.raises(DatasetError, match="no sections"):
        Dataset(dataset)


def test_a_missing_image_is_told(dataset: Path) -> None:
    (dataset / "wsis" / "C3.jpg").unlink()
    with pytest.raises(DatasetError, match="found none"):
        _ = Dataset(dataset).section("C3").slide_path


def test_two_images_of_one_section_are_told(dataset: Path) -> None:
    (dataset / "wsis" / "C3.tif").touch()
    with pytest.raises(DatasetError, match=r"found C3\.jpg, C3\.tif"):
        _ = Dataset(dataset).section("C3").slide_path


def test_missing_metadata_are_told(dataset: Path) -> None:
    (dataset / "metadata" / "C3.json").unlink()
    with pytest.raises(DatasetError, match=r"has no .*C3\.json"):
        _ = Dataset(dataset).section("C3").mpp


@pytest.mark.parametrize(("content", "message"), [("{", "as JSON"), ("[]", "JSON object")])
def test_broken_metadata_are_told(dataset: Path, content: str, message: str) -> None:
    (dataset / "metadata" / "C3.json").write_text(content)
    with pytest.raises(DatasetError, match=message):
        _ = Dataset(dataset).section("C3").mpp


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_metadata_may_be_corrected_with_windows_own_editor(dataset: Path, encoding: str) -> None:
    path, (image,) = dataset / "metadata" / "C3.json", (dataset / "wsis").glob("C3.*")
    path.write_text(path.read_text(), encoding, newline="\r\n")
    mpp = Dataset(dataset).section("C3").mpp
    assert mpp == Mpp.square(Dataset(dataset).section("C3").metadata["pixel_size_um_estimated"])
    assert sidecar_mpp(image) == mpp


def test_a_missing_pixel_size_is_told(dataset: Path) -> None:
    with pytest.raises(DatasetError, match="does not state 'pixel_size_um_estimated'"):
        _ = change_metadata(dataset, pixel_size_um_estimated=None).mpp


def test_what_metadata_leave_open_as_nan_is_missing(dataset: Path) -> None:
    section = change_metadata(dataset, inter_spot_dist=float("nan"))
    assert section.metadata["inter_spot_dist"] is None
    assert section.spots().pitch_um == pytest.approx(200, rel=0.08)


@pytest.mark.parametrize("value", [0, -1, "wide", [1]])
def test_an_impossible_pixel_size_is_told(dataset: Path, value: object) -> None:
    with pytest.raises(DatasetError, match="no microscope has"):
        _ = change_metadata(dataset, pixel_size_um_estimated=value).mpp


@pytest.mark.parametrize("key", ["inter_spot_dist", "spot_diameter", "fullres_px_width"])
@pytest.mark.parametrize("value", ["100 um", [100], True, -1])
def test_a_size_that_is_none_is_told(dataset: Path, key: str, value: object) -> None:
    section = change_metadata(dataset, **{key: value})
    with pytest.raises(DatasetError, match=f"C3.json states .* as '{key}'.*correct or remove it"):
        section.spots()
    found = check_dataset(Dataset(dataset))["C3"]
    assert "unreadable-metadata" in {one.check for one in found}


@pytest.mark.parametrize("value", ["", "0", 0, float("nan")])
def test_a_pitch_that_is_left_open_is_measured(dataset: Path, value: object) -> None:
    section = change_metadata(dataset, inter_spot_dist=value)
    assert section.spots().pitch_um == pytest.approx(200, rel=0.08)
    assert check_dataset(Dataset(dataset))["C3"] == []


def test_spots_off_the_image_are_told(dataset: Path) -> None:
    section = change_metadata(dataset, fullres_px_width=1000)
    with pytest.raises(DatasetError, match="spots outside the 1000 x 2484 px image: "):
        _ = section.counts


def test_a_damaged_table_is_told(dataset: Path) -> None:
    (dataset / "st" / "C3.h5ad").write_text("not HDF5")
    with pytest.raises(DatasetError, match="damaged"):
        _ = Dataset(dataset).section("C3").counts


def _set(value: float) -> Callable[[anndata.AnnData], None]:
    def change(table: anndata.AnnData) -> None:
        table.X.data[3] = value

    return change


def _same_place(table: anndata.AnnData) -> None:
    table.obsm["spatial"][1] = table.obsm["spatial"][0]


def _no_place(table: anndata.AnnData) -> None:
    del table.obsm["spatial"]


def _nan_place(table: anndata.AnnData) -> None:
    table.obsm["spatial"][1, 0] = np.nan


def _one_column(table: anndata.AnnData) -> None:
    table.obsm["spatial"] = np.ones((table.n_obs, 1))


def _same_name(table: anndata.AnnData) -> None:
    table.obs_names = [table.obs_names[1], *table.obs_names[1:]]


def _same_gene(table: anndata.AnnData) -> None:
    table.var_names = [table.var_names[1], *table.var_names[1:]]


def _no_spots(table: anndata.AnnData) -> anndata.AnnData:
    return table[:0].copy()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set(np.nan), "counts that are not numbers: 1"),
        (_set(-1), "negative counts: 1"),
        (_set(0.5), "fractional counts: 1"),
        (_same_place, "spots at the place of another: 1"),
        (_no_place, "have no place"),
        (_nan_place, "positions that are not numbers: 1"),
        (_one_column, "two columns"),
        (_no_spots, "no spots"),
    ],
)
def test_impossible_tables_are_told(
    dataset: Path, change: Callable[[anndata.AnnData], object], message: str
) -> None:
    section = change_table(dataset, change)
    with pytest.raises(DatasetError, match=message):
        _ = section.counts


@pytest.mark.filterwarnings("ignore:(Observation|Variable) names are not unique:UserWarning")
@pytest.mark.parametrize(("change", "what"), [(_same_name, "spots"), (_same_gene, "genes")])
def test_repeated_names_are_told(
    dataset: Path, change: Callable[[anndata.AnnData], object], what: str
) -> None:
    section = change_table(dataset, change)
    with pytest.raises(DatasetError, match=f"{what} with the name of another: 1"):
        _ = section.counts
