"""Published checkpoints become models that compute the same; what does not fit is named."""

from __future__ import annotations

import argparse
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_stem.errors import ModelError
from napari_stem.geometry import Spots
from napari_stem.model.bundle import CARD_FILE, load_folder
from napari_stem.model.published import (
    model_of,
    read_checkpoint,
    require_genes,
    require_width,
)
from napari_stem.settings import SamplingSettings

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).parents[2] / "data" / "golden"
GENES = tuple(f"GENE{i}" for i in range(24))
PROVIDED: dict[str, Any] = {
    "name": "golden",
    "genes": GENES,
    "encoder": "bundled",
    "fields_of_view_um": (112.0,),
    "pitch_um": 100.0,
}


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "stem_published_weights.safetensors")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], Path]:
    """Save anything as a pickled checkpoint."""

    def save(content: Any) -> Path:
        torch.save(content, tmp_path / "0300000.pt")
        return tmp_path / "0300000.pt"

    return save


def as_published(weights: dict[str, torch.Tensor], prefix: str = "") -> dict[str, Any]:
    """The published training's own form; the last weights differ from the averaged ones."""
    named = {prefix + key: value for key, value in weights.items()}
    state = {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2)}}
    return {
        "model": {key: value + 1 for key, value in named.items()},
        "ema": named,
        "opt": {"state": state, "param_groups": [{"lr": 1e-4, "params": [0]}]},
    }


FORMS: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
    "published": as_published,
    "data-parallel": lambda weights: as_published(weights, "module."),
    "bare": dict,
}


@pytest.fixture(params=[*FORMS, "safetensors"])
def checkpoint_file(request, weights, write, tmp_path: Path) -> Path:
    if request.param == "safetensors":
        save_file(weights, tmp_path / "stem.safetensors")
        return tmp_path / "stem.safetensors"
    return write(FORMS[request.param](weights))


def refused(path: Path, *words: str, **options: Any) -> str:
    with pytest.raises(ModelError) as error:
        read_checkpoint(path, **{"heads": 4, **options})
    text = str(error.value)
    assert "\n" not in text
    assert all(word in text for word in (path.name, *words)), text
    return text


def test_converted_saved_and_loaded_it_gives_the_golden_figures(
    checkpoint_file: Path, tmp_path: Path
) -> None:
    model_of(read_checkpoint(checkpoint_file, heads=4), **PROVIDED).save(tmp_path / "model")
    network = load_folder(tmp_path / "model").network.double()
    with np.load(GOLDEN / "stem_published.npz") as golden, torch.no_grad():
        x, t, y, expected = (golden[f"forward/{key}"] for key in ("x", "t", "y", "out"))
        out = network(*(torch.from_numpy(v) for v in (x[:, 0], t, y))).numpy()
    assert np.abs(out - expected).max() / np.abs(expected).max() < 1e-6


def test_sizes_are_read_off_the_weights(weights, write) -> None:
    read = read_checkpoint(write(as_published(weights)), heads=4)
    assert (read.taken, read.dropped) == ("ema", ("model", "opt"))
    sizes = read.denoiser
    assert (sizes.n_genes, sizes.condition_width, sizes.hidden, sizes.depth) == (24, 40, 48, 3)
    assert (sizes.mlp_ratio, sizes.learn_sigma, sizes.time_scale) == (4.0, True, 1.0)


def test_published_size_has_six_heads(write) -> None:
    from napari_stem.diffusion.denoiser import DenoiserConfig, build_denoiser

    published = replace(DenoiserConfig.published(5, 16), depth=1)
    read = read_checkpoint(write(build_denoiser(published).state_dict()))
    assert read.denoiser == published


@pytest.mark.parametrize(
    "prefix",
    [
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "module.module.",
        "model._orig_mod.module.",
        "ema_model.module.",
        "ema.model.",
    ],
)
def test_what_wrapped_the_network_is_taken_off(weights, write, prefix) -> None:
    named = {prefix + key: value for key, value in weights.items()}
    counted = {**named, "n_averaged": torch.tensor(7), "module.n_averaged": torch.tensor(7)}
    found = read_checkpoint(write({"ema": counted}), heads=4)
    assert found.weights.keys() == weights.keys()
    assert all(torch.equal(found.weights[key], value) for key, value in weights.items())


def test_two_networks_in_one_are_refused(weights, write) -> None:
    named = {**weights, **{"ema_model." + key: value + 1 for key, value in weights.items()}}
    refused(write(named), "more than once")


@pytest.mark.parametrize(
    "number",
    [np.float64(0.25), np.float32(1), np.int64(3), np.bool_(1), np.float16(2), np.str_("a")],
    ids=lambda number: type(number).__name__,
)
def test_numbers_of_numpy_are_no_code(weights, write, number) -> None:
    path = write({**as_published(weights), "loss": number, "best": {"metric": [number]}})
    assert read_checkpoint(path, heads=4).taken == "ema"


def test_numbers_written_with_numpy_1_are_no_code(weights, write, tmp_path) -> None:
    path = write({"ema": weights, "loss": np.float64(0.25)})
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "old.pt", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("data.pkl"):
                assert b"numpy._core" in content
                content = content.replace(b"numpy._core", b"numpy.core")
            new.writestr(name, content)
    assert read_checkpoint(tmp_path / "old.pt", heads=4).taken == "ema"


def test_a_tensor_that_claims_more_than_the_file_holds(write) -> None:
    refused(write({"blocks": torch.zeros(1).expand(10**6, 10**6)}), "claims")


def test_last_weights_on_request(weights, write) -> None:
    path = write(as_published(weights))
    last, averaged = (read_checkpoint(path, heads=4, which=w) for w in ("model", "ema"))
    assert (last.taken, last.dropped) == ("model", ("ema", "opt"))
    key = "final_layer.linear.bias"
    torch.testing.assert_close(last.weights[key], averaged.weights[key] + 1)


def test_a_model_that_predicts_and_says_what_it_does_not_know(weights, write, tmp_path) -> None:
    model_of(read_checkpoint(write(weights), heads=4), **PROVIDED).save(tmp_path / "model")
    model = load_folder(tmp_path / "model")
    spots = Spots(
        x_px=np.array([10.0, 20.0]),
        y_px=np.array([10.0, 10.0]),
        array_row=np.array([0, 0]),
        array_col=np.array([0, 1]),
        pitch_um=100.0,
        diameter_um=100.0,
        names=("a", "b"),
    )
    embedding = np.random.default_rng(0).normal(size=(2, 40)).astype(np.float32)
    settings = SamplingSettings(n_draws=4, n_steps=20, sampler="ancestral", device="cpu")
    draws = model.sample(embedding, spots, settings)
    assert draws.shape == (2, 24, 4)
    assert np.isfinite(draws).all()
    assert draws.min() < 0  # as generated: the paper's averages are of uncut draws
    assert np.isnan(model.head.distance(embedding)).all()
    told = model.provenance(SamplingSettings())
    assert (told["domain"], told["calibrated"]) == ("unknown", False)
    assert told["unit"] == "log2(count + 1)"
    card = (tmp_path / "model" / CARD_FILE).read_text(encoding="utf-8")
    for words in ("NOT calibrated", "cannot tell whether", "not recorded", "patches of 112 um"):
        assert words in card
    assert "None" not in card


def test_other_averaged_weights_are_offered(weights, write) -> None:
    refused(write({"model": weights}), "no 'ema' weights", "--weights")


def test_missing_and_unexpected_keys_are_named(weights, write) -> None:
    renamed = {key.replace("attn.qkv.bias", "attn.q.bias"): v for key, v in weights.items()}
    said = refused(
        write(renamed), "3 missing (blocks.0.attn.qkv.bias", "3 unexpected (blocks.0.attn.q"
    )
    assert "damaged" not in said
    refused(write({"conv.weight": torch.ones(2)}), "4 missing", "gene_joint_embed.gene_name_ebd")
    many = {**weights, **{f"extra{i}": torch.ones(1) for i in range(7)}}
    assert "extra5" not in refused(write(many), "7 unexpected (extra0", "extra4, ...")


def test_shapes_that_contradict_each_other(weights, write) -> None:
    spoiled = {**weights, "label_embed.2.weight": torch.ones(48, 41)}
    refused(write(spoiled), "label_embed.2.weight", "(48, 41)", "(48, 40)")
    refused(write({**weights, "final_layer.linear.weight": torch.ones(48)}), "other shapes")


@pytest.mark.parametrize(("heads", "word"), [(None, "--heads"), (5, "5 heads")])
def test_heads_that_do_not_divide(weights, write, heads, word) -> None:
    refused(write(weights), "48", word, heads=heads)


def test_values_that_are_no_numbers(weights, write) -> None:
    broken = weights["blocks.1.attn.proj.bias"].clone()
    broken[0] = torch.nan
    refused(write({**weights, "blocks.1.attn.proj.bias": broken}), "blocks.1.attn.proj.bias")


class Payload:
    """What a malicious pickle looks like."""

    ran = False

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (_run, ())


def _run() -> str:
    Payload.ran = True
    return "ran"


@pytest.mark.parametrize("content", [Payload(), argparse.Namespace(lr=1e-4)], ids=["code", "class"])
def test_code_is_named_and_not_run(weights, write, content) -> None:
    refused(write({**as_published(weights), "args": content}), "contains code", "safetensors")
    assert not Payload.ran


@pytest.mark.parametrize("content", [torch.ones(3), {}, {"lr": 0.1}, [1, 2]], ids=repr)
def test_other_things_that_torch_saved(write, content) -> None:
    refused(write(content), "holds no network's weights")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated(checkpoint_file: Path, share: float) -> None:
    whole = checkpoint_file.read_bytes()
    checkpoint_file.write_bytes(whole[: int(share * len(whole))])
    refused(checkpoint_file, "no checkpoint")


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "notes.pt"
    path.write_text("These are not the weights you are looking for.")
    refused(path, "no checkpoint")
    refused(tmp_path / "absent.pt", "There is no checkpoint")


def test_panel_and_encoder_must_fit(weights, write) -> None:
    checkpoint = read_checkpoint(write(weights), heads=4)
    with pytest.raises(ModelError, match=r"predicts 24 genes, g\.txt names 23"):
        require_genes(checkpoint, GENES[:-1], "g.txt")
    with pytest.raises(ModelError, match=r"g\.txt names GENE0 more than once"):
        require_genes(checkpoint, (*GENES[:-1], GENES[0]), "g.txt")
    with pytest.raises(ModelError, match=r"40 wide, encoder 'bundled' gives 351 from one patch"):
        require_width(checkpoint, "bundled", 351, 1)
    require_genes(checkpoint, GENES, "g.txt")
    require_width(checkpoint, "bundled", 40, 1)
