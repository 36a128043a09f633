"""Whole or not at all."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from subprocess import PIPE
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from napari_stem.errors import OutputError
from napari_stem.io import only_writer, unwritable, written_whole

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


@pytest.mark.parametrize("name", ["a.csv", "no-ending", "x" * 250, "é.tar.gz"])
def test_neighbours_of_the_user_are_never_touched(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    endings = (".new.csv", ".old.csv", ".csv.new", ".part", ".partial")
    neighbours = {f"{path.stem[:200]}{ending}" for ending in endings}
    for neighbour in neighbours:
        (tmp_path / neighbour).write_text("mine")
    write(path, "first")
    write(path, "second", overwrite=True)
    assert {p.name for p in tmp_path.iterdir()} == neighbours | {name}
    assert {(tmp_path / neighbour).read_text() for neighbour in neighbours} == {"mine"}


KILLED = """
import os, sys
from pathlib import Path
from napari_stem.io import written_whole

def die(*_):
    os._exit(9)

path = Path(sys.argv[1])
if sys.argv[2] == "between":  # the older is aside, the new one not yet in its place
    Path.replace = die
with written_whole(path, overwrite=True) as fresh:
    fresh.mkdir()
    (fresh / "zarr.json").write_text("half")
    if sys.argv[2] == "writing":
        die()
"""


@pytest.mark.parametrize("when", ["writing", "between"])
def test_a_kill_loses_nothing_and_the_next_clears_up(tmp_path: Path, when: str) -> None:
    path = tmp_path / "a.zarr"
    fill(path, "older")
    assert subprocess.run([sys.executable, "-c", KILLED, path, when], check=False).returncode == 9
    assert len(list(tmp_path.iterdir())) > 1
    with pytest.raises(OutputError, match="exists already"):
        fill(path, "newer")
    assert (path / "zarr.json").read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


WRITES = """
import sys
from pathlib import Path
from napari_stem.io import only_writer

with only_writer(Path(sys.argv[1])):
    print("writing", flush=True)
    input()
"""


def test_the_second_of_two_processes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    command = [sys.executable, "-c", WRITES, path]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) as first:
        assert first.stdout.readline() == "writing\n"
        with pytest.raises(OutputError, match=r"a\.csv is being written by another run"):
            write(path, "second", overwrite=True)
        first.kill()
    write(path, "after it")
    assert list(tmp_path.iterdir()) == [path]


def test_the_second_of_two_threads_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with only_writer(path), ThreadPoolExecutor(1) as pool:
        write(path, "nested")
        with pytest.raises(OutputError, match="is being written"):
            pool.submit(write, path, "second", overwrite=True).result()
    assert path.read_text() == "nested"


def test_the_folder_that_one_works_in_is_written_by_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_into(folder: Path) -> None:
        with only_writer(folder):
            (folder / "a").touch()

    monkeypatch.chdir(tmp_path)
    with only_writer(tmp_path.relative_to(tmp_path)), ThreadPoolExecutor(1) as pool:
        write_into(tmp_path)
        with pytest.raises(OutputError, match="is being written"):
            pool.submit(write_into, tmp_path).result()


def test_the_root_of_a_disk_may_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: FileLock) -> None:  # so that the test leaves nothing there
        raise PermissionError

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with only_writer(tmp_path.parents[-1]):
        pass


def test_a_place_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"a\.csv cannot be written"):
        write(tmp_path / "file" / "a.csv", "a")


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device", "/a/b"),
        OSError(
            "file write failed: errno = 28, error message = 'No space left on device', buf = 0x5"
        ),
        shutil.Error([("a", "b", "[Errno 28] No space left on device: 'a' -> 'b'")]),
    ],
)
def test_a_full_disk_is_said_in_words(tmp_path: Path, error: OSError) -> None:
    path = tmp_path / "a.h5ad"
    assert str(unwritable(path, error)) == (
        f"{path} cannot be written (No space left on device); choose another place."
    )
