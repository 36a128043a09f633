"""Getting weights: where they are looked for, and what is said when they do not come."""

from __future__ import annotations

import errno
import hashlib
import importlib
import shutil
from collections import namedtuple
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import huggingface_hub
import pytest
from huggingface_hub import constants, errors

from napari_stem.encoders.catalogue import CATALOGUE
from napari_stem.encoders.hub import download, encoders_in, locate, weights_file
from napari_stem.errors import EncoderError
from napari_stem.hub import reporting

if TYPE_CHECKING:
    from pathlib import Path

LUNIT, UNI, PHIKON = CATALOGUE["lunit-dino"], CATALOGUE["uni"], CATALOGUE["phikon"]
WEIGHTS = b"bytes of weights"


def test_own_folder_comes_before_the_cache(folder, tmp_path, monkeypatch) -> None:
    assert locate(LUNIT) is None
    cached = in_cache(tmp_path / "cache", LUNIT.hub_id, "pytorch_model.bin")
    assert locate(LUNIT) == cached
    own = folder / "lunit-dino"
    own.mkdir(parents=True)
    assert locate(LUNIT) == cached  # an empty folder is none
    (own / "pytorch_model.bin").write_bytes(b"")
    assert locate(LUNIT) == own
    (own / "model.safetensors").write_bytes(b"")
    assert weights_file(LUNIT, own).name == "model.safetensors"
    other = tmp_path / "elsewhere"
    (other / "lunit-dino").mkdir(parents=True)
    (other / "lunit-dino" / "model.safetensors").write_bytes(b"")
    monkeypatch.setenv("NAPARI_STEM_ENCODERS", str(other))
    assert locate(LUNIT) == other / "lunit-dino"


def test_transformers_need_their_config(folder) -> None:
    (folder / "phikon").mkdir(parents=True)
    (folder / "phikon" / "model.safetensors").write_bytes(b"")
    assert locate(PHIKON) is None
    (folder / "phikon" / "config.json").write_text("{}")
    assert locate(PHIKON) == folder / "phikon"


def test_a_folder_without_weights_says_what_belongs_there(tmp_path) -> None:
    with pytest.raises(EncoderError, match=r"put model\.safetensors or pytorch_model\.bin there"):
        weights_file(LUNIT, tmp_path)


def in_cache(cache: Path, hub_id: str, name: str) -> Path:
    """A file in Hugging Face's cache, as huggingface_hub lays it out."""
    repository = cache / f"models--{hub_id.replace('/', '--')}"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    (snapshot / name).write_bytes(WEIGHTS)
    return snapshot


class Hub:
    """A hub that holds files, in place of the real one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
        self.files: dict[str, bytes] = {"README.md": b"card", "model.safetensors": WEIGHTS}
        self.sent: list[str] = []
        self.refuse: Exception | None = None
        self.spoil = False
        self.place = place
        hub = self

        class Api:
            def model_info(self, hub_id: str, *, files_metadata: bool) -> Any:
                if hub.refuse is not None:
                    raise hub.refuse
                return SimpleNamespace(siblings=[hub.sibling(name) for name in hub.files])

        monkeypatch.setattr(huggingface_hub, "HfApi", Api)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", self.fetch)

    def sibling(self, name: str) -> Any:
        content = self.files[name]
        sha256 = hashlib.sha256(content).hexdigest()
        lfs = SimpleNamespace(sha256=sha256) if name.endswith((".safetensors", ".bin")) else None
        return SimpleNamespace(rfilename=name, size=len(content), lfs=lfs)

    def fetch(
        self, hub_id: str, name: str, local_dir: Path | None = None, tqdm_class: Any = None
    ) -> str:
        path = (local_dir or self.place) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.files[name][: -3 if self.spoil and "model" in name else None])
        self.sent.append(name)
        if tqdm_class is not None:
            with tqdm_class(total=len(self.files[name]), unit="B", desc=name) as bar:
                bar.update(4)
                bar.update(len(self.files[name]) - 4)
        return str(path)


@pytest.fixture
def hub(monkeypatch, tmp_path, folder) -> Hub:
    return Hub(monkeypatch, tmp_path / "snapshot")


def test_only_what_is_needed_is_fetched(hub, tmp_path, monkeypatch) -> None:
    hub.files |= {"pytorch_model.bin": WEIGHTS, "config.json": b"{}", "images/a.json": b"{}"}
    assert download(LUNIT) == tmp_path / "snapshot"
    assert hub.sent == ["model.safetensors"]
    hub.sent.clear()
    assert download(PHIKON, tmp_path / "to") == tmp_path / "to" / "phikon"
    assert hub.sent == ["config.json", "model.safetensors"]
    monkeypatch.setenv("NAPARI_STEM_ENCODERS", str(tmp_path / "to"))
    assert locate(PHIKON) == tmp_path / "to" / "phikon"


@pytest.mark.parametrize("bars", ["on", "off"])
def test_progress_is_told_and_may_cancel(hub, capsys, bars) -> None:
    if bars == "off":  # transformers does so when asked to be quiet
        huggingface_hub.utils.disable_progress_bars()
    told: list[tuple[int, int]] = []
    download(LUNIT, progress=lambda done, total: told.append((done, total)))
    assert told == [(4, 16), (16, 16)]
    assert capsys.readouterr().err == ""

    class Cancelled(Exception):
        pass

    def cancel(done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        download(LUNIT, progress=cancel)
    huggingface_hub.utils.enable_progress_bars()


def test_progress_is_that_of_all_files(hub) -> None:
    hub.files["config.json"] = b"{}"
    told: list[tuple[int, int]] = []
    download(PHIKON, progress=lambda done, total: told.append((done, total)))
    assert told == [(2, 18), (6, 18), (18, 18)]


def test_bytes_that_came_count_before_they_are_written() -> None:
    told: list[tuple[int, int]] = []
    bar_class = reporting(lambda done, total: told.append((done, total)), 5, 30)
    with bar_class(total=20, unit="B") as bar:
        bar.update_transfer(8)
        bar.update(4)
        bar.update(16)
        bar.update(-20)  # a server that begins anew
        bar.update(3)
    with bar_class(total=3, unit="it") as files:
        files.update(1)
    assert told == [(13, 30), (25, 30)]


def test_a_folder_tells_what_it_holds_whole(folder) -> None:
    for name in ("uni", "phikon", "holiday"):
        (folder / name).mkdir(parents=True)
        (folder / name / "pytorch_model.bin").write_bytes(b"")
    assert encoders_in(folder) == ("uni",)  # phikon lacks its config


def test_a_file_that_does_not_match_its_checksum_is_removed(hub, tmp_path) -> None:
    hub.spoil = True
    with pytest.raises(EncoderError, match="checksum is wrong"):
        download(LUNIT, tmp_path / "to")
    assert not (tmp_path / "to" / "lunit-dino" / "model.safetensors").exists()


def test_no_room_is_told_before_anything_is_fetched(hub, monkeypatch, tmp_path) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    with pytest.raises(EncoderError, match="MB free; make room"):
        download(LUNIT, tmp_path / "to")
    assert hub.sent == []


def test_renamed_files_are_told(hub) -> None:
    hub.files = {"weights.pt": b""}
    with pytest.raises(EncoderError, match=r"offers none of model\.safetensors"):
        download(LUNIT)


def refusal(kind: type[Exception], status: int) -> Exception:
    """What huggingface_hub raises, with a real response of the client that it is built on."""
    client = importlib.import_module(errors.HTTPError.__module__.split(".")[0])
    request = client.Request("GET", "https://huggingface.co/api/models/a/b")
    return kind("no", response=client.Response(status, request=request))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (refusal(errors.GatedRepoError, 403), "who accept its terms: do so on"),
        (refusal(errors.GatedRepoError, 401), "no token, or an expired one"),
        (
            refusal(errors.RepositoryNotFoundError, 401),
            "There is no .*UNI.*log in with `hf auth login`",
        ),
        (refusal(errors.HfHubHTTPError, 401), "log in with `hf auth login`"),
        (refusal(errors.RepositoryNotFoundError, 404), "does not exist any more"),
        (refusal(errors.HfHubHTTPError, 503), "answers 503"),
        (errors.LocalEntryNotFoundError("no"), "cannot be reached"),
        (errors.OfflineModeIsEnabled("no"), "HF_HUB_OFFLINE forbids"),
        (errors.HTTPError("no route"), "cannot be reached"),
        (ConnectionError("no route"), "cannot be reached"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk became full"),
        (PermissionError(errno.EACCES, "Permission denied", "/there"), r"/there.*--to"),
    ],
)
def test_what_goes_wrong_is_told_in_words(hub, error, words) -> None:
    hub.refuse = error
    with pytest.raises(EncoderError, match=words) as caught:
        download(UNI)
    assert "uni" in str(caught.value).lower()
    assert "\n" not in str(caught.value)


def test_terms_are_told_with_their_page(hub) -> None:
    hub.refuse = refusal(errors.GatedRepoError, 403)
    with pytest.raises(EncoderError, match=r"https://huggingface\.co/MahmoodLab/UNI"):
        download(UNI)


def test_offline_mode_of_huggingface_hub_is_respected(folder, monkeypatch) -> None:
    """The real library, told to stay offline."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match="HF_HUB_OFFLINE forbids downloads"):
        download(LUNIT)


def test_code_that_reads_the_cache_alone_is_not_put_elsewhere(hub, tmp_path) -> None:
    with pytest.raises(EncoderError, match="without --to"):
        download(CATALOGUE["conch-v1.5"], tmp_path)
