"""What the caches hold, and what is removed of it: ours alone, least recently used first, nothing in use."""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from pathlib import Path

import pytest

from napari_stem.caches import (
    CACHES,
    IN_USE_S,
    entries,
    keep_bounded,
    remove,
    restrict,
    status_within,
    touch,
)

LONG_AGO_S = 30 * 24 * 3600


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_STEM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def made(path: Path, n_bytes: int, age_s: float = LONG_AGO_S) -> Path:
    """A folder (.zarr) or file of a size, last used some time ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in {".sqlite", ".json"}:
        path.write_bytes(b"0" * n_bytes)
    else:
        path.mkdir()
        (path / "data").write_bytes(b"0" * n_bytes)
    when = time.time() - age_s
    os.utime(path, (when, when))
    return path


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps rights otherwise")
@pytest.mark.parametrize(
    ("rights", "same_group", "other_group"),
    [(0o600, 0o600, 0o600), (0o640, 0o640, 0o600), (0o644, 0o644, 0o644), (0o604, 0o604, 0o600)],
)
def test_another_group_reads_only_what_everybody_may(
    rights: int, same_group: int, other_group: int, tmp_path: Path
) -> None:
    kept, slide = tmp_path / "kept", tmp_path / "slide.png"
    kept.mkdir()
    (kept / "zarr.json").touch()
    slide.touch()
    slide.chmod(rights)
    of_slide = list(slide.stat())
    for group, expected in ((0, same_group), (1, other_group)):
        of_slide[stat.ST_GID] = kept.stat().st_gid + group
        restrict(kept, os.stat_result(of_slide))
        assert stat.S_IMODE((kept / "zarr.json").stat().st_mode) == expected


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps rights otherwise")
@pytest.mark.parametrize(
    ("rights", "of_folder", "others_group", "reading"),
    [
        (0o644, 0o755, False, 0o044),
        (0o644, 0o750, False, 0o040),
        (0o644, 0o750, True, 0),
        (0o640, 0o755, True, 0o040),
        (0o644, 0o711, True, 0o044),
        (0o644, 0o700, False, 0),
    ],
)
def test_nobody_reads_what_lies_in_a_folder_that_is_closed_to_them(
    rights: int, of_folder: int, others_group: bool, reading: int, public_path: Path
) -> None:
    folder = public_path / "study" / "slides"
    folder.mkdir(parents=True)
    slide = folder / "slide.png"
    slide.touch()
    slide.chmod(rights)
    folder.parent.chmod(of_folder)
    if others_group:
        if os.getuid() != 0:
            pytest.skip("only root gives folders away")
        os.chown(folder.parent, -1, slide.stat().st_gid + 1)
    link = public_path / "link.png"
    link.symlink_to(slide)
    assert [status_within(path).st_mode & 0o077 for path in (slide, link)] == [reading] * 2


def test_a_folder_that_may_not_be_looked_at_lets_nobody_else_read(
    public_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide, stat_of = public_path / "slide.png", Path.stat

    def denied(path: Path, **how: bool) -> os.stat_result:
        if path == public_path:  # as on Windows, which opens what lies in it all the same
            raise PermissionError(errno.EACCES, "Access is denied", str(path))
        return stat_of(path, **how)

    slide.touch()
    monkeypatch.setattr(Path, "stat", denied)
    assert status_within(slide).st_mode & 0o044 == 0


def prediction(cache: Path, number: int, n_bytes: int = 1000, age_s: float = LONG_AGO_S) -> Path:
    return made(cache / "predictions" / f"slide-{number:012x}.zarr", n_bytes, age_s)


def test_the_least_recently_used_goes_first(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old = prediction(cache, 1, age_s=3 * LONG_AGO_S)
    oldest = prediction(cache, 2, age_s=4 * LONG_AGO_S)
    young = prediction(cache, 3, age_s=2 * LONG_AGO_S)
    monkeypatch.setenv("NAPARI_STEM_PREDICTIONS_GB", "1.5e-6")
    with caplog.at_level(logging.INFO):
        assert [entry.path for entry in keep_bounded("predictions")] == [oldest, old]
    assert str(oldest) in caplog.text
    assert list(young.parent.iterdir()) == [young]


def test_what_may_be_open_or_is_to_be_kept_stays(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAPARI_STEM_PREDICTIONS_GB", "0")
    shown, used = prediction(cache, 1), prediction(cache, 2, age_s=IN_USE_S - 60)
    touched = prediction(cache, 3)
    touch(touched)
    assert keep_bounded("predictions", keep=[shown]) == []
    assert shown.exists()
    assert used.exists()


def test_one_limit_for_all_caches(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    young = prediction(cache, 1, age_s=LONG_AGO_S)
    old = made(cache / "embeddings" / f"{'a' * 32}-0.5-0.5-uni-1.sqlite", 1000, 2 * LONG_AGO_S)
    monkeypatch.setenv("NAPARI_STEM_CACHE_GB", "1.5e-6")
    assert [entry.path for entry in keep_bounded("predictions")] == [old]
    assert young.exists()


def test_limits_are_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pyramids = CACHES["pyramids"]
    monkeypatch.delenv(pyramids.variable, raising=False)
    assert pyramids.limit_bytes == 20e9
    monkeypatch.setenv("NAPARI_STEM_PYRAMIDS_GB", "0.5")
    assert pyramids.limit_bytes == 5e8
    for text in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("NAPARI_STEM_PYRAMIDS_GB", text)
        assert pyramids.limit_bytes == 20e9
        assert f"NAPARI_STEM_PYRAMIDS_GB={text}" in caplog.text


def test_a_limit_that_means_none_clears_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = prediction(cache, 1, age_s=LONG_AGO_S)
    monkeypatch.setenv("NAPARI_STEM_CACHE_GB", "-1")
    monkeypatch.setenv("NAPARI_STEM_PREDICTIONS_GB", "-1")
    assert keep_bounded("predictions") == []
    assert kept.exists()


def test_nothing_but_ours_is_seen(cache: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious.zarr"
    precious.mkdir()
    (cache / "predictions").mkdir(parents=True)
    (cache / "models").mkdir()
    (cache / "predictions" / "slide-00000000000a.zarr").symlink_to(precious)
    (cache / "predictions" / "my own.zarr").mkdir()
    (cache / "models" / "resnet").mkdir()
    (cache / "photo.png").write_text("precious")
    assert entries() == []
    ours = prediction(cache, 1)
    assert [entry.path for entry in entries()] == [ours]


def test_what_a_killed_process_left_goes_after_a_day(cache: Path) -> None:
    name = "slide-00000000000a.zarr"
    abandoned = made(cache / "predictions" / f"{name}.partial", 10, age_s=25 * 3600)
    half_removed = made(cache / "predictions" / f"{name}.abcdef01.outdated", 10, age_s=25 * 3600)
    being_written = made(cache / "pyramids" / f"{'b' * 32}.01234567.partial", 10, age_s=7200)
    assert [entry.is_whole for entry in entries()] == [False] * 3
    assert keep_bounded("predictions") == []
    assert not abandoned.exists()
    assert not half_removed.exists()
    assert being_written.exists()


def test_a_database_goes_with_its_journal(cache: Path) -> None:
    database = made(cache / "embeddings" / f"{'a' * 32}-0.5-0.5-uni-1.sqlite", 10)
    journal = database.with_name(f"{database.name}-journal")
    journal.write_text("left by a kill")
    (entry,) = entries()
    assert remove(entry)
    assert list(database.parent.iterdir()) == []


def test_of_two_processes_that_remove_one_is_the_first(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prediction(cache, 1)
    (entry,) = entries()
    assert remove(entry)
    assert not remove(entry)
    assert str(entry.path) in caplog.text
