"""Whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_stem.errors import OutputError
from napari_stem.io import written_whole

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, text: str, **options) -> None:
    with written_whole(path, **options) as fresh:
        fresh.write_text(text)


def fill(path: Path, text: str, **options) -> None:
    with written_whole(path, **options) as fresh:
        fresh.mkdir()
        (fresh / "zarr.json").write_text(text)


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.csv"
    with written_whole(path) as fresh:
        fresh.write_text("a")
        assert not path.exists()
        assert fresh.suffix == ".csv"
    assert path.read_text() == "a"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_nothing_is_left_of_what_breaks_off(tmp_path: Path, error) -> None:
    path = tmp_path / "a.csv"
    path.write_text("older")
    expected = OutputError if error is OSError else error

    def break_off() -> None:
        with written_whole(path, overwrite=True) as fresh:
            fresh.write_text("half")
            raise error("no space left")

    with pytest.raises(expected, match="no space left"):
        break_off()
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_there_stays_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write(path, "first")
    with pytest.raises(OutputError, match=r"a\.csv exists already"):
        write(path, "second")
    assert path.read_text() == "first"
    write(path, "second", overwrite=True)
    assert path.read_text() == "second"


def test_a_zarr_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    fill(path, "first")
    (path / "chunk").write_text("of the first")
    fill(path, "second", overwrite=True)
    assert [(p.name, p.read_text()) for p in path.iterdir()] == [("zarr.json", "second")]
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "slides"
    folder.mkdir()
    (folder / "precious.svs").write_text("mine")
    with pytest.raises(OutputError, match="folder of something else"):
        fill(folder, "x", overwrite=True)
    assert (folder / "precious.svs").read_text() == "mine"


def test_leftovers_of_a_killed_export_are_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "a.new.zarr").mkdir()
    (tmp_path / "a.new.zarr" / "half").write_text("x")
    fill(tmp_path / "a.zarr", "whole")
    assert [p.name for p in tmp_path.rglob("*")] == ["a.zarr", "zarr.json"]


def test_a_place_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"a\.csv cannot be written"):
        write(tmp_path / "file" / "a.csv", "a")
