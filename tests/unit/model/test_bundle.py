"""A model folder comes back as it was written, and says in one sentence what is wrong with it."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from napari_stem.device import device_title, torch_device
from napari_stem.errors import ModelError, OutputError, UnknownGeneError
from napari_stem.io import sha256
from napari_stem.model import list_models, load_model
from napari_stem.model.bundle import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, load_folder, read_config
from napari_stem.settings import SamplingSettings
from napari_stem.spatial.dataset import Dataset

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from napari_stem.model.bundle import Model

FEW = SamplingSettings(n_draws=4, n_steps=4, device="cpu")


@pytest.fixture(scope="module")
def model(small_model: Path) -> Model:
    return load_folder(small_model)


@pytest.fixture(scope="module")
def spots(small_dataset: Path):
    return Dataset(small_dataset).section("C3").spots()


@pytest.fixture
def folder(small_model: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(small_model, tmp_path / "copy")


@pytest.fixture(scope="module")
def embedding(model: Model, spots) -> np.ndarray:
    """Embeddings as varied as the training data's, without an encoder."""
    width = len(model.head.centre)
    noise = np.random.default_rng(0).normal(size=(len(spots), width)).astype(np.float32)
    return model.head.centre + 0.5 * noise * model.head.scale


def one_sentence(error: pytest.ExceptionInfo[ModelError], *names: object) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert all(str(name) in text for name in names), text
    return text


def test_a_saved_model_draws_the_same(model, spots, embedding, tmp_path) -> None:
    model.save(tmp_path / "again")
    again = load_folder(tmp_path / "again")
    assert again.config == model.config
    np.testing.assert_array_equal(
        again.sample(embedding, spots, FEW), model.sample(embedding, spots, FEW)
    )
    assert again.weights_hash == model.weights_hash != ""


def test_saving_in_half_precision_costs_nothing_that_shows(corrected, spots, tmp_path) -> None:
    """Full-precision weights, nudged off what float16 can hold, against what comes back."""
    import copy

    import torch

    exact = copy.copy(corrected)
    exact.network = copy.deepcopy(corrected.network)
    embedding = np.tile(exact.head.centre, (len(spots), 1))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in exact.network.parameters():
            weight.mul_(1 + 3e-4 * (torch.rand(weight.shape, generator=generator) - 0.5))
    exact.save(tmp_path / "half")
    half = load_folder(tmp_path / "half")
    before = exact.raw_draws(embedding, spots, FEW)
    after = half.raw_draws(embedding, spots, FEW)
    assert not np.array_equal(before, after)
    np.testing.assert_allclose(after, before, atol=5e-3 * before.std())
    for name, weight in half.network.state_dict().items():
        torch.testing.assert_close(
            weight, exact.network.state_dict()[name], rtol=2**-11, atol=2**-24
        )


def test_what_a_model_says_of_itself(model: Model, small_model: Path) -> None:
    assert model.name == small_model.name
    assert len(model.genes) == 20
    assert model.unit == "log2(count + 1)"
    assert model.pitch_um == pytest.approx(200, rel=0.1)
    provenance = model.provenance(FEW)
    assert provenance["model_weights_sha256"] == model.weights_hash
    assert json.loads(json.dumps(provenance)) == provenance
    assert (provenance["calibrated"], provenance["domain"]) == (True, "known")
    assert any("calibrated on left-out" in limit for limit in model.limits)


def test_card_has_front_matter_metrics_and_limits(small_model: Path) -> None:
    card = (small_model / CARD_FILE).read_text(encoding="utf-8")
    _, front, body = card.split("---\n", 2)
    assert "license: cc-by-4.0" in front
    assert "name: held-out section C3\n" in front  # figures of all genes
    for word in ("Trained on: C2", "Held-out section C3", "not for diagnosis", "| pcc_50 |"):
        assert word in body
    assert "None" not in body


def test_mean_is_that_of_endless_samples_before_counts_are_whole(model, spots, embedding) -> None:
    """Whatever the samples, and whatever is assumed of a patient; where values are converted it is theirs."""
    many = model.raw_draws(embedding, spots, replace(FEW, n_draws=2000))[:, :20]
    none = np.empty((len(spots), 20, 0), np.float32)
    mean = model.mean(embedding, none, FEW)
    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean, np.maximum(many.mean(-1), 0), atol=0.1)
    assert np.abs(mean - many.mean(-1)).mean() < 0.02
    np.testing.assert_array_equal(model.mean(embedding, none, replace(FEW, patient="same")), mean)
    for asked in (replace(FEW, quantity="share"), replace(FEW, depth=1000)):
        draws = model.sample(embedding, spots, asked)
        np.testing.assert_array_equal(model.mean(embedding, draws, asked), draws.mean(-1))


def test_draws_are_whole_counts(model, spots, embedding) -> None:
    same = replace(FEW, patient="same")
    expected = model.raw_draws(embedding, spots, same)[:, :20]  # without the library size
    drawn = model.sample(embedding, spots, same)
    assert drawn.shape == (len(spots), 20, 4)
    assert drawn.min() == 0
    assert expected.min() < 0
    counts = np.exp2(drawn) - 1
    np.testing.assert_allclose(counts, np.rint(counts), rtol=1e-5)
    np.testing.assert_allclose(counts, np.maximum(np.exp2(expected) - 1, 0), rtol=1e-4, atol=0.501)


def test_an_unusual_spot_is_out_of_domain(model: Model) -> None:
    centre, scale = model.head.centre[None], model.head.scale[None]
    assert model.head.distance(centre)[0] == pytest.approx(0, abs=1e-6)
    assert model.head.distance(centre + 30 * scale)[0] > 1


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError) as error:
        load_model(folder)
    one_sentence(error, folder, name)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated_weights(folder: Path, share: float) -> None:
    path = folder / WEIGHTS_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ModelError) as error:
        load_model(folder)
    one_sentence(error, path)


def _change(**entries: object) -> Callable[[dict], dict]:
    return lambda config: {**config, **entries}


def _without(key: str) -> Callable[[dict], dict]:
    return lambda config: {k: v for k, v in config.items() if k != key}


def _denoiser(**entries: object) -> Callable[[dict], dict]:
    return lambda config: {**config, "denoiser": {**config["denoiser"], **entries}}


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (_change(format_version=99), "format version 99"),
        (_without("format_version"), "format version None"),
        (_without("genes"), "genes"),
        (_without("card"), "card"),
        (_change(surprise=1), "surprise"),
        (_change(normalisation="zscore"), "zscore"),
        (_change(objective="gan"), "gan"),
        (_change(genes=["ERBB2"]), "genes"),
        (_denoiser(kind="unet"), "unet"),
        (_denoiser(hidden=64), "size mismatch"),
        (_denoiser(depth=10**9), "blocks"),
        (_denoiser(depth=True), "no numbers"),
        (_denoiser(hidden=10**8), "size mismatch"),
        (_denoiser(hidden="256"), "no numbers"),
        (_denoiser(heads=0), "heads"),
        (_denoiser(mlp_ratio=float("nan")), "no numbers"),
        (_denoiser(time_scale=float("inf")), "no numbers"),
        (_change(genes=["A", "A"]), "genes: gene 'A' comes more than once"),
        (_change(genes=["A", ""]), "genes"),
        (_change(genes=["A", " B"]), "genes"),
        (_change(genes=["A", 3]), "genes"),
        (_change(genes=[["A"]]), "genes"),
        (_change(genes=[]), "genes"),
        (_change(genes="AB"), "genes"),
        (_change(pitch_um=float("nan")), "pitch_um"),
        (_change(pitch_um=-1), "pitch_um"),
        (_change(pitch_um="100"), "pitch_um"),
        (_change(fields_of_view_um=[0]), "fields_of_view_um"),
        (_change(sigma_min=-1), "sigma_min"),
        (_change(sigma_min=float("nan")), "sigma_min"),
        (_change(sigma_max=float("inf")), "sigma_max"),
        (_change(sigma_min=2, sigma_max=2), "sigma_min, sigma_max"),
        (_change(sigma_min=20, sigma_max=0.02), "sigma_min, sigma_max"),
        (_change(calibrated="yes"), "calibrated"),
        (_change(name=None), "name"),
        (_change(encoder={}), "encoder"),
        (_change(card=[]), "card"),
        (_change(card={"limits": [3]}), "card limits"),
        (_change(card={"gene_pcc": {"A": 0.5}}), "card gene_pcc"),
        (_change(card={"gene_pcc": {"A": [0.5, 0.4]}}), "card gene_pcc"),
        (_change(card={"gene_pcc": {"A": [0.5, 0.6, 0.4]}}), "card gene_pcc"),
        (_change(card={"gene_share_pcc": {"A": [0.5, True, 0.6]}}), "card gene_share_pcc"),
        (_change(card={"gene_share_pcc": [0.5]}), "card gene_share_pcc"),
        (_change(card={"gene_ceiling": {"A": float("nan")}}), "card gene_ceiling"),
        (_change(card={"gene_ceiling": {"A": [0.5]}}), "card gene_ceiling"),
        (_change(card={"genes_by_chance": {"A": True}}), "card genes_by_chance"),
        (_change(card={"genes_by_chance": [3]}), "card genes_by_chance"),
        (_change(card={"species": 3}), "card species"),
        (lambda config: [config], "list"),
    ],
)
def test_wrong_config(whole: Path, spoil, word: str) -> None:
    path = whole / CONFIG_FILE
    path.write_text(json.dumps(spoil(json.loads(path.read_text("utf-8")))), encoding="utf-8")
    with pytest.raises(ModelError) as error:
        load_model(whole)
    one_sentence(error, path.name, whole, word)


@pytest.fixture(scope="module")
def _whole(with_correction: Callable[[Model], Model], model: Model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "whole"
    with_correction(model).save(folder)
    return folder


@pytest.fixture
def whole(_whole: Path, tmp_path: Path) -> Path:
    """A model with all that there can be, to spoil."""
    return shutil.copytree(_whole, tmp_path / "whole")


def respoilt(folder: Path, spoil: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    """Weights changed, with the digest that belongs to them."""
    tensors = load_file(folder / WEIGHTS_FILE)
    spoil(tensors)
    save_file(tensors, folder / WEIGHTS_FILE)
    config = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
    config["weights_sha256"] = sha256(folder / WEIGHTS_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(config), "utf-8")
    return folder


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_no_array_may_hold_what_is_no_number(whole: Path, value: float) -> None:
    names = [*load_file(whole / WEIGHTS_FILE)]
    assert len(names) > 20
    for name in names:
        if name == "head.domain_limit" and np.isnan(value):
            continue  # nothing is known of its domain
        files = {path: path.read_bytes() for path in whole.iterdir()}
        respoilt(whole, lambda tensors, name=name: tensors[name].view(-1)[-1:].fill_(value))
        with pytest.raises(ModelError) as error:
            load_model(whole)
        one_sentence(error, whole / WEIGHTS_FILE, name.removeprefix("denoiser."))
        for path, content in files.items():
            path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale", 0.0),
        ("scale", -1.0),
        ("component_scale", 0.0),
        ("mean_component_scale", -1.0),
        ("factor", -1.0),
        ("own", -0.5),
        ("domain_limit", 0.0),
        ("domain_spread", 0.0),
    ],
)
def test_scales_that_nothing_can_have(whole: Path, name: str, value: float) -> None:
    respoilt(whole, lambda tensors: tensors[f"head.{name}"].view(-1)[:1].fill_(value))
    with pytest.raises(ModelError) as error:
        load_model(whole)
    one_sentence(error, whole / WEIGHTS_FILE, name)


@pytest.mark.parametrize(
    "name",
    [
        "centre",
        "scale",
        "weights",
        "intercept",
        "components",
        "own",
        "quantiles",
        "directions",
        "domain_components",
        "domain_spread",
    ],
)
def test_arrays_of_other_shapes(whole: Path, name: str) -> None:
    def cut(tensors: dict[str, torch.Tensor]) -> None:
        tensors[f"head.{name}"] = tensors[f"head.{name}"][..., :-1].contiguous()

    respoilt(whole, cut)
    with pytest.raises(ModelError) as error:
        load_model(whole)
    one_sentence(error, whole / WEIGHTS_FILE, "of shape")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"pitch_um": ' + "1" * 400 + "}"])
def test_config_that_no_one_writes(whole: Path, text: str) -> None:
    (whole / CONFIG_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ModelError) as error:
        read_config(whole)
    one_sentence(error, whole / CONFIG_FILE)


def test_config_that_is_no_json(folder: Path) -> None:
    (folder / CONFIG_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(ModelError) as error:
        read_config(folder)
    one_sentence(error, folder / CONFIG_FILE)


def test_unknown_model_names_what_there_is() -> None:
    with pytest.raises(ModelError, match="no model 'her3st'"):
        load_model("her3st")


def test_packaged_models_are_told_without_being_loaded() -> None:
    for told in list_models():
        assert told["packaged"]
        assert told["ready"], told["why_not"]
        assert told["n_genes"] > 0
        assert (told["unit"], told["calibrated"]) == ("log2(count + 1)", True)


def test_packaged_models_that_are_damaged_are_told(folder: Path, monkeypatch) -> None:
    (folder / WEIGHTS_FILE).unlink()
    monkeypatch.setattr("napari_stem.model.PACKAGED", folder.parent)
    assert [(m["ready"], WEIGHTS_FILE in m["why_not"]) for m in list_models()] == [(False, True)]
    (folder / CONFIG_FILE).write_text("{", encoding="utf-8")
    assert [m["ready"] for m in list_models()] == [False]


def test_unwritable_place(model: Model, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError) as error:
        model.save(tmp_path / "file" / "model")
    one_sentence(error, tmp_path / "file" / "model")


def test_a_full_disk_is_told(whole: Path, tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    model = load_model(whole)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError) as error:
        model.save(tmp_path / "m")
    one_sentence(error, tmp_path / "m", "No space left")


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps rights otherwise")
def test_who_may_read_one_file_of_a_model_may_read_all(whole: Path, tmp_path: Path) -> None:
    load_model(whole).save(tmp_path / "m")
    (tmp_path / "new").touch()
    rights = {path.stat().st_mode for path in (tmp_path / "m").iterdir()}
    assert rights == {(tmp_path / "new").stat().st_mode}


def test_unknown_gene_offers_names_that_are_alike(model: Model) -> None:
    gene = model.genes[0]
    model.require_genes(model.genes)
    with pytest.raises(UnknownGeneError) as error:
        model.require_genes((gene.lower(),))
    assert f"Did you mean {gene}" in one_sentence(error, gene.lower())
    with pytest.raises(UnknownGeneError) as error:
        model.require_genes(("QQQQ",))
    assert "Did you mean" not in one_sentence(error, "QQQQ")


def test_torch_is_asked_where_a_driver_of_a_gpu_is(monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("napari_stem.device.may_have_gpu", lambda: False)
    assert torch_device("auto") == "cpu"
    monkeypatch.setattr("napari_stem.device.may_have_gpu", lambda: True)
    assert torch_device("auto") == "cuda"


def test_unknown_device(monkeypatch) -> None:
    with pytest.raises(ModelError, match="no device 'abacus'"):
        torch_device("abacus")
    assert torch_device("cpu") == "cpu"
    assert torch_device("auto") in ("cpu", "cuda", "mps")
    assert device_title("cpu") == "processor"
    monkeypatch.setattr("napari_stem.device.torch_device", lambda _: "cuda:1")
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: f"NVIDIA {device}")
    assert device_title("auto") == "CUDA: NVIDIA cuda:1"
