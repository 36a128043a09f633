"""Models from folders, zips and Hugging Face: nothing but the three files is ever read, hashes hold."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import shutil
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import huggingface_hub
import pytest
from huggingface_hub import constants, errors

from napari_stem.errors import ModelError, OutputError, UnknownGeneError
from napari_stem.geometry import Mpp, PatchSpec
from napari_stem.model import find_model, load_model
from napari_stem.model.config import CONFIG_FILE, WEIGHTS_FILE, read_config
from napari_stem.model.genes import missing_of, require_known
from napari_stem.model.serving import require_resolution, require_species, tissue_warning
from napari_stem.model.sources import FILES, PACKAGED, fetch, others, pack, unpacked

if TYPE_CHECKING:
    from pathlib import Path

NAME = "her2st-breast"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the packaged model, to spoil."""
    return shutil.copytree(PACKAGED / NAME, tmp_path / "copy")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_STEM_CACHE", str(tmp_path / "cache"))


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def with_traps(folder: Path) -> Path:
    """Add code to a model folder, under names that other libraries run."""
    mark = folder.parent / "trap was sprung"
    code = f"import os\nos.mkdir({str(mark)!r})\n"
    for name in ("modeling.py", "__init__.py", "handler.py", "sitecustomize.py"):
        (folder / name).write_text(code)
    for name in ("pytorch_model.bin", "model.pkl", "head.joblib"):
        (folder / name).write_bytes(pickle.dumps(Trap(mark)))
    return mark


# where models are found


def test_a_folder_a_zip_and_a_name_are_the_same_model(folder, tmp_path) -> None:
    packed = pack(folder, tmp_path / "m.zip")
    hashes = {load_model(source).weights_hash for source in (folder, packed, str(packed), NAME)}
    assert len(hashes) == 1


def test_nothing_of_a_repository_is_run(folder, tmp_path) -> None:
    mark = with_traps(folder)
    assert load_model(folder).name == NAME
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    found = find_model(tmp_path / "m.zip")
    assert sorted(path.name for path in found.iterdir()) == sorted(FILES)
    assert load_model(found).name == NAME
    assert not mark.exists()
    pickle.loads((folder / "model.pkl").read_bytes())  # noqa: S301 - the trap is one
    assert mark.exists()


def test_packing_leaves_everything_else_behind(folder, tmp_path) -> None:
    with_traps(folder)
    one, two = (
        pack(folder, tmp_path / "m.zip"),
        pack(PACKAGED / NAME, tmp_path / "n.zip"),
    )
    with zipfile.ZipFile(one) as archive:
        assert archive.namelist() == [f"m/{name}" for name in FILES]
    assert one.stat().st_size == two.stat().st_size
    assert "modeling.py" in others(folder)
    with pytest.raises(OutputError, match="exists already"):
        pack(folder, tmp_path / "m.zip")
    with pytest.raises(OutputError, match=r"not \.zip"):
        pack(folder, tmp_path / "m.tar")
    with pytest.raises(OutputError, match="cannot be written"):
        pack(folder, tmp_path / "m.zip" / "in-a-file.zip")
    (folder / "README.md").unlink()
    with pytest.raises(ModelError, match=r"lacks README\.md"):
        pack(folder, tmp_path / "o.zip")


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps rights otherwise")
def test_a_zip_that_not_everybody_may_read_is_unpacked_for_one_user(folder, public_path) -> None:
    path = pack(folder, public_path / "m.zip")
    path.chmod(0o644)
    for_all = unpacked(path)
    path.chmod(0o640)
    assert unpacked(path).stat().st_mode & 0o777 == 0o700
    assert unpacked(path) != for_all
    assert load_model(path).name == NAME


def test_a_zip_writes_nowhere_else(folder, tmp_path) -> None:
    """Members that climb out of the folder, or lie deeper, are not unpacked."""
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in FILES:
            archive.write(folder / name, f"model/{name}")
        archive.writestr("../../config.json", "{}")
        archive.writestr("a/b/config.json", "{}")
        archive.writestr("model/modeling.py", "")
    assert read_config(unpacked(path)).name == NAME
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "copy", "m.zip"]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        (
            {"a/config.json": "{}", "b/config.json": "{}", "a/model.safetensors": ""},
            "more than one",
        ),
        ({"README.md": ""}, r"holds no model: it lacks config\.json and model\.safetensors"),
    ],
)
def test_a_zip_of_something_else(members, words, tmp_path) -> None:
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    with pytest.raises(ModelError, match=words):
        find_model(path)


def test_damaged_zips_and_other_files(folder, tmp_path) -> None:
    path = pack(folder, tmp_path / "m.zip")
    whole = path.read_bytes()
    path.write_bytes(whole[:2000] + b"\0\1\2" * 50 + whole[2150:])
    with pytest.raises(ModelError, match="damaged"):
        find_model(path)
    path.write_bytes(whole[:5000])
    with pytest.raises(ModelError, match="damaged"):
        find_model(path)
    path.write_bytes(whole)
    assert load_model(path).name == NAME  # what was half unpacked is done again
    (tmp_path / "m.pt").write_bytes(b"")
    with pytest.raises(ModelError, match=r"m\.pt is no model"):
        find_model(tmp_path / "m.pt")


def test_a_mistyped_path_is_not_looked_for_on_the_hub(folder, monkeypatch) -> None:
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *_a, **_k: pytest.fail("asked")
    )
    monkeypatch.chdir(folder.parent)
    for source in ("copy/none", "her3st", "copy/m.zip", "/no/such/place", "a/b/c"):
        with pytest.raises(ModelError, match=f"There is no model '{source}'"):
            find_model(source)


# Hugging Face


class Hub:
    """Stands where huggingface_hub downloads: a repository with code beside the model."""

    def __init__(self, folder: Path, place: Path) -> None:
        self.folder, self.place = folder, place
        self.refuse: Exception | None = None
        self.asked: list[tuple[str, str | None]] = []

    def snapshot_download(
        self, repository: str, *, revision: str | None, allow_patterns: list[str]
    ) -> str:
        self.asked.append((repository, revision))
        if self.refuse is not None:
            raise self.refuse
        for name in huggingface_hub.utils.filter_repo_objects(
            [p.name for p in self.folder.iterdir()], allow_patterns=allow_patterns
        ):
            self.place.mkdir(exist_ok=True)
            shutil.copy(self.folder / name, self.place / name)
        return str(self.place)


@pytest.fixture
def hub(folder, tmp_path, monkeypatch) -> Hub:
    made = Hub(folder, tmp_path / "snapshot")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    return made


def test_a_model_from_the_hub(hub, folder) -> None:
    mark = with_traps(folder)
    assert load_model("clinic/breast").weights_hash == load_model(NAME).weights_hash
    assert sorted(path.name for path in hub.place.iterdir()) == sorted(FILES)
    assert not mark.exists()
    find_model("hf://clinic/breast@v1.2")
    find_model("https://huggingface.co/clinic/breast")
    assert hub.asked == [
        ("clinic/breast", None),
        ("clinic/breast", "v1.2"),
        ("clinic/breast", None),
    ]


def refusal(kind: type[Exception], status: int) -> Exception:
    """What huggingface_hub raises, with a real response of the client that it is built on."""
    client = importlib.import_module(errors.HTTPError.__module__.split(".")[0])
    request = client.Request("GET", "https://huggingface.co/api/models/a/b")
    return kind("no", response=client.Response(status, request=request))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            refusal(errors.GatedRepoError, 403),
            "accept its terms: do so on https://huggingface.co/a/b",
        ),
        (refusal(errors.RepositoryNotFoundError, 401), "log in with `hf auth login`"),
        (refusal(errors.RepositoryNotFoundError, 404), "does not exist any more"),
        (refusal(errors.RevisionNotFoundError, 404), "no such revision"),
        (refusal(errors.HfHubHTTPError, 503), "answers 503"),
        (
            errors.LocalEntryNotFoundError("no"),
            r"cannot be reached.*give --model a folder or \.zip",
        ),
        (errors.OfflineModeIsEnabled("no"), "HF_HUB_OFFLINE forbids downloads"),
        (errors.HTTPError("no route"), "cannot be reached"),
        (PermissionError(13, "Permission denied", "/there"), r"/there.*\$HF_HOME"),
    ],
)
def test_what_the_hub_refuses_is_told_in_words(hub, error, words) -> None:
    hub.refuse = error
    with pytest.raises(ModelError, match=words) as caught:
        find_model("a/b")
    assert "\n" not in str(caught.value)


def test_a_repository_without_a_model(hub, folder) -> None:
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(ModelError, match=r"holds no model of this program: .* model\.safetensors"):
        fetch("a/b")


def test_offline_mode_of_huggingface_hub_is_respected(tmp_path, monkeypatch) -> None:
    """The real library, told to stay offline, with an empty cache."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(ModelError, match=r"no-such-org/x.*give --model a folder"):
        fetch("no-such-org/x")


# what a config says of itself


def rewritten(folder: Path, **entries: Any) -> Path:
    path = folder / CONFIG_FILE
    values = {**json.loads(path.read_text("utf-8")), **entries}
    path.write_text(json.dumps(values), encoding="utf-8")
    return folder


def test_weights_that_are_others_are_refused(folder) -> None:
    weights = folder / WEIGHTS_FILE
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1  # still a sound file, of another number
    weights.write_bytes(content)
    with pytest.raises(
        ModelError, match=r"its SHA-256 is [0-9a-f]{64}, and there stands [0-9a-f]{64};"
    ):
        load_model(folder)
    with pytest.raises(ModelError, match="there stands none"):
        load_model(rewritten(folder, weights_sha256=""))


def test_a_newer_format_asks_for_an_update(folder) -> None:
    with pytest.raises(ModelError, match=r"version 6, this program reads 5; update napari-stem"):
        load_model(rewritten(folder, format_version=6))


def test_an_older_format_is_refused(folder) -> None:
    with pytest.raises(ModelError, match="version 4, which this program cannot read"):
        load_model(rewritten(folder, format_version=4))


# what a model can serve

CONFIG = read_config(PACKAGED / NAME)
PATCH = PatchSpec((150.0, 300.0, 600.0), 224)


def test_another_species_is_refused() -> None:
    for same in (None, "human", "Homo  Sapiens"):
        require_species(CONFIG, same)
    with pytest.raises(ModelError, match="trained on Homo sapiens, and the slide is of mouse"):
        require_species(CONFIG, "mouse")
    require_species(replace(CONFIG, card={}), "mouse")  # nobody says: nothing to compare


def test_another_tissue_is_warned_of() -> None:
    assert tissue_warning(CONFIG, None) is None
    assert tissue_warning(CONFIG, "Breast ") is None
    assert "trained on breast, and this slide is of kidney" in str(tissue_warning(CONFIG, "kidney"))
    assert "does not say" in str(tissue_warning(replace(CONFIG, card={}), "kidney"))


def test_a_slide_too_coarse_is_refused() -> None:
    require_resolution(CONFIG, PATCH, Mpp.square(1.3))  # trained at 0.69 um/px
    with pytest.raises(
        ModelError, match=r"1\.4 um/px.*150 um at 0\.69 um/px.*upsampled 2\.0 times"
    ):
        require_resolution(CONFIG, PATCH, Mpp.square(1.4))
    coarse = replace(CONFIG, card={**CONFIG.card, "mpp_um": 2.75})
    require_resolution(coarse, PATCH, Mpp.square(2.75))  # as coarse as what it was trained on
    with pytest.raises(ModelError, match="upsampled"):
        require_resolution(coarse, PATCH, Mpp.square(6))


# the user's own panel

PANEL = ("ERBB2", "KRT8", "FOXA1", "SCD")


def test_a_gene_by_an_old_name_is_offered_not_guessed() -> None:
    with pytest.raises(UnknownGeneError, match=r"does not predict 'HER2';.* Did you mean ERBB2\?"):
        require_known(("SCD", "HER2"), PANEL, "m")
    with pytest.raises(UnknownGeneError, match="predicts 'HER2' as 'ERBB2': ask for"):
        missing_of(("SCD", "HER2"), PANEL, "m")


def test_genes_that_nobody_predicts_may_be_missing() -> None:
    assert missing_of(("SCD", "ZZZ", "KRT8"), PANEL, "m") == ("ZZZ",)
    with pytest.raises(
        UnknownGeneError, match=r"'ZZZ', 'FOXA';.*Did you mean FOXA1 for FOXA\?"
    ) as caught:
        require_known(("ZZZ", "FOXA"), PANEL, "m")
    assert "4 genes" in str(caught.value)
    with pytest.raises(UnknownGeneError, match="'E5' and 2 more"):
        require_known([f"E{i}" for i in range(1, 8)], PANEL, "m")
