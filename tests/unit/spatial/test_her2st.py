"""The importer on two real sections (reduced) and on what can be wrong with their files."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from napari_stem.errors import DatasetError
from napari_stem.spatial.dataset import Dataset
from napari_stem.spatial.her2st import fit_pixel_size_um, import_her2st
from napari_stem.spatial.importing import ImportSettings

if TYPE_CHECKING:
    from pathlib import Path

# HEST-1k's own estimates at full resolution, each made from a few spots of the section (um/px).
HEST_1K_UM = {"C2": 0.6961, "C3": 0.6691}
REDUCTION = 4


@pytest.fixture
def source(her2st_source: Path, tmp_path: Path) -> Path:
    """A copy of section C3's files that a test may damage."""
    folder = tmp_path / "source"
    folder.mkdir()
    for path in her2st_source.glob("C3*"):
        shutil.copyfile(path, folder / path.name)
    return folder


def test_every_selected_spot_with_counts_is_kept_with_its_counts(
    her2st_dataset: Path, her2st_source: Path
) -> None:
    for section_id, n_spots in (("C2", 187), ("C3", 180)):
        section = Dataset(her2st_dataset).section(section_id)
        published = pd.read_csv(her2st_source / f"{section_id}.tsv.gz", sep="\t", index_col=0)
        assert section.counts.n_obs == n_spots
        assert set(section.counts.var_names) == set(published.columns)
        expected = published.loc[list(section.counts.obs_names), list(section.counts.var_names)]
        np.testing.assert_array_equal(section.counts.X.toarray(), expected.to_numpy())


def test_spots_without_counts_are_left_out(her2st_dataset: Path, her2st_source: Path) -> None:
    selected = pd.read_csv(her2st_source / "C3_selection.tsv", sep="\t")
    section = Dataset(her2st_dataset).section("C3")
    assert len(selected) == section.counts.n_obs + 2


def test_unselected_spots_are_left_out(source: Path, tmp_path: Path) -> None:
    table = pd.read_csv(source / "C3_selection.tsv", sep="\t")
    table.loc[table["x"] == 19, "selected"] = 0
    table.to_csv(source / "C3_selection.tsv", sep="\t", index=False)
    import_her2st(source, tmp_path / "out")
    spots = Dataset(tmp_path / "out").section("C3").spots()
    assert 19 not in spots.array_col
    assert 18 in spots.array_col


def test_spot_positions_are_those_of_the_selection(
    her2st_dataset: Path, her2st_source: Path
) -> None:
    spots = Dataset(her2st_dataset).section("C2").spots()
    published = pd.read_csv(her2st_source / "C2_selection.tsv", sep="\t").set_index(["x", "y"])
    for i in range(len(spots)):
        row = published.loc[(spots.array_col[i], spots.array_row[i])]
        assert (spots.x_px[i], spots.y_px[i]) == (row["pixel_x"], row["pixel_y"])
        assert spots.names[i] == f"{spots.array_col[i]}x{spots.array_row[i]}"
    assert (spots.pitch_um, spots.diameter_um) == (200, pytest.approx(100))


@pytest.mark.parametrize("section_id", ["C2", "C3"])
def test_pixel_size_agrees_with_the_array_and_roughly_with_hest(
    her2st_dataset: Path, section_id: str
) -> None:
    section = Dataset(her2st_dataset).section(section_id)
    mpp_um = section.mpp.x_um / REDUCTION
    # The image is cropped to the array's frame: 32 x 34 steps of 200 um over width and height.
    width, height = (section.metadata[f"fullres_px_{side}"] for side in ("width", "height"))
    mean_um = 200 * (32 / width + 34 / height) / 2 / REDUCTION
    assert mpp_um == pytest.approx(mean_um, rel=0.005)
    assert mpp_um == pytest.approx(HEST_1K_UM[section_id], rel=0.035)


def test_pixel_size_of_a_known_array(tmp_path: Path) -> None:
    step = pd.DataFrame({"new_x": [1.0, 2.0, 5.0, 9.0], "new_y": [3.0, 1.0, 2.0, 8.0]})
    spots = step.assign(pixel_x=400 * step["new_x"] + 17, pixel_y=400 * step["new_y"] - 3)
    mpp_um, per_axis = fit_pixel_size_um(spots, tmp_path)
    assert mpp_um == pytest.approx(0.5)
    assert per_axis == pytest.approx({"x": 0.5, "y": 0.5})


def test_metadata_name_source_and_licence(her2st_dataset: Path) -> None:
    metadata = json.loads((her2st_dataset / "metadata" / "C2.json").read_text())
    assert metadata["license"] == "CC BY 4.0"
    assert "Andersson et al. 2021" in metadata["citation"]
    assert (metadata["patient"], metadata["tissue"], metadata["species"]) == (
        "C",
        "breast",
        "Homo sapiens",
    )


@pytest.mark.parametrize("within", [".", "data"])
def test_the_published_tree_gives_the_same_as_the_flat_folder(
    source: Path, her2st_dataset: Path, tmp_path: Path, within: str
) -> None:
    root = tmp_path / "tree"
    tree = root / within
    image = tree / "ST-imgs" / "C" / "C3" / "HE_BT23901_C3.jpg"
    for folder in (image.parent, tree / "ST-cnts", tree / "ST-spotfiles"):
        folder.mkdir(parents=True)
    shutil.move(source / "C3.jpg", image)
    shutil.move(source / "C3.tsv.gz", tree / "ST-cnts" / "C3.tsv.gz")
    shutil.move(source / "C3_selection.tsv", tree / "ST-spotfiles" / "C3_selection.tsv")

    assert import_her2st(root, tmp_path / "out").imported == ["C3"]

    ours, flat = (Dataset(folder).section("C3") for folder in (tmp_path / "out", her2st_dataset))
    assert ours.slide_path.name == "C3.jpg"
    assert ours.slide_path.read_bytes() == flat.slide_path.read_bytes()
    assert ours.mpp == flat.mpp
    np.testing.assert_array_equal(ours.counts.X.toarray(), flat.counts.X.toarray())


def test_zenodos_archives_unpacked_side_by_side_are_understood(
    source: Path, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    for folder in ("count-matrices", "spot-selections", "images/HE"):
        (tree / folder).mkdir(parents=True)
    shutil.move(source / "C3.jpg", tree / "images" / "HE" / "C3.jpg")
    shutil.move(source / "C3.tsv.gz", tree / "count-matrices" / "C3.tsv.gz")
    packed = gzip.compress((source / "C3_selection.tsv").read_bytes())
    (tree / "spot-selections" / "C3_selection.tsv.gz").write_bytes(packed)
    assert import_her2st(tree, tmp_path / "out").imported == ["C3"]


def test_all_36_sections_are_found_with_their_patients(tmp_path: Path) -> None:
    """The names of github.com/almaan/her2st, data/; their content fails, each for itself."""
    n_sections = dict(zip("ABCDEFGH", (6, 6, 6, 6, 3, 3, 3, 3), strict=True))
    ids = [f"{patient}{i + 1}" for patient, n in n_sections.items() for i in range(n)]
    spots = tmp_path / "data" / "ST-spotfiles"
    spots.mkdir(parents=True)
    for section_id in ids:
        (spots / f"{section_id}_selection.tsv").touch()
    outcome = import_her2st(tmp_path, tmp_path / "out")
    assert list(outcome.failed) == ids
    assert len(ids) == 36
    assert all("has no image" in reason for reason in outcome.failed.values())


def test_a_damaged_section_does_not_stop_the_others(her2st_source: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path in her2st_source.glob("C[23]*"):
        shutil.copyfile(path, source / path.name)
    (source / "C2.tsv.gz").write_bytes(b"damaged")
    outcome = import_her2st(source, tmp_path / "out")
    assert outcome.imported == ["C3"]
    assert list(outcome.failed) == ["C2"]
    assert Dataset(tmp_path / "out").sections == ("C3",)


def test_files_of_two_sections_are_not_mixed(source: Path, her2st_source: Path) -> None:
    """C2's counts under C3's name share a fifth of the node names."""
    shutil.copyfile(her2st_source / "C2.tsv.gz", source / "C3.tsv.gz")
    failed = import_her2st(source, source / "out").failed["C3"]
    assert "Only 32 of the 182 spots" in failed
    assert "belong to different sections" in failed


def test_an_image_of_another_size_is_refused(source: Path, tmp_path: Path) -> None:
    with Image.open(source / "C3.jpg") as image:
        image.crop((0, 0, 1500, 1500)).save(tmp_path / "cropped.jpg")
    shutil.move(tmp_path / "cropped.jpg", source / "C3.jpg")
    outcome = import_her2st(source, tmp_path / "out")
    assert "spots outside the 1500 x 1500 px image" in outcome.failed["C3"]


def test_importing_again_keeps_what_is_there(source: Path, tmp_path: Path) -> None:
    import_her2st(source, tmp_path / "out")
    before = (tmp_path / "out" / "st" / "C3.h5ad").stat().st_mtime_ns
    outcome = import_her2st(source, tmp_path / "out")
    assert (outcome.imported, outcome.kept) == ([], ["C3"])
    assert (tmp_path / "out" / "st" / "C3.h5ad").stat().st_mtime_ns == before


def test_an_interrupted_section_is_not_listed_and_comes_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("napari_stem.spatial.importing.write_h5ad", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            import_her2st(source, out)
    assert not list(out.glob("*/*"))
    assert import_her2st(source, out).imported == ["C3"]
    assert sorted(path.name for path in out.glob("*/*")) == ["C3.h5ad", "C3.jpg", "C3.json"]


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_overwriting_replaces_the_section(source: Path, tmp_path: Path) -> None:
    import_her2st(source, tmp_path / "out")
    (tmp_path / "out" / "wsis" / "C3.png").touch()
    assert import_her2st(source, tmp_path / "out", ImportSettings(overwrite=True)).imported == [
        "C3"
    ]
    assert Dataset(tmp_path / "out").section("C3").slide_path.name == "C3.jpg"
    assert (source / "C3.jpg").is_file()


def test_importing_into_its_own_source_keeps_the_source(source: Path) -> None:
    import_her2st(source, source)
    assert {"C3.jpg", "C3.tsv.gz", "C3_selection.tsv"} <= {path.name for path in source.iterdir()}


def test_progress_counts_the_sections(her2st_source: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    import_her2st(her2st_source, tmp_path, ImportSettings(progress=lambda *step: told.append(step)))
    assert [step[1:] for step in told] == [(0, 2), (1, 2), (2, 2)]


def _drop_image(source: Path) -> None:
    (source / "C3.jpg").unlink()


def _image_is_text(source: Path) -> None:
    (source / "C3.jpg").write_text("not an image")


def _drop_counts(source: Path) -> None:
    (source / "C3.tsv.gz").unlink()


def _truncate_counts(source: Path) -> None:
    content = (source / "C3.tsv.gz").read_bytes()
    (source / "C3.tsv.gz").write_bytes(content[: len(content) // 2])


def _words_for_counts(source: Path) -> None:
    (source / "C3.tsv.gz").write_bytes(gzip.compress(b"\tERBB2\n10x10\tmany\n"))


def _repeat_a_spot(source: Path) -> None:
    lines = gzip.decompress((source / "C3.tsv.gz").read_bytes()).splitlines(keepends=True)
    (source / "C3.tsv.gz").write_bytes(gzip.compress(b"".join([*lines, lines[1]])))


def _repeat_a_gene(source: Path) -> None:
    """Pandas would call the second one ``A.1``."""
    head, *lines = gzip.decompress((source / "C3.tsv.gz").read_bytes()).splitlines(keepends=True)
    genes = head.split(b"\t")
    genes[2] = genes[1]
    (source / "C3.tsv.gz").write_bytes(gzip.compress(b"".join([b"\t".join(genes), *lines])))


def _counts_of_another_section(source: Path) -> None:
    (source / "C3.tsv.gz").write_bytes(gzip.compress(b"\tERBB2\n99x99\t4\n"))


def _genes_as_rows(source: Path) -> None:
    table = pd.read_csv(source / "C3.tsv.gz", sep="\t", index_col=0)
    table.T.to_csv(source / "C3.tsv.gz", sep="\t")


def _drop_selection(source: Path) -> None:
    (source / "C3_selection.tsv").rename(source / "C9_selection.tsv")


def _drop_a_column(source: Path) -> None:
    table = pd.read_csv(source / "C3_selection.tsv", sep="\t")
    table.drop(columns="pixel_x").to_csv(source / "C3_selection.tsv", sep="\t", index=False)


def _empty_position(source: Path) -> None:
    table = pd.read_csv(source / "C3_selection.tsv", sep="\t")
    table.loc[4, "pixel_y"] = np.nan
    table.to_csv(source / "C3_selection.tsv", sep="\t", index=False)


def _swap_axes(source: Path) -> None:
    table = pd.read_csv(source / "C3_selection.tsv", sep="\t")
    table = table.rename(columns={"pixel_x": "pixel_y", "pixel_y": "pixel_x"})
    table.to_csv(source / "C3_selection.tsv", sep="\t", index=False)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop_image, "no image"),
        (_image_is_text, "cannot be read as an image"),
        (_drop_counts, "no table of counts"),
        (_truncate_counts, "cannot be read as a table"),
        (_words_for_counts, "counts that are not numbers"),
        (_repeat_a_spot, "more than once"),
        (_repeat_a_gene, "more than once"),
        (_counts_of_another_section, "different sections"),
        (_genes_as_rows, "rows must be spots"),
        (_drop_selection, "counts, but no spots C3_selection.tsv"),
        (_drop_a_column, "lacks the columns pixel_x"),
        (_empty_position, "positions that are not numbers"),
        (_swap_axes, "does not follow|too few or too odd"),
    ],
)
def test_damage_is_told_and_nothing_is_listed(
    damage: object, message: str, source: Path, tmp_path: Path
) -> None:
    damage(source)  # type: ignore[operator]
    outcome = import_her2st(source, tmp_path / "out")
    assert outcome.imported == []
    assert re.search(message, outcome.failed["C3"])
    assert not list((tmp_path / "out").glob("st/*.h5ad"))


def test_positions_in_um_are_doubted(source: Path, tmp_path: Path) -> None:
    table = pd.read_csv(source / "C3_selection.tsv", sep="\t")
    table[["pixel_x", "pixel_y"]] *= fit_pixel_size_um(table, source)[0]
    table.to_csv(source / "C3_selection.tsv", sep="\t", index=False)
    findings = import_her2st(source, tmp_path / "out").findings["C3"]
    assert "positions-in-um" in [finding.check for finding in findings]


def test_a_folder_without_sections_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no HER2ST section"):
        import_her2st(tmp_path, tmp_path / "out")


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="There is no folder"):
        import_her2st(tmp_path / "nowhere", tmp_path / "out")


def test_an_unwritable_output_is_told(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    failed = import_her2st(source, tmp_path / "file").failed
    assert "cannot be written" in failed["C3"]


@pytest.mark.parametrize("end", ["\r\n", "\r"])
@pytest.mark.parametrize("is_headed", [True, False])
def test_tables_as_windows_and_r_write_them(
    source: Path, tmp_path: Path, is_headed: bool, end: str
) -> None:
    """Byte order mark, quotes, CRLF or CR, blanks; R leaves out the head of the row names."""
    assert import_her2st(source, tmp_path / "plain").imported == ["C3"]
    table = pd.read_csv(source / "C3.tsv.gz", sep="\t", index_col=0)
    head = "\t".join([*(['""'] if is_headed else []), *(f'" {gene}"' for gene in table.columns)])
    rows = [f'"{spot}"\t' + "\t".join(map(str, row)) for spot, *row in table.itertuples()]
    text = "\ufeff" + end.join([head, *rows, ""])
    (source / "C3.tsv.gz").write_bytes(gzip.compress(text.encode()))
    assert import_her2st(source, tmp_path / "dressed").imported == ["C3"]
    plain, dressed = (Dataset(tmp_path / name).section("C3") for name in ("plain", "dressed"))
    assert plain.genes == dressed.genes
    np.testing.assert_array_equal(plain.counts.X.toarray(), dressed.counts.X.toarray())
