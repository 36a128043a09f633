"""Choosing, mending and linking sections of a HEST folder, made of real HER2ST sections."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pytest
from PIL import Image

from napari_stem.errors import DatasetError
from napari_stem.spatial.dataset import Dataset
from napari_stem.spatial.hest import import_hest
from napari_stem.spatial.importing import ImportSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:.*names are not unique:UserWarning")


@pytest.fixture
def source(her2st_dataset: Path, tmp_path: Path) -> Path:
    """Two sections with HEST-1k's other folders beside, C2 told to be something else."""
    folder = tmp_path / "hest"
    shutil.copytree(her2st_dataset, folder)
    for other in ("patches", "tissue_seg"):
        (folder / other).mkdir()
    change_metadata(folder, "C2", organ="Kidney", st_technology="Visium", species="Mus musculus")
    return folder


def change_metadata(folder: Path, section_id: str, **changes: object) -> None:
    path = folder / "metadata" / f"{section_id}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_table(folder: Path, change: Callable[[anndata.AnnData], object]) -> None:
    path = folder / "st" / "C3.h5ad"
    table = anndata.read_h5ad(path)
    change(table)
    table.write_h5ad(path)


def test_a_downloaded_folder_is_a_data_set_as_it_is(source: Path) -> None:
    assert Dataset(source).sections == ("C2", "C3")


def test_sound_sections_are_linked_not_copied(source: Path, tmp_path: Path) -> None:
    outcome = import_hest(source, tmp_path / "ds")
    assert (outcome.imported, outcome.failed) == (["C2", "C3"], {})
    for name in ("wsis/C3.jpg", "st/C3.h5ad"):
        assert (tmp_path / "ds" / name).samefile(source / name)


@pytest.mark.parametrize(
    ("choice", "sections"),
    [
        ({"sections": ("C3",)}, ["C3"]),
        ({"organ": ("kidney",)}, ["C2"]),
        ({"technology": ("Spatial Transcriptomics",)}, ["C3"]),
        ({"species": ("Mus musculus", "Homo sapiens")}, ["C2", "C3"]),
        ({"species": ("Human",)}, ["C3"]),
        ({"organ": ("Breast", "Kidney"), "technology": ("visium",)}, ["C2"]),
    ],
)
def test_sections_are_chosen(
    source: Path, tmp_path: Path, choice: dict[str, tuple[str, ...]], sections: list[str]
) -> None:
    assert import_hest(source, tmp_path / "ds", **choice).imported == sections
    assert Dataset(tmp_path / "ds").sections == tuple(sections)


def test_a_choice_without_sections_says_what_there_is(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"organ: Breast, Kidney; .*species: Homo sapiens, Mus"):
        import_hest(source, tmp_path / "ds", organ=("Lung",))
    with pytest.raises(DatasetError, match="no section INT1 among its 2"):
        import_hest(source, tmp_path / "ds", sections=("INT1",))


def test_metadata_that_cannot_be_read_fail_their_section_alone(
    source: Path, tmp_path: Path
) -> None:
    (source / "metadata" / "C2.json").write_text("{")
    outcome = import_hest(source, tmp_path / "ds", species=("human",))
    assert outcome.imported == ["C3"]
    assert "C2.json cannot be read as JSON" in outcome.failed["C2"]


def test_names_are_mended_and_the_source_stays(source: Path, tmp_path: Path) -> None:
    before = Dataset(source).section("C3").counts

    def spoil(table: anndata.AnnData) -> None:
        symbols = list(table.var_names)
        table.var["gene_name"] = [symbols[1], *symbols[1:]]
        table.var_names = [f"ENSG{i:011d}" for i in range(table.n_vars)]

    change_table(source, spoil)
    stored = (source / "st" / "C3.h5ad").read_bytes()
    outcome = import_hest(source, tmp_path / "ds")
    counts = Dataset(tmp_path / "ds").section("C3").counts
    assert list(counts.var_names) == list(before.var_names[1:])
    np.testing.assert_array_equal(
        counts.X[:, 0].toarray().ravel(), before.X[:, :2].toarray().sum(axis=1)
    )
    assert {"ensembl-ids", "duplicate-genes"} <= {one.check for one in outcome.findings["C3"]}
    assert (source / "st" / "C3.h5ad").read_bytes() == stored


def test_a_missing_pixel_size_is_taken_from_the_spots(source: Path, tmp_path: Path) -> None:
    known = Dataset(source).section("C3").mpp
    change_metadata(source, "C3", pixel_size_um_estimated=None, pixel_size_um_embedded=9.0)
    import_hest(source, tmp_path / "ds")
    section = Dataset(tmp_path / "ds").section("C3")
    assert section.mpp.x_um == pytest.approx(known.x_um, rel=0.01)
    assert "pitch" in section.metadata["pixel_size_um_origin"]


def test_a_pitch_in_quotes_is_one(source: Path, tmp_path: Path) -> None:
    change_metadata(source, "C3", pixel_size_um_estimated=None, inter_spot_dist="200")
    assert import_hest(source, tmp_path / "ds").failed == {}
    assert Dataset(tmp_path / "ds").section("C3").spots().pitch_um == 200


def test_an_embedded_pixel_size_that_is_no_number_is_told(source: Path, tmp_path: Path) -> None:
    unknown = {"pixel_size_um_estimated": None, "inter_spot_dist": None}
    change_metadata(source, "C3", **unknown, pixel_size_um_embedded=[0.5])
    failed = import_hest(source, tmp_path / "ds").failed["C3"]
    assert "an impossible pixel size" in failed


def test_an_embedded_pixel_size_of_1_gives_way_to_the_image(source: Path, tmp_path: Path) -> None:
    unknown = {"pixel_size_um_estimated": None, "inter_spot_dist": None}
    change_metadata(source, "C3", **unknown, pixel_size_um_embedded=1.0)
    with Image.open(Dataset(source).section("C3").slide_path) as image:
        image.save(source / "wsis" / "C3.jpg", dpi=(25_400 / 0.65, 25_400 / 0.65))
    import_hest(source, tmp_path / "ds")
    section = Dataset(tmp_path / "ds").section("C3")
    assert section.mpp.x_um == pytest.approx(0.65, rel=1e-3)
    assert section.metadata["pixel_size_um_origin"] == "the image file"


@pytest.mark.parametrize("array", [True, False])
def test_a_position_that_is_no_number_does_not_hide_the_pixel_size(
    source: Path, tmp_path: Path, array: bool
) -> None:
    known = Dataset(source).section("C3").mpp

    def spoil(table: anndata.AnnData) -> None:
        table.obsm["spatial"][0, 0] = np.nan
        if not array:
            table.obs = table.obs[[]]

    change_table(source, spoil)
    change_metadata(source, "C3", pixel_size_um_estimated=None)
    assert import_hest(source, tmp_path / "ds", ImportSettings(drop_bad_spots=True)).dropped["C3"]
    mpp = Dataset(tmp_path / "ds").section("C3").mpp
    assert mpp.x_um == pytest.approx(known.x_um, rel=0.01 if array else 0.08)


def test_bad_spots_stop_or_go_on_request(source: Path, tmp_path: Path) -> None:
    def spoil(table: anndata.AnnData) -> None:
        table.obsm["spatial"][:3] *= -1

    change_table(source, spoil)
    n_spots = Dataset(source).section("C3").n_spots
    outcome = import_hest(source, tmp_path / "ds")
    assert outcome.imported == ["C2"]
    assert "spots outside the" in outcome.failed["C3"]
    assert "--drop-bad-spots" in outcome.failed["C3"]
    outcome = import_hest(source, tmp_path / "ds", ImportSettings(drop_bad_spots=True))
    assert (outcome.imported, outcome.kept) == (["C3"], ["C2"])
    assert outcome.dropped == {"C3": {"spots-outside-image": 3}}
    section = Dataset(tmp_path / "ds").section("C3")
    assert section.counts.n_obs == section.metadata["spots_under_tissue"] == n_spots - 3
    assert Dataset(source).section("C3").n_spots == n_spots


def test_a_wrong_pixel_size_is_to_be_corrected_in_the_source(source: Path, tmp_path: Path) -> None:
    known = Dataset(source).section("C3").mpp.x_um
    change_metadata(source, "C3", pixel_size_um_estimated=2 * known)
    failed = import_hest(source, tmp_path / "ds").failed["C3"]
    assert f"correct 'pixel_size_um_estimated' in {source / 'metadata' / 'C3.json'}" in failed


def test_a_missing_image_fails_alone(source: Path, tmp_path: Path) -> None:
    (source / "wsis" / "C2.jpg").unlink()
    outcome = import_hest(source, tmp_path / "ds")
    assert outcome.imported == ["C3"]
    assert "found none" in outcome.failed["C2"]


def test_the_source_is_not_imported_into_itself(source: Path) -> None:
    with pytest.raises(DatasetError, match="is the source itself"):
        import_hest(source, source, ImportSettings(overwrite=True))
    assert Dataset(source).sections == ("C2", "C3")
