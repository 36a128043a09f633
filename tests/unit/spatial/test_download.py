"""The download command against a stand-in for the Hub that raises the Hub's own errors."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import huggingface_hub
import pytest
from huggingface_hub import DryRunFileInfo
from huggingface_hub.errors import (
    DryRunError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from typer.testing import CliRunner

from napari_stem.cli import app
from napari_stem.errors import DatasetError
from napari_stem.spatial.dataset import Dataset
from napari_stem.spatial.hest import HEST, Plan, download, patterns_for, plan_download

if TYPE_CHECKING:
    from collections.abc import Callable

OTHERS = {"patches/C3.h5": 10**6, "cellvit_seg/C3.parquet": 10**7, "wsis/C30.tif": 10**9}


class Hub:
    """``snapshot_download`` over a folder, with sizes as they may be on the real one."""

    def __init__(self, folder: Path) -> None:
        self.sizes = {
            str(path.relative_to(folder)): path.stat().st_size for path in folder.glob("*/*")
        } | OTHERS
        self.folder = folder
        self.error: BaseException | None = None
        self.interrupted = False

    def __call__(
        self,
        repo_id: str,
        *,
        repo_type: str,
        local_dir: Path,
        allow_patterns: list[str],
        dry_run: bool = False,
        tqdm_class: Any = None,
    ) -> Any:
        assert (repo_id, repo_type) == (HEST, "dataset")
        if self.error is not None:
            if dry_run:  # as the real one tells it
                raise DryRunError("Dry run cannot be performed") from self.error
            raise self.error
        if self.interrupted and not dry_run:
            raise KeyboardInterrupt
        chosen = [n for n in self.sizes if any(fnmatch(n, p) for p in allow_patterns)]
        here = {name: (Path(local_dir) / name).exists() for name in chosen}
        if dry_run:
            return [
                DryRunFileInfo("c", self.sizes[n], n, str(local_dir), here[n], not here[n])
                for n in chosen
            ]
        for name in chosen:
            (Path(local_dir) / name).parent.mkdir(parents=True, exist_ok=True)
            if not here[name]:
                shutil.copyfile(self.folder / name, Path(local_dir) / name)
        return str(local_dir)


@pytest.fixture
def hub(her2st_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub(her2st_dataset)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    return hub


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["import", "download", "hest", *map(str, arguments)])


def test_a_section_comes_with_its_three_files_only(hub: Hub, tmp_path: Path) -> None:
    plan = plan_download(tmp_path, patterns_for(["C3"], []))
    assert plan.n_files == 3
    assert plan.n_bytes == plan.n_bytes_missing == sum(hub.sizes[n] for n in _files("C3"))
    download(tmp_path, plan)
    assert Dataset(tmp_path).sections == ("C3",)
    assert Dataset(tmp_path).section("C3").counts.n_obs > 100


def _files(section_id: str) -> list[str]:
    return [f"wsis/{section_id}.jpg", f"st/{section_id}.h5ad", f"metadata/{section_id}.json"]


def test_what_is_there_is_not_counted_again(hub: Hub, tmp_path: Path) -> None:
    patterns = patterns_for(["C3"], [])
    download(tmp_path, plan_download(tmp_path, patterns))
    (tmp_path / "st" / "C3.h5ad").unlink()
    plan = plan_download(tmp_path, patterns)
    assert plan.n_bytes_missing == hub.sizes["st/C3.h5ad"]
    assert "of which" in str(plan)
    download(tmp_path, plan)
    assert Dataset(tmp_path).sections == ("C3",)


def test_patterns_bring_other_files_too(hub: Hub, tmp_path: Path) -> None:
    plan = plan_download(tmp_path, patterns_for(["C3"], ["patches/C3.*"]))
    assert plan.n_bytes == sum(hub.sizes[n] for n in [*_files("C3"), "patches/C3.h5"])
    assert patterns_for([], []) == ("wsis/*", "st/*", "metadata/*")


def test_nothing_so_called_is_told(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no file called like wsis/INT99\.\*"):
        plan_download(tmp_path, patterns_for(["INT99"], []))


def test_more_than_20_gb_need_a_yes(hub: Hub, tmp_path: Path) -> None:
    hub.sizes["wsis/C3.jpg"] = 21 * 10**9
    plan = plan_download(tmp_path, patterns_for(["C3"], []))
    with pytest.raises(DatasetError, match=r"3 files, 21\.0 GB; .* or add --yes"):
        download(tmp_path, plan)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_foreseen(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**9, 10**9, 1000))
    plan = Plan(("st/*",), 1, 5 * 10**9, 5 * 10**9)
    with pytest.raises(DatasetError, match=r"needs 5\.0 GB more, but only 0\.0 MB are free"):
        download(tmp_path / "not" / "yet", plan)


class Answer:
    """As much of an HTTP response as the Hub's errors look at."""

    def __init__(self, status_code: int) -> None:
        self.status_code = status_code
        self.headers: dict[str, str] = {}
        self.request = None


def _http(kind: type[HfHubHTTPError], status: int) -> Callable[[], BaseException]:
    return lambda: kind("refused", response=Answer(status))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (_http(GatedRepoError, 403), "those who accept its terms"),
        (_http(HfHubHTTPError, 401), r"huggingface.co/datasets/MahmoodLab/hest"),
        (_http(RepositoryNotFoundError, 404), "does not exist any more"),
        (_http(HfHubHTTPError, 503), "answers 503 for HEST-1k; try again later"),
        (lambda: OfflineModeIsEnabled("offline"), "HF_HUB_OFFLINE"),
        (lambda: LocalEntryNotFoundError("nowhere"), "cannot be reached"),
    ],
)
@pytest.mark.parametrize("planning", [True, False])
def test_refusals_are_told_in_words(
    hub: Hub, tmp_path: Path, error: Callable[[], BaseException], message: str, planning: bool
) -> None:
    plan = plan_download(tmp_path, patterns_for(["C3"], []))
    hub.error = error()
    with pytest.raises(DatasetError, match=message):
        plan_download(tmp_path, plan.patterns) if planning else download(tmp_path, plan)


@pytest.mark.parametrize(
    ("number", "message"),
    [(errno.ENOSPC, "disk became full"), (errno.EACCES, "cannot be written")],
)
def test_the_disk_is_told_in_words(hub: Hub, tmp_path: Path, number: int, message: str) -> None:
    plan = plan_download(tmp_path, patterns_for(["C3"], []))
    hub.error = OSError(number, "no")
    with pytest.raises(DatasetError, match=message):
        download(tmp_path, plan)


def test_errors_of_the_http_library_are_the_network(hub: Hub, tmp_path: Path) -> None:
    from huggingface_hub import _snapshot_download

    http = getattr(_snapshot_download, "httpx2", None) or __import__("httpx")
    plan = plan_download(tmp_path, patterns_for(["C3"], []))
    hub.error = http.ReadTimeout("slow")
    with pytest.raises(DatasetError, match="cannot be reached"):
        download(tmp_path, plan)


def test_errors_of_our_own_are_not_hidden(hub: Hub, tmp_path: Path) -> None:
    plan = plan_download(tmp_path, patterns_for(["C3"], []))
    hub.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        download(tmp_path, plan)


def test_the_command_says_the_size_and_what_came(hub: Hub, tmp_path: Path) -> None:
    result = run("--out", tmp_path / "hest", "--sections", "C2,C3")
    assert result.exit_code == 0
    assert "6 files" in result.stderr
    assert "6 files are in" in result.stdout


def test_the_command_ends_with_one_line_when_access_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.error = _http(GatedRepoError, 401)()
    result = run("--out", tmp_path / "hest", "--sections", "C3", "--json")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1


def test_an_interruption_ends_with_130(hub: Hub, tmp_path: Path) -> None:
    hub.interrupted = True
    result = run("--out", tmp_path / "hest", "--sections", "C3")
    assert result.exit_code == 130
    assert "the same command goes on" in result.stderr
