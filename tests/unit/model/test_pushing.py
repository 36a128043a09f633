"""A model on Hugging Face: the card is one that the hub reads, and nothing goes without a licence."""

from __future__ import annotations

import importlib
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import huggingface_hub
import pytest
from huggingface_hub import ModelCard, errors
from typer.testing import CliRunner

from napari_stem.cli import app
from napari_stem.errors import ModelError
from napari_stem.model import load_model
from napari_stem.model.card import card_text, licence_fields
from napari_stem.model.config import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, read_config
from napari_stem.model.pushing import prepared, push, read_card
from napari_stem.model.sources import PACKAGED

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

REPOSITORY = "clinic/breast"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the packaged model, to spoil."""
    return shutil.copytree(PACKAGED / "her2st-breast", tmp_path / "copy")


class Hub:
    """Stands where huggingface_hub uploads."""

    def __init__(self) -> None:
        self.refuse: Exception | None = None
        self.made: list[tuple[str, bool]] = []
        self.held: dict[str, bytes] = {}

    def create_repo(self, repository: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        if self.refuse is not None:
            raise self.refuse
        self.made.append((repository, private))

    def create_commit(self, repository: str, operations: list[Any], *, commit_message: str) -> Any:
        for operation in operations:
            with operation.as_file() as file:
                self.held[operation.path_in_repo] = file.read()
        return SimpleNamespace(commit_url=f"https://huggingface.co/{repository}/commit/0123")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
    return made


def without_licence(folder: Path) -> Path:
    path = folder / CONFIG_FILE
    config = json.loads(path.read_text("utf-8"))
    config["card"]["licence"] = None
    path.write_text(json.dumps(config), encoding="utf-8")
    model = load_model(folder)
    (folder / CARD_FILE).write_text(card_text(model.config, knows_domain=True), encoding="utf-8")
    return folder


def test_the_packaged_card_is_one_of_the_hub() -> None:
    model = load_model()
    text = (PACKAGED / "her2st-breast" / CARD_FILE).read_text("utf-8")
    assert text == card_text(model.config, knows_domain=model.head.knows_domain)
    card = ModelCard(text)
    assert (card.data.license, card.data.library_name) == ("cc-by-4.0", "napari-stem")
    assert {"spatial-transcriptomics", "breast", "homo-sapiens"} <= set(card.data.tags)
    figures = model.card["metrics"]["C5"]["napari-stem"]
    told = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert told["PCC, best 50 genes"] == pytest.approx(figures["pcc_50"], abs=1e-4)
    assert told["CRPS"] == pytest.approx(figures["crps"], abs=1e-4)
    # of 3,401: "PCC, all genes" would be another number
    of_which = "held-out section C5, 200 genes (the HMHVG panel)"
    assert {result.dataset_name for result in card.data.eval_results} == {of_which}


def test_the_card_counts_what_is_told_from_chance() -> None:
    config = read_config(PACKAGED / "her2st-breast")
    marked = {"genes_by_chance": [*config.genes[:2], "elsewhere"], "genes_not_measured": ["ESR1"]}
    text = card_text(replace(config, card=config.card | marked), knows_domain=True)
    n = len(config.genes)
    assert f"Of {n:,} genes {n - 2:,} are told from chance in every left-out section" in text
    assert "2 are not, and are marked." in text
    assert "Not measured in the training data: ESR1" in text


@pytest.mark.parametrize(
    ("licence", "fields"),
    [
        ("CC BY 4.0", {"license": "cc-by-4.0"}),
        ("Apache-2.0", {"license": "apache-2.0"}),
        (None, {"license": "unknown"}),
        ("Our terms, v2", {"license": "other", "license_name": "our-terms-v2"}),
    ],
)
def test_licences_as_the_hub_names_them(licence, fields) -> None:
    assert licence_fields(licence) == fields


def test_a_model_is_sent_as_it_is_and_alone(hub, folder) -> None:
    (folder / "modeling.py").write_text("")
    (folder / "logs").mkdir()
    upload = prepared(folder, REPOSITORY)
    assert (upload.licence, upload.left_out) == ("CC BY 4.0", ("logs", "modeling.py"))
    assert hub.held == {}
    assert push(upload, private=True).endswith("/commit/0123")
    assert hub.made == [(REPOSITORY, True)]
    assert sorted(hub.held) == sorted((CONFIG_FILE, WEIGHTS_FILE, CARD_FILE))
    assert hub.held[WEIGHTS_FILE] == (folder / WEIGHTS_FILE).read_bytes()
    for name in (CARD_FILE, CONFIG_FILE):
        assert hub.held[name] == (folder / name).read_bytes()
    sent = folder.parent / "sent"
    sent.mkdir()
    for name, content in hub.held.items():
        (sent / name).write_bytes(content)
    assert load_model(sent).config == load_model(folder).config


def test_no_licence_no_repository(folder) -> None:
    without_licence(folder)
    with pytest.raises(ModelError, match=r"states no licence.*--licence cc-by-4"):
        prepared(folder, REPOSITORY)
    upload = prepared(folder, REPOSITORY, "CC BY-SA 4.0")
    assert json.loads(upload.config)["card"]["licence"] == "CC BY-SA 4.0"
    card = ModelCard(upload.card)
    assert card.data.license == "cc-by-sa-4.0"
    assert "- Licence: CC BY-SA 4.0" in card.text
    assert "unknown" not in upload.card
    assert len(card.data.eval_results) == upload.n_metrics == 6
    own = ModelCard(prepared(folder, REPOSITORY, "Our terms").card)
    assert (own.data.license, own.data.license_name) == ("other", "our-terms")


def test_own_words_in_a_card_are_kept(folder) -> None:
    path = folder / CARD_FILE
    path.write_text(path.read_text("utf-8") + "\nAsk Dr. A. before use.\n", encoding="utf-8")
    for licence in (None, "MIT"):
        assert "Ask Dr. A. before use." in prepared(folder, REPOSITORY, licence).card


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# A card\n", "has no front matter"),
        ("---\nlicense: [\n---\n# A card\n", "front matter of .* cannot be read"),
        ("---\nlicense: mit\n---\n# A card\n", "names licence 'mit' and config.json 'CC BY 4.0'"),
    ],
)
def test_cards_that_the_hub_would_not_read(folder, text, words) -> None:
    (folder / CARD_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=words) as caught:
        prepared(folder, REPOSITORY)
    assert "\n" not in str(caught.value)


def test_damaged_models_are_not_sent(folder) -> None:
    with pytest.raises(ModelError, match="is no address"):
        prepared(folder, "breast")
    (folder / WEIGHTS_FILE).write_bytes(b"")
    with pytest.raises(ModelError, match="SHA-256"):
        prepared(folder, REPOSITORY)
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(ModelError, match=r"lacks model\.safetensors"):
        prepared(folder, REPOSITORY)


def refusal(kind: type[Exception], status: int) -> Exception:
    client = importlib.import_module(errors.HTTPError.__module__.split(".")[0])
    request = client.Request("POST", "https://huggingface.co/api/repos/create")
    return kind("no", response=client.Response(status, request=request))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (refusal(errors.HfHubHTTPError, 401), "does not let you write.*token that may write"),
        (refusal(errors.HfHubHTTPError, 403), "does not let you write"),
        (refusal(errors.HfHubHTTPError, 500), "answers 500"),
        (errors.OfflineModeIsEnabled("no"), "HF_HUB_OFFLINE forbids uploads"),
        (errors.HTTPError("no route"), "was not uploaded; try again, or give the .zip"),
        (errors.HFValidationError("no"), "is no address of a repository"),
    ],
)
def test_what_the_hub_refuses_is_told_in_words(hub, folder, error, words) -> None:
    hub.refuse = error
    with pytest.raises(ModelError, match=words) as caught:
        push(prepared(folder, REPOSITORY))
    assert "\n" not in str(caught.value)


# the commands


def run(*arguments: str | Path, said: str | None = None) -> Result:
    return CliRunner().invoke(app, ["models", *map(str, arguments)], input=said)


def test_push_shows_what_goes_and_asks(hub, folder) -> None:
    (folder / "notes.txt").write_text("private")
    asked = run("push", folder, "--repo", REPOSITORY)
    assert (asked.exit_code, asked.stdout) == (1, "")
    for word in (REPOSITORY, "CC BY 4.0", WEIGHTS_FILE, "Not sent: notes.txt", "add --yes"):
        assert word in asked.stderr
    assert hub.held == {}
    sent = run("push", folder, "--repo", REPOSITORY, "--yes", "--json")
    told = json.loads(sent.stdout)
    assert (told["repository"], told["private"], told["left_out"]) == (
        REPOSITORY,
        False,
        ["notes.txt"],
    )
    assert told["files"] == {name: len(content) for name, content in hub.held.items()}


def test_check_says_that_the_encoder_is_of_another_version(folder) -> None:
    path = folder / CONFIG_FILE
    values = {**json.loads(path.read_text("utf-8")), "encoder_version": "0"}
    path.write_text(json.dumps(values), "utf-8")
    found = json.loads(run("check", folder, "--json").stdout)
    assert not found["encoder_ready"]
    assert "was trained with version 0 of encoder 'bundled'" in found["encoder_why_not"]
    assert "train the model again" in run("check", folder).stdout


def test_pack_and_check(folder, tmp_path) -> None:
    (folder / "modeling.py").write_text("")
    packed = json.loads(run("pack", folder, "--out", tmp_path / "m.zip", "--json").stdout)
    assert packed["left_out"] == ["modeling.py"]
    found = json.loads(run("check", packed["out"], "--json").stdout)
    n_genes = len(read_config(PACKAGED / "her2st-breast").genes)
    about = (found["name"], found["n_genes"], found["encoder_ready"])
    assert about == ("her2st-breast", n_genes, True)
    assert (found["not_read"], found["card_why_not"]) == ([], None)
    assert "modeling.py" in run("check", folder).stdout
    (folder / CARD_FILE).write_text("no card")
    assert "has no front matter" in run("check", folder).stdout
    (folder / WEIGHTS_FILE).write_bytes(b"")
    broken = run("check", folder)
    assert (broken.exit_code, broken.stdout) == (1, "")
    assert "SHA-256" in broken.stderr


def test_listing_is_still_there() -> None:
    (packaged,) = json.loads(run("--json").stdout)
    assert packaged["name"] == "her2st-breast"
    told, marked = run("--genes", "her2st-breast").stdout.split("#")
    card = read_config(PACKAGED / "her2st-breast").card
    assert marked.splitlines()[1:] == card["genes_by_chance"]
    assert "ERBB2" in told.splitlines()


def test_a_card_without_front_matter_is_no_card(tmp_path) -> None:
    (tmp_path / CARD_FILE).write_text("text")
    with pytest.raises(ModelError, match="front matter"):
        read_card(tmp_path / CARD_FILE)
