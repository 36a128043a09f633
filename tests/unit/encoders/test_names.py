"""Names of encoders, their facts, and the list of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from napari_stem.encoders import registry
from napari_stem.encoders.base import same_features
from napari_stem.encoders.catalogue import CATALOGUE
from napari_stem.encoders.registry import (
    Part,
    encoder_width,
    list_encoders,
    load_encoder,
    parse_name,
)
from napari_stem.errors import EncoderError

FACTS = {  # width, and whether terms must be accepted first, as the cards say
    "bundled": (1053, False),
    "uni": (1024, True),
    "uni2-h": (1536, True),
    "conch": (512, True),
    "conch-v1.5": (768, True),
    "virchow": (2560, True),
    "virchow2": (2560, True),
    "h-optimus-0": (1536, True),
    "h-optimus-1": (1536, True),
    "h0-mini": (1536, True),
    "prov-gigapath": (1536, True),
    "phikon": (768, False),
    "phikon-v2": (1024, False),
    "midnight": (3072, False),
    "hibou-b": (768, True),
    "hibou-l": (1024, True),
    "kaiko-s8": (384, False),
    "kaiko-s16": (384, False),
    "kaiko-b8": (768, False),
    "kaiko-b16": (768, False),
    "kaiko-l14": (1024, False),
    "lunit-dino": (384, False),
    "gpfm": (1024, False),
}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("uni", [Part("uni")]),
        (" UNI+Conch ", [Part("uni"), Part("conch")]),
        ("h-optimus-0@cls+centre", [Part("h-optimus-0", ("cls", "centre"))]),
        ("uni@cls+mean+conch", [Part("uni", ("cls", "mean")), Part("conch")]),
        ("bundled+conch@pooled+mean", [Part("bundled"), Part("conch", ("pooled", "mean"))]),
    ],
)
def test_names_are_read(name, parts) -> None:
    assert list(parse_name(name)) == parts
    assert parse_name("+".join(map(str, parts))) == tuple(parts)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("univ", "There is no encoder 'univ'; did you mean 'uni'?"),
        ("xyzzy", "`napari-stem encoders` lists"),
        ("", "There is no encoder ''"),
        ("uni+", "There is no encoder ''"),
        ("uni+mean", "There is no encoder 'mean'"),
        ("uni@max", "one or more of cls, mean, centre may follow"),
        ("uni@pooled", "one or more of cls, mean, centre may follow"),
        ("uni@cls+cls", "cannot be had"),
        ("bundled@cls", "no @ may follow"),
        ("uni+uni", "names an encoder twice"),
    ],
)
def test_other_names_are_refused_in_words(name, words) -> None:
    with pytest.raises(EncoderError) as caught:
        parse_name(name)
    assert words in str(caught.value)


def test_widths_and_gates_are_those_of_the_cards() -> None:
    widths = {name: width for name, (width, _) in FACTS.items()}
    assert {name: encoder_width(name) for name in FACTS} == widths
    listed = {row["name"]: (row["width"], row["gate"] == "terms") for row in list_encoders()}
    assert listed == FACTS


@pytest.mark.parametrize(
    ("name", "n_fields", "width"),
    [
        ("uni+conch", None, 1536),  # published Stem's condition
        ("uni+conch", 3, 4608),
        ("h-optimus-0@cls+centre", 1, 3072),
        ("virchow2@cls", 2, 2560),
        ("conch@pooled+cls", None, 512 + 768),
        ("bundled", 1, 351),
        ("bundled+uni", None, 1053 + 1024),
    ],
)
def test_width_of_combinations(name, n_fields, width) -> None:
    assert encoder_width(name, n_fields) == width


def test_every_encoder_states_its_facts() -> None:
    for facts in CATALOGUE.values():
        assert 0.2 < facts.mpp <= 1
        assert facts.side_px in (224, 448)
        assert facts.hub_id.count("/") == 1
        assert facts.reference
        assert facts.licence
        assert facts.size_mb > 50
        assert set(facts.pooling) <= set(facts.poolings)
        mean, deviation = facts.normalisation
        assert all(0.3 < m < 0.8 for m in mean)
        assert all(0.1 < d <= 0.5 for d in deviation)


def test_versions_that_differ_in_precision_alone_have_the_same_features() -> None:
    assert same_features("1-cls-112um-0a~fp32", "1-cls-112um-0a~fp16")
    assert same_features("1", "1")
    assert not same_features("1-cls-112um-0a~fp32", "1-cls-224um-0a~fp32")


def test_listing_and_widths_load_no_torch_and_ask_no_network() -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = socket.create_connection = refuse\n"
        "from napari_stem.encoders.registry import encoder_width, list_encoders\n"
        "assert len(list_encoders()) > 20 and encoder_width('uni+conch') == 1536\n"
        "assert not {'torch', 'timm', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_list_says_what_to_do(folder) -> None:
    rows = {row["name"]: row for row in list_encoders()}
    assert (rows["bundled"]["status"], rows["bundled"]["why_not"]) == ("ready", None)
    assert rows["uni"]["status"] == "gated"
    assert rows["uni"]["page"] == "https://huggingface.co/MahmoodLab/UNI"
    assert rows["uni"]["page"] in rows["uni"]["why_not"]
    assert "hf auth login" in rows["uni"]["why_not"]
    assert rows["lunit-dino"]["status"] == "needs download"
    assert "87 MB" in rows["lunit-dino"]["why_not"]
    assert rows["hibou-l"]["status"] == "not allowed"
    assert "NAPARI_STEM_TRUST_REMOTE_CODE=1" in rows["hibou-l"]["why_not"]
    assert not any(row["ready"] for name, row in rows.items() if name != "bundled")


def test_a_missing_package_is_named(folder, monkeypatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    rows = {row["name"]: row for row in list_encoders()}
    lacking = {name for name, row in rows.items() if row["status"] == "not installed"}
    needing = {n for n, f in CATALOGUE.items() if f.library in {"transformers", "remote"}}
    assert lacking == needing
    assert "pip install 'napari-stem[encoders]'" in rows["phikon"]["why_not"]


def test_code_of_a_repository_runs_on_consent_alone(folder, monkeypatch) -> None:
    monkeypatch.setattr(registry.metadata, "version", lambda name: "4.57.1")
    assert registry.readiness(CATALOGUE["hibou-l"])[0] == "not allowed"
    monkeypatch.setenv("NAPARI_STEM_TRUST_REMOTE_CODE", "1")
    assert registry.readiness(CATALOGUE["hibou-l"])[0] == "gated"
    monkeypatch.setattr(registry.metadata, "version", lambda name: "5.1.0")
    status, why_not = registry.readiness(CATALOGUE["conch-v1.5"])
    assert status == "not installed"
    assert "transformers<5" in str(why_not)


def test_what_is_not_there_is_not_loaded(folder) -> None:
    with pytest.raises(EncoderError, match=r"'uni' is not ready: accept its terms.*ENCODERS"):
        load_encoder("bundled+uni")
    with pytest.raises(EncoderError, match="larger than 0"):
        load_encoder("bundled", fields_of_view_um=(112.0, -1.0))
