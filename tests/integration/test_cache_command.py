"""``napari-stem cache``, as a user meets it."""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from napari_stem.caches import CACHES
from napari_stem.cli import app
from napari_stem.cli import cache as cache_command

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

LONG_AGO = time.time() - 30 * 24 * 3600


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["cache", *arguments])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two old entries, one unfinished prediction and one that is in use."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("NAPARI_STEM_CACHE", str(folder))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    made(folder / "pyramids" / ("a" * 32), 3_000_000, LONG_AGO)
    made(folder / "pyramids" / ("b" * 32), 1_000_000, LONG_AGO + 60)
    made(folder / "predictions" / "slide-00000000000a.zarr", 1000, time.time())
    unfinished = folder / "predictions" / "slide-00000000000b.zarr"
    made(unfinished, 1000, LONG_AGO)
    group = zarr.open_group(unfinished, mode="a")
    group.create_array("obs/done", data=np.arange(10) < 4)
    age(unfinished, LONG_AGO)
    (folder / "notes.txt").write_text("somebody's own")
    return folder


def made(path: Path, n_bytes: int, when: float) -> None:
    path.mkdir(parents=True)
    (path / "data").write_bytes(b"0" * n_bytes)
    age(path, when)


def age(path: Path, when: float) -> None:
    for each in (*path.rglob("*"), path):
        os.utime(each, (when, when))


def names(cache: Path) -> set[str]:
    return {path.name for kind in ("pyramids", "predictions") for path in (cache / kind).iterdir()}


def test_it_shows_what_lies_there(cache: Path) -> None:
    shown = run().stdout
    assert str(cache) in shown
    lines = {line.split()[0]: line for line in shown.splitlines() if line.strip()}
    day = time.strftime("%Y-%m-%d", time.localtime(LONG_AGO))
    assert lines["pyramids"].split() == ["pyramids", "2", "4", "MB", "20", "GB", day]
    assert lines["all"].split()[1] == "4"
    assert "slide-00000000000b.zarr is unfinished, 4 of 10 spots" in shown
    assert all(len(line) <= 80 for line in shown.splitlines()[1:10])


def test_and_to_programs(cache: Path) -> None:
    told = json.loads(run("--json").stdout)
    assert told["path"] == str(cache)
    caches = {each["name"]: each for each in told["caches"]}
    assert list(caches) == list(CACHES) == list(get_args(cache_command.CacheName))
    predictions = caches["predictions"]
    assert (predictions["n"], predictions["n_may_be_open"]) == (2, 1)
    assert predictions["limit_bytes"] == 20_000_000_000
    assert predictions["oldest_use"] < predictions["newest_use"]
    assert caches["pyramids"]["n_bytes"] == 4_000_000
    assert told["unfinished_predictions"] == [
        str(cache / "predictions" / "slide-00000000000b.zarr")
    ]
    assert caches["answers"]["newest_use"] is None


def test_an_empty_cache_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_STEM_CACHE", str(tmp_path / "nothing"))
    assert run().exit_code == 0
    assert "Nothing was removed" in run("clear", "--yes").stdout
    assert not (tmp_path / "nothing").exists()


def test_clear_removes_ours_and_nothing_in_use(cache: Path) -> None:
    result = run("clear", "--yes")
    assert result.exit_code == 0, result.stderr
    assert "Removed 3, 4" in result.stdout
    assert "slide-00000000000b.zarr is unfinished, 4 of 10 spots" in result.stderr
    assert "predictions: 1" in result.stderr
    assert "lost unless exported" in result.stderr
    assert "1 stay" in result.stderr
    assert "--force" in result.stderr
    assert names(cache) == {"slide-00000000000a.zarr"}
    assert (cache / "notes.txt").exists()
    told = json.loads(run("clear", "--yes", "--force", "--json").stdout)
    assert told["removed"] == [str(cache / "predictions" / "slide-00000000000a.zarr")]
    assert names(cache) == set()


def test_clear_one_kind(cache: Path) -> None:
    assert run("clear", "pyramids", "--yes").exit_code == 0
    assert names(cache) == {"slide-00000000000a.zarr", "slide-00000000000b.zarr"}
    assert run("clear", "photos", "--yes").exit_code == 2


def test_it_asks_a_person_and_refuses_where_there_is_none(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = names(cache)
    alone = run("clear")
    assert alone.exit_code == 1
    assert "OutputError: Nothing was removed: nobody is there to be asked" in alone.stderr
    monkeypatch.setattr("napari_stem.cli.terminal.has_person", lambda: True)
    asked = CliRunner().invoke(app, ["cache", "clear"], input="n\n")
    assert "Remove this? [y/N]" in asked.stderr
    assert "Nothing was removed" in asked.stdout
    assert names(cache) == before
    CliRunner().invoke(app, ["cache", "clear"], input="y\n")
    assert names(cache) < before


def test_a_limit_takes_the_least_recently_used(cache: Path) -> None:
    result = run("limit", "2MB", "pyramids", "--yes")
    assert result.exit_code == 0, result.stderr
    assert names(cache) & {"a" * 32, "b" * 32} == {"b" * 32}
    assert "NAPARI_STEM_PYRAMIDS_GB=0.002" in result.stderr
    result = run("limit", "0", "--yes")
    assert names(cache) == {"slide-00000000000a.zarr"}
    assert "1 stay" in result.stderr
    assert run("limit", "2 pounds", "--yes").exit_code == 2


@pytest.mark.parametrize("flags", [(), ("--quiet",)])
def test_what_cannot_be_removed_is_said(
    flags: tuple[str, ...], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", broken)
        result = run("clear", "pyramids", "--yes", *flags)
    assert result.exit_code == 1
    assert result.stderr.count("is not removed: [Errno 13] Permission denied") == 2
    assert "Nothing was removed." in result.stdout
