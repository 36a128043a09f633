"""Visium and Visium HD folders, written from real counts and pixels, read by the real readers."""

from __future__ import annotations

import gzip
import json
import re
from functools import partial
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import mmwrite
from scipy.sparse import coo_matrix, csc_matrix, vstack
from space_ranger_folders import Run, visium_hd_run, visium_run
from typer.testing import CliRunner

from napari_stem.cli import app
from napari_stem.errors import DatasetError
from napari_stem.spatial.dataset import Dataset
from napari_stem.spatial.importing import ImportSettings
from napari_stem.spatial.space_ranger import find_image, species_of
from napari_stem.spatial.visium import import_visium

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import anndata

import_visium_hd = partial(import_visium, bin_um=16)
# squidpy and spatialdata warn of their own dependencies while they are imported
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def table(her2st_dataset: Path) -> anndata.AnnData:
    return Dataset(her2st_dataset).section("C3").counts


@pytest.fixture
def image(her2st_dataset: Path) -> Path:
    return her2st_dataset / "wsis" / "C3.jpg"


@pytest.fixture
def run(tmp_path: Path, image: Path, table: anndata.AnnData) -> Run:
    return visium_run(tmp_path / "S1" / "outs", image, table)


@pytest.mark.parametrize("ending", [".scn", ".bif", ".vms", ".vmu", ".svslide", ".tif"])
def test_the_image_may_have_any_ending_that_slides_have(ending: str, tmp_path: Path) -> None:
    for name in (f"section{ending}", "notes.txt"):
        (tmp_path / name).touch()
    assert find_image(tmp_path) == tmp_path / f"section{ending}"


def compare(dataset: Path, section_id: str, run: Run) -> None:
    """Exactly the counts and places that went in, the pixel size to the rounding of positions."""
    section = Dataset(dataset).section(section_id)
    spots = section.spots()
    assert list(section.genes) == run.genes
    assert list(spots.names) == run.barcodes
    np.testing.assert_array_equal(section.counts.X.toarray(), run.counts)
    np.testing.assert_array_equal(np.column_stack([spots.x_px, spots.y_px]), run.xy_px)
    assert section.mpp.x_um == pytest.approx(run.mpp_um, rel=2e-3)
    assert section.slide_path.read_bytes() == run.image.read_bytes()


@pytest.mark.parametrize("version", [1, 2])
def test_importing_then_reading_gives_what_went_in(
    tmp_path: Path, image: Path, table: anndata.AnnData, version: int
) -> None:
    run = visium_run(tmp_path / "S1" / "outs", image, table, version=version)
    outcome = import_visium([run.folder], tmp_path / "ds", image=image)
    assert (outcome.imported, outcome.failed) == (["S1"], {})
    compare(tmp_path / "ds", "S1", run)
    spots = Dataset(tmp_path / "ds").section("S1").spots()
    assert (spots.pitch_um, spots.diameter_um) == (100, pytest.approx(55))
    assert {f.check for f in outcome.findings.get("S1", [])} <= {"empty-spots"}


def test_spots_off_the_tissue_are_left_out(run: Run, tmp_path: Path) -> None:
    path = run.folder / "spatial" / "tissue_positions.csv"
    positions = pd.read_csv(path)
    off = set(run.barcodes[3:8])
    positions.loc[positions["barcode"].isin(off), "in_tissue"] = 0
    positions.to_csv(path, index=False)
    import_visium([run.folder], tmp_path / "ds", image=run.image, name="mine")
    names = Dataset(tmp_path / "ds").section("mine").spots().names
    assert list(names) == [name for name in run.barcodes if name not in off]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("barcode", "other", "None of the counted spots .* has a position; .*endings such as -1"),
        ("in_tissue", 0, "No spot .*in_tissue is 1 for none"),
    ],
)
def test_positions_that_place_no_counted_spot_are_told(
    run: Run, tmp_path: Path, column: str, value: object, message: str
) -> None:
    path = run.folder / "spatial" / "tissue_positions.csv"
    positions = pd.read_csv(path)
    positions[column] = value
    if column == "barcode":
        positions[column] += positions.index.astype(str)
    positions.to_csv(path, index=False)
    (failed,) = import_visium([run.folder], tmp_path / "out", image=run.image).failed.values()
    assert re.search(message, failed)


def test_a_disk_that_becomes_full_is_told_in_one_sentence(run: Run, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        failed = import_visium([run.folder], tmp_path / "ds", image=run.image).failed["S1"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "S1.h5ad cannot be written (File too large); choose another place." in failed
    assert [path for path in (tmp_path / "ds").rglob("*") if path.is_file()] == []


def test_the_image_is_found_beside_the_output(run: Run, tmp_path: Path) -> None:
    (run.folder.parent / "slide.jpg").write_bytes(run.image.read_bytes())
    assert import_visium([tmp_path / "S1"], tmp_path / "ds").imported == ["S1"]


def test_several_images_beside_it_are_not_guessed_between(run: Run, tmp_path: Path) -> None:
    for name in ("one.jpg", "other.jpg"):
        (run.folder.parent / name).write_bytes(run.image.read_bytes())
    failed = import_visium([run.folder], tmp_path / "ds").failed
    assert "2 images (one.jpg, other.jpg); say which with --image" in failed["S1"]


def test_without_a_full_image_it_is_asked_for(run: Run, tmp_path: Path) -> None:
    assert "--image" in import_visium([run.folder], tmp_path / "ds").failed["S1"]


def test_a_reduced_image_is_refused(run: Run, tmp_path: Path) -> None:
    half = tmp_path / "half.png"
    with Image.open(run.image) as full:
        full.reduce(2).save(half)
    failed = import_visium([run.folder], tmp_path / "ds", image=half).failed["S1"]
    assert "to which the positions belong" in failed
    assert not (tmp_path / "ds" / "st").exists()


def test_a_tag_twice_the_spacing_stops(run: Run, tmp_path: Path) -> None:
    path = run.folder / "spatial" / "scalefactors_json.json"
    scales = json.loads(path.read_text())
    path.write_text(json.dumps(scales | {"spot_diameter_fullres": 130 / run.mpp_um}))
    failed = import_visium([run.folder], tmp_path / "ds", image=run.image).failed["S1"]
    assert "disagree by a factor of 2" in failed
    assert "scalefactors_json.json" in failed


def test_a_tag_off_by_a_tenth_warns(run: Run, tmp_path: Path) -> None:
    path = run.folder / "spatial" / "scalefactors_json.json"
    scales = json.loads(path.read_text())
    path.write_text(json.dumps(scales | {"spot_diameter_fullres": 58.5 / run.mpp_um}))
    outcome = import_visium([run.folder], tmp_path / "ds", image=run.image)
    assert outcome.imported == ["S1"]
    assert [f.severity for f in outcome.findings["S1"] if f.check == "pixel-size-mismatch"] == [
        "warns"
    ]


def test_repeated_symbols_are_added_up(run: Run, tmp_path: Path) -> None:
    with h5py.File(run.folder / "filtered_feature_bc_matrix.h5", "r+") as file:
        names = file["matrix/features/name"][:]
        names[1] = names[0]
        file["matrix/features/name"][:] = names
    outcome = import_visium([run.folder], tmp_path / "ds", image=run.image)
    counts = Dataset(tmp_path / "ds").section("S1").counts
    assert list(counts.var_names) == [run.genes[0], *run.genes[2:]]
    np.testing.assert_array_equal(counts.X[:, 0].toarray().ravel(), run.counts[:, :2].sum(axis=1))
    assert "duplicate-genes" in {f.check for f in outcome.findings["S1"]}


def test_positions_off_the_lattice_are_told(run: Run, tmp_path: Path) -> None:
    path = run.folder / "spatial" / "tissue_positions.csv"
    positions = pd.read_csv(path)
    positions["array_row"] = positions["array_row"].to_numpy()[::-1] ** 2
    positions.to_csv(path, index=False)
    assert (
        "100 um lattice"
        in import_visium([run.folder], tmp_path / "ds", image=run.image).failed["S1"]
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("spatial/tissue_positions.csv", "lacks .*tissue_positions"),
        ("spatial/scalefactors_json.json", "lacks scalefactors_json.json"),
        ("filtered_feature_bc_matrix.h5", "lacks .*matrix.mtx"),
    ],
)
def test_missing_files_are_told(run: Run, tmp_path: Path, name: str, message: str) -> None:
    (run.folder / name).unlink()
    failed = import_visium([run.folder], tmp_path / "ds", image=run.image).failed["S1"]
    assert re.search(message, failed)


def without_previews(folder: Path) -> None:
    for path in folder.glob("spatial/tissue_*_image.png"):
        path.unlink()


def packed(folder: Path) -> None:
    for path in [*folder.glob("spatial/*.csv"), *folder.glob("spatial/*.json")]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


def from_geo(folder: Path) -> None:
    """Flat, packed, every file with a prefix."""
    packed(folder)
    for path in [*folder.glob("spatial/*"), *folder.glob("*.h5")]:
        path.rename(folder / f"GSM0000001_A1_{path.name}")


def every_spot_counted(folder: Path) -> None:
    (folder / "filtered_feature_bc_matrix.h5").rename(folder / "raw_feature_bc_matrix.h5")
    path = folder / "spatial" / "tissue_positions.csv"
    positions = pd.read_csv(path)
    extra = positions[positions["in_tissue"] == 0]["barcode"].tolist()
    with h5py.File(folder / "raw_feature_bc_matrix.h5", "r+") as file:
        group = file["matrix"]
        barcodes = [*group["barcodes"][:], *(code.encode() for code in extra)]
        indptr = [*group["indptr"][:], *[group["indptr"][-1]] * len(extra)]
        del group["barcodes"], group["indptr"]
        group["barcodes"], group["indptr"] = np.array(barcodes), np.array(indptr)


def as_parquet(folder: Path) -> None:
    path = folder / "spatial" / "tissue_positions.csv"
    pd.read_csv(path).to_parquet(path.with_suffix(".parquet"))
    path.unlink()


def from_a_spreadsheet(folder: Path) -> None:
    """Semicolons between the cells, decimal commas in them."""
    path = folder / "spatial" / "tissue_positions.csv"
    positions = pd.read_csv(path)
    places = ["pxl_row_in_fullres", "pxl_col_in_fullres"]
    positions = positions.astype(dict.fromkeys(places, float))
    positions.to_csv(path, index=False, sep=";", decimal=",")


def matrix_market(folder: Path, *, old: bool = False) -> None:
    """Plain, with ``genes.tsv``, as of Cell Ranger 2; else packed, with antibodies among the features."""
    path = folder / "filtered_feature_bc_matrix.h5"
    with h5py.File(path) as file:
        group = file["matrix"]
        parts = tuple(group[name][:] for name in ("data", "indices", "indptr"))
        counts = csc_matrix(parts, shape=group["shape"][:])
        names = group["features/name"].asstr()[:]
        barcodes = group["barcodes"].asstr()[:]
    path.unlink()
    out = folder / "filtered_feature_bc_matrix"
    out.mkdir()
    rows = [f"ENSG{i:011d}\t{name}" for i, name in enumerate(names)]
    if not old:
        counts = vstack([counts, csc_matrix(np.ones((1, counts.shape[1]), int))])
        rows = [*(f"{row}\tGene Expression" for row in rows), "CD3\tCD3\tAntibody Capture"]
    mmwrite(out / "matrix.mtx", coo_matrix(counts.astype(int)))
    (out / ("genes.tsv" if old else "features.tsv")).write_text("\n".join(rows))
    (out / "barcodes.tsv").write_text("\r\n".join(barcodes))
    for plain in [] if old else list(out.iterdir()):
        plain.with_name(f"{plain.name}.gz").write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()


@pytest.mark.parametrize(
    "change",
    [
        without_previews,
        packed,
        from_geo,
        every_spot_counted,
        as_parquet,
        from_a_spreadsheet,
        matrix_market,
        partial(matrix_market, old=True),
    ],
)
def test_folders_as_they_are_passed_on_give_what_went_in(
    run: Run, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    change(run.folder)
    assert import_visium([run.folder], tmp_path / "ds", image=run.image).failed == {}
    compare(tmp_path / "ds", "S1", run)


def test_positions_in_which_a_mark_may_part_thousands_are_refused(run: Run, tmp_path: Path) -> None:
    from_a_spreadsheet(run.folder)
    path = run.folder / "spatial" / "tissue_positions.csv"
    path.write_text(path.read_text().replace(",0\n", ".000\n"))  # the last column alone
    failed = import_visium([run.folder], tmp_path / "ds", image=run.image).failed["S1"]
    assert "cannot be read as Space Ranger's Visium output" in failed


def test_the_smaller_preview_serves_too(run: Run, tmp_path: Path) -> None:
    (run.folder / "spatial" / "tissue_hires_image.png").unlink()
    half = tmp_path / "half.png"
    with Image.open(run.image) as full:
        full.reduce(2).save(half)
    failed = import_visium([run.folder], tmp_path / "ds", image=half).failed["S1"]
    assert "to which the positions belong" in failed


def test_several_sections_in_one_folder_are_told_apart_by_the_user(
    run: Run, tmp_path: Path
) -> None:
    from_geo(run.folder)
    (counts,) = run.folder.glob("*.h5")
    (run.folder / f"GSM2_{counts.name}").write_bytes(counts.read_bytes())
    failed = import_visium([run.folder], tmp_path / "ds", image=run.image).failed["S1"]
    assert "put the files of each section into a folder of its own" in failed


@pytest.mark.parametrize("part", ["data", "indptr", "features/name", "barcodes", "features"])
def test_counts_without_a_part_are_told(run: Run, tmp_path: Path, part: str) -> None:
    with h5py.File(run.folder / "filtered_feature_bc_matrix.h5", "r+") as file:
        del file["matrix"][part]
    failed = import_visium([run.folder], tmp_path / "ds", image=run.image).failed["S1"]
    assert "cannot be read as Space Ranger's Visium output" in failed


def test_counts_beside_the_table_are_told(run: Run, tmp_path: Path) -> None:
    with h5py.File(run.folder / "filtered_feature_bc_matrix.h5", "r+") as file:
        file["matrix/indices"][0] = 10**9  # scipy would read beside its memory
    failed = import_visium([run.folder], tmp_path / "ds", image=run.image).failed["S1"]
    assert "cannot be read as Space Ranger's Visium output" in failed


def test_damaged_counts_are_told(run: Run, tmp_path: Path) -> None:
    (run.folder / "filtered_feature_bc_matrix.h5").write_bytes(b"not HDF5")
    failed = import_visium([run.folder], tmp_path / "ds", image=run.image).failed["S1"]
    assert "cannot be read as Space Ranger's Visium output" in failed


def test_a_folder_of_runs_becomes_one_data_set(
    tmp_path: Path, image: Path, table: anndata.AnnData
) -> None:
    for name in ("S1", "S2"):
        run = visium_run(tmp_path / "runs" / name / "outs", image, table)
        (run.folder / "slide.jpg").write_bytes(image.read_bytes())
    assert import_visium([tmp_path / "runs"], tmp_path / "ds").imported == ["S1", "S2"]
    with pytest.raises(DatasetError, match="2 were found"):
        import_visium([tmp_path / "runs"], tmp_path / "ds", image=image)


def test_a_folder_without_output_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no Space Ranger output"):
        import_visium([tmp_path], tmp_path / "ds")
    with pytest.raises(DatasetError, match="There is no folder"):
        import_visium([tmp_path / "nowhere"], tmp_path / "ds")


def test_a_part_of_the_output_is_led_back_from(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"a part of one: name {re.escape(str(run.folder))}"):
        import_visium([run.folder / "spatial"], tmp_path / "ds")
    with pytest.raises(DatasetError, match="is a file; name the folder"):
        import_visium([run.folder / "filtered_feature_bc_matrix.h5"], tmp_path / "ds")


def test_the_other_kind_of_visium_is_named(
    run: Run, tmp_path: Path, image: Path, table: anndata.AnnData
) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(DatasetError, match="it is Visium, for 'import visium'"):
        import_visium_hd([tmp_path / "S1"], tmp_path / "ds")
    outs = visium_hd_run(tmp_path / "HD" / "outs", image, table).folder
    with pytest.raises(DatasetError, match="it is Visium HD, for 'import visium-hd'"):
        import_visium([outs], tmp_path / "ds")
    inside = outs / "binned_outputs" / "square_016um"
    # a bin's folder holds what a Visium folder holds
    for each in (import_visium, import_visium_hd):
        with pytest.raises(DatasetError, match=f"give {re.escape(str(outs))} to"):
            each([inside], tmp_path / "ds", image=image)


def test_an_image_of_another_section_is_told_of(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    with Image.open(run.image) as right:
        right.transpose(Image.Transpose.ROTATE_180).save(other)
    outcome = import_visium([run.folder], tmp_path / "ds", image=other)
    (found,) = [f for f in outcome.findings["S1"] if f.check == "image-unlike-preview"]
    assert found.severity == "warns"
    assert str(other) in found.advice
    right_one = import_visium([run.folder], tmp_path / "right", image=run.image)
    found_there = right_one.findings.get("S1", [])
    assert "image-unlike-preview" not in {f.check for f in found_there}


def test_the_command_imports_it(run: Run, tmp_path: Path) -> None:
    arguments = ["visium", run.folder, "--out", tmp_path / "ds", "--image", run.image, "--json"]
    result = CliRunner().invoke(app, ["import", *map(str, arguments)])
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["imported"], told["failed"]) == (["S1"], {})
    compare(tmp_path / "ds", "S1", run)


def stated_species(dataset: Path) -> str | None:
    return Dataset(dataset).section("S1").metadata.get("species")


def test_the_species_is_that_of_the_reference_genome(run: Run, tmp_path: Path) -> None:
    import_visium([run.folder], tmp_path / "ds", image=run.image)
    assert stated_species(tmp_path / "ds") == "Homo sapiens"
    with h5py.File(run.folder / "filtered_feature_bc_matrix.h5", "a") as file:
        del file["matrix/features/genome"]
    import_visium([run.folder], tmp_path / "unsaid", image=run.image)
    assert "species" not in Dataset(tmp_path / "unsaid").section("S1").metadata


@pytest.mark.parametrize(
    ("genomes", "species"),
    [
        (["GRCh38"], "Homo sapiens"),
        (["hg19", "", "GRCh38-2020-A"], "Homo sapiens"),
        (["mm10"], "Mus musculus"),
        (["GRCm39"], "Mus musculus"),
        (["mRatBN7.2"], "Rattus norvegicus"),
        (["GRCr8"], "Rattus norvegicus"),
        (["GRCh38", "mm10"], None),  # a xenograft
        (["GRCh38_and_mm10"], None),
        (["GRCh38", "EBV"], None),
        (["mine", "comm10"], None),
        ([], None),
    ],
)
def test_genomes_of_several_species_and_unknown_ones_say_none(
    genomes: list[str], species: str | None
) -> None:
    assert species_of(genomes) == species


def test_the_species_that_the_user_states_counts(run: Run, tmp_path: Path) -> None:
    arguments = ["visium", run.folder, "--out", tmp_path / "ds", "--image", run.image]
    result = CliRunner().invoke(app, ["import", *map(str, arguments), "--species", "mouse"])
    assert result.exit_code == 0, result.stderr
    assert stated_species(tmp_path / "ds") == "Mus musculus"  # as HEST-1k and models say it
    blank = tmp_path / "blank"
    assert import_visium([run.folder], blank, image=run.image, species=" ").imported == ["S1"]
    assert stated_species(blank) == "Homo sapiens"  # of the genome


def test_a_section_whose_name_begins_like_another_leaves_its_files(
    tmp_path: Path, image: Path, table: anndata.AnnData
) -> None:
    for name in ("P1.2", "P1", "A[1]"):
        run = visium_run(tmp_path / name / "outs", image, table)
        assert import_visium([run.folder], tmp_path / "ds", image=image).imported == [name]
    for name in ("P1.2", "P1", "A[1]"):
        found = Dataset(tmp_path / "ds").section(name).slide_path
        assert found == tmp_path / "ds" / "wsis" / f"{name}.jpg"


@pytest.mark.parametrize("name", ["../../../keep", "..", "a/b", "a\\b"])
def test_a_name_that_leads_out_of_the_data_set_is_refused(
    run: Run, tmp_path: Path, name: str
) -> None:
    before = set(tmp_path.rglob("*"))
    with pytest.raises(DatasetError, match="A section cannot be called"):
        import_visium([run.folder], tmp_path / "ds", image=run.image, name=name)
    assert set(tmp_path.rglob("*")) == before


def test_a_pixel_size_that_nothing_states_is_not_to_be_corrected_in_a_file(
    run: Run, tmp_path: Path
) -> None:
    path = run.folder / "spatial" / "scalefactors_json.json"
    scales = json.loads(path.read_text())
    path.write_text(json.dumps(scales | {"spot_diameter_fullres": 5.0}))
    failed = import_visium([run.folder], tmp_path / "ds", image=run.image).failed["S1"]
    assert "image and positions may be those of different sections" in failed
    assert "pixel_size_um_estimated" not in failed


# Visium HD


@pytest.mark.parametrize("prefix", ["", "Visium_HD_Breast_"])
def test_bins_are_imported_as_they_are(
    tmp_path: Path, image: Path, table: anndata.AnnData, prefix: str
) -> None:
    pytest.importorskip("pyarrow")
    run = visium_hd_run(tmp_path / "HD" / "outs", image, table, prefix=prefix)
    outcome = import_visium_hd([run.folder], tmp_path / "ds", image=image)
    assert (outcome.imported, outcome.failed) == (["HD"], {})
    compare(tmp_path / "ds", "HD", run)
    spots = Dataset(tmp_path / "ds").section("HD").spots()
    assert (spots.pitch_um, spots.diameter_um) == (16, pytest.approx(16))


def test_the_command_imports_bins_and_prints_one_object(
    tmp_path: Path, image: Path, table: anndata.AnnData
) -> None:
    pytest.importorskip("pyarrow")
    run = visium_hd_run(tmp_path / "HD" / "outs", image, table, bin_um=8)
    arguments = ["visium-hd", run.folder, "--out", tmp_path / "ds", "--bin", "8", "--image", image]
    result = CliRunner().invoke(app, ["import", *map(str, arguments), "--json", "--name", "mine"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["sections"] == ["mine"]
    assert Dataset(tmp_path / "ds").section("mine").spots().pitch_um == 8


def test_a_bin_size_that_is_not_there_is_told(
    tmp_path: Path, image: Path, table: anndata.AnnData
) -> None:
    pytest.importorskip("pyarrow")
    run = visium_hd_run(tmp_path / "HD" / "outs", image, table)
    failed = import_visium_hd([run.folder], tmp_path / "ds", bin_um=8, image=image).failed["HD"]
    assert "no square_008um, only square_016um; choose another --bin" in failed


def test_bins_of_another_size_are_not_kept_for_those_asked_for(
    tmp_path: Path, image: Path, table: anndata.AnnData
) -> None:
    pytest.importorskip("pyarrow")
    run = visium_hd_run(tmp_path / "HD" / "outs", image, table)
    visium_hd_run(tmp_path / "other" / "outs", image, table, bin_um=8)
    parts = tmp_path / "other" / "outs" / "binned_outputs" / "square_008um"
    parts.rename(run.folder / "binned_outputs" / "square_008um")
    import_visium_hd([run.folder], tmp_path / "ds", image=image)
    with pytest.raises(DatasetError, match="16 um apart and not 8; choose another --name"):
        import_visium_hd([run.folder], tmp_path / "ds", bin_um=8, image=image)
    assert import_visium_hd([run.folder], tmp_path / "ds", image=image).kept == ["HD"]
    again = ImportSettings(overwrite=True)
    import_visium_hd([run.folder], tmp_path / "ds", again, bin_um=8, image=image)
    assert Dataset(tmp_path / "ds").section("HD").spots().pitch_um == 8


def test_without_the_reader_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_stem.errors.find_spec", lambda _name: None)
    with pytest.raises(DatasetError, match=r"pip install 'napari-stem\[visium-hd\]'"):
        import_visium_hd([tmp_path], tmp_path / "ds")
