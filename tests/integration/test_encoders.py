"""Encoders on the command line, and a published one on a real slide."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from napari_stem.cli import app
from napari_stem.encoders import hub
from napari_stem.encoders.catalogue import CATALOGUE
from napari_stem.encoders.embed import Embedder
from napari_stem.encoders.networks import build
from napari_stem.encoders.registry import load_encoder
from napari_stem.errors import EncoderError
from napari_stem.geometry import Mpp, lattice
from napari_stem.slide import open_slide

if TYPE_CHECKING:
    from collections.abc import Callable

CROP = Path(__file__).parents[1] / "data" / "slides" / "C5-crop.jpg"


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["encoders", *arguments])


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Encoders of the user's: none yet; Hugging Face's cache is empty."""
    from huggingface_hub import constants

    monkeypatch.setenv(hub.FOLDER_VARIABLE, "")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "encoders"


@pytest.fixture
def lunit(monkeypatch) -> Callable[[Path], None]:
    """Write Lunit's encoder, cut to one block, with random weights."""
    facts = CATALOGUE["lunit-dino"]
    facts = replace(facts, arguments={**facts.arguments, "depth": 1})
    monkeypatch.setitem(CATALOGUE, "lunit-dino", facts)

    def write(folder: Path) -> None:
        from safetensors.torch import save_file

        torch.manual_seed(0)
        (folder / "lunit-dino").mkdir(parents=True)
        save_file(build(facts).state_dict(), folder / "lunit-dino" / "model.safetensors")

    return write


def test_list_as_json(folder, lunit) -> None:
    rows = json.loads(run("--json").stdout)
    assert rows[0]["name"] == "bundled"
    assert rows[0]["ready"] is True
    assert {row["name"] for row in rows} >= {"uni", "conch", "virchow2", "h-optimus-0", "gpfm"}
    keys = "name status ready why_not packaged licence description width size_mb gate page mpp px"
    assert all(set(keys.split()) <= set(row) for row in rows)
    lunit(folder)
    rows = json.loads(run("--encoder-folder", str(folder), "--json").stdout)
    assert [row["name"] for row in rows if row["ready"]] == ["bundled", "lunit-dino"]


def test_list_for_people(folder) -> None:
    text = run().stdout
    assert "needs download" in text
    assert "gated" in text
    assert "Apache-2.0" in text


def test_download(folder, lunit, monkeypatch) -> None:
    def download(facts: Any, to: Path | None, _progress: Any) -> Path:
        assert to is not None
        lunit(to)
        return to / facts.name

    monkeypatch.setattr(hub, "download", download)
    result = run("download", "lunit-dino", "--to", str(folder), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == [
        {"name": "lunit-dino", "folder": str(folder / "lunit-dino")}
    ]
    assert "Lunit non-commercial" in result.stderr
    monkeypatch.setenv(hub.FOLDER_VARIABLE, str(folder))
    assert load_encoder("lunit-dino").width == 384


def test_download_of_what_is_packaged_is_no_work(folder) -> None:
    result = run("download", "bundled")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "part of the program" in result.stderr


def test_what_cannot_be_downloaded_is_one_line(folder, monkeypatch) -> None:
    result = run("download", "univ")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "did you mean 'uni'?" in result.stderr

    def refuse(facts: Any, to: Path | None, _progress: Any) -> Path:
        raise EncoderError("No.")

    monkeypatch.setattr(hub, "download", refuse)
    result = run("download", "bundled+uni")
    assert result.exit_code == 1
    assert result.stderr.strip().endswith("No.")


def test_embeddings_of_a_real_slide_come_back_from_the_cache(folder, lunit, monkeypatch) -> None:
    lunit(folder)
    monkeypatch.setenv(hub.FOLDER_VARIABLE, str(folder))
    slide = open_slide(CROP, Mpp.square(0.6907))
    spots = lattice(slide.size, slide.require_mpp(), 200).take(np.arange(3))
    encoder = load_encoder("bundled+lunit-dino@cls+centre")
    embedding = Embedder(slide, encoder).embed(spots)
    again = Embedder(slide, encoder).embed(spots)
    slide.close()
    assert embedding.shape == (3, 1053 + 2 * 384)
    assert np.isfinite(embedding).all()
    assert embedding[:, 1053:].std(0).max() > 1e-3
    np.testing.assert_array_equal(again, embedding)
