"""``napari-stem import`` from end to end, on real sections."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import anndata
import pytest
from typer.testing import CliRunner

from napari_stem.cli import app
from napari_stem.spatial.dataset import Dataset

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["import", *map(str, arguments)])


@pytest.fixture
def source(her2st_source: Path, tmp_path: Path) -> Path:
    """The files of both sections, C2's counts damaged."""
    folder = tmp_path / "source"
    folder.mkdir()
    for path in her2st_source.glob("C[23]*"):
        shutil.copyfile(path, folder / path.name)
    (folder / "C2.tsv.gz").write_bytes(b"damaged")
    return folder


@pytest.fixture
def dataset(her2st_dataset: Path, tmp_path: Path) -> Path:
    """A copy of both sections, three spots of C3 off the image."""
    folder = tmp_path / "dataset"
    shutil.copytree(her2st_dataset, folder)
    table = anndata.read_h5ad(folder / "st" / "C3.h5ad")
    table.obsm["spatial"][:3] *= -1
    table.write_h5ad(folder / "st" / "C3.h5ad")
    return folder


def test_what_can_be_imported_is_and_the_rest_is_told(source: Path, tmp_path: Path) -> None:
    result = run("her2st", source, "--out", tmp_path / "ds", "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (told["sections"], told["imported"], list(told["failed"])) == (["C3"], ["C3"], ["C2"])
    assert "C2.tsv.gz cannot be read as a table" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_quiet_import_tells_what_failed_and_nothing_else(source: Path, tmp_path: Path) -> None:
    result = run("her2st", source, "--out", tmp_path / "ds", "--quiet")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "C2.tsv.gz cannot be read as a table" in line


def test_mending_the_source_and_importing_again_adds_the_rest(
    source: Path, her2st_source: Path, tmp_path: Path
) -> None:
    run("her2st", source, "--out", tmp_path / "ds")
    shutil.copyfile(her2st_source / "C2.tsv.gz", source / "C2.tsv.gz")
    result = run("her2st", source, "--out", tmp_path / "ds")
    assert result.exit_code == 0
    assert "2 sections are in" in result.stdout
    assert "there before: 1" in result.stdout
    assert Dataset(tmp_path / "ds").sections == ("C2", "C3")


def test_a_check_tells_what_stops(dataset: Path) -> None:
    result = run("check", dataset, "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert told["sections"] == ["C2", "C3"]
    (finding,) = [one for one in told["findings"]["C3"] if one["severity"] == "stops"]
    assert (finding["check"], finding["count"], len(finding["examples"])) == (
        "spots-outside-image",
        3,
        3,
    )
    assert told["stops"] == 1
    table = run("check", dataset)
    assert table.exit_code == 1
    assert "spots outside the" in table.stdout


def test_a_check_of_a_sound_data_set_ends_well(her2st_dataset: Path) -> None:
    assert run("check", her2st_dataset).exit_code == 0
    assert json.loads(run("check", her2st_dataset, "--json").stdout)["stops"] == 0


def test_bad_spots_go_on_request(dataset: Path, tmp_path: Path) -> None:
    refused = run("hest", dataset, "--out", tmp_path / "ds", "--sections", "C3")
    assert refused.exit_code == 1
    assert "--drop-bad-spots" in refused.stderr
    result = run("hest", dataset, "--out", tmp_path / "ds", "--sections", "C3", "--drop-bad-spots")
    assert result.exit_code == 0
    assert "spots-outside-image: 3" in result.stderr
    assert run("check", tmp_path / "ds").exit_code == 0


def test_a_choice_by_organ(dataset: Path, tmp_path: Path) -> None:
    result = run("hest", dataset, "--out", tmp_path / "ds", "--organ", "lung")
    assert result.exit_code == 1
    assert "organ: Breast" in result.stderr
    assert not (tmp_path / "ds").exists()


def test_interrupting_keeps_whole_sections(
    her2st_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_stem.spatial import importing

    write = importing.write_section

    def interrupted(out: Path, section: Any) -> None:
        if section.id == "C3":
            raise KeyboardInterrupt
        write(out, section)

    monkeypatch.setattr(importing, "write_section", interrupted)
    result = run("her2st", her2st_source, "--out", tmp_path / "ds")
    assert result.exit_code == 130
    assert "the same command goes on" in result.stderr
    assert Dataset(tmp_path / "ds").sections == ("C2",)


@pytest.mark.parametrize("kind", ["her2st", "visium", "hest", "check"])
def test_a_missing_folder_ends_with_one_line(kind: str, tmp_path: Path) -> None:
    out = () if kind == "check" else ("--out", tmp_path / "ds")
    result = run(kind, tmp_path / "nowhere", *out)
    assert result.exit_code == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert str(tmp_path / "nowhere") in result.stderr
