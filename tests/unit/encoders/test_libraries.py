"""Encoders that timm alone does not build: transformers' classes, CONCH's pooling, code of a repository."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_stem.encoders import registry
from napari_stem.encoders.catalogue import CATALOGUE
from napari_stem.encoders.networks import build, import_timm
from napari_stem.encoders.published import CombinedEncoder
from napari_stem.encoders.registry import encoder_width, list_encoders, load_encoder
from napari_stem.errors import EncoderError
from napari_stem.geometry import PatchSpec

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

# class, what the published config.json says apart from the class's defaults, normalisation, poolings
TRANSFORMERS: dict[str, tuple[str, dict[str, Any], Any, str]] = {
    "phikon": ("ViT", {}, IMAGENET, "cls"),
    "phikon-v2": (
        "Dinov2",
        {"hidden_size": 1024, "num_attention_heads": 16, "patch_size": 16, "image_size": 224},
        IMAGENET,
        "cls",
    ),
    "midnight": (
        "Dinov2",
        {
            "hidden_size": 1536,
            "num_attention_heads": 24,
            "use_swiglu_ffn": True,
            "patch_size": 14,
            "image_size": 518,
        },
        HALF,
        "cls+mean",
    ),
}


def by_hand(patches: NDArray[np.uint8], normalisation: Any) -> torch.Tensor:
    mean, deviation = np.array(normalisation, np.float32)
    x = (patches[:, 0].astype(np.float32) / 255 - mean) / deviation
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


@pytest.fixture(scope="module")
def patches(tissue) -> NDArray[np.uint8]:
    return np.ascontiguousarray(tissue[:2, :, 100:324, 100:324])


def transformers_folder(folder: Path, name: str, fill, **changes: Any) -> Any:
    """Write one block of an encoder as its repository holds it; return the network."""
    import_timm()
    import transformers

    kind, config, _, _ = TRANSFORMERS[name]
    config = getattr(transformers, f"{kind}Config")(**{**config, "num_hidden_layers": 1, **changes})
    options = {"add_pooling_layer": False} if kind == "ViT" else {}
    network = fill(getattr(transformers, f"{kind}Model")(config, **options))
    network.save_pretrained(folder / name)
    return network


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_encoders_give_what_the_card_computes(name, folder, fill, patches) -> None:
    network = transformers_folder(folder, name, fill)
    _, _, normalisation, pooling = TRANSFORMERS[name]
    with torch.inference_mode():
        tokens = network(pixel_values=by_hand(patches, normalisation)).last_hidden_state
    del network  # as large as the encoder, which is loaded next
    expected = tokens[:, 0]
    if pooling == "cls+mean":
        expected = torch.cat([expected, tokens[:, 1:].mean(1)], 1)
    encoder = load_encoder(name, precision="float32")
    (folder / name / "model.safetensors").unlink()
    embedding = encoder.encode(patches)
    assert embedding.shape == (2, encoder.width) == (2, encoder_width(name))
    np.testing.assert_allclose(embedding, expected.numpy(), rtol=1e-4, atol=1e-4)


def test_a_smaller_network_in_the_folder_is_refused(folder, fill) -> None:
    transformers_folder(folder, "phikon", fill, hidden_size=384, num_attention_heads=6)
    with pytest.raises(
        EncoderError, match=r"not those of encoder 'phikon': width 384 instead of 768"
    ):
        load_encoder("phikon")


def test_missing_tensors_of_transformers_are_refused(folder, fill) -> None:
    from safetensors.torch import load_file, save_file

    transformers_folder(folder, "phikon", fill)
    path = folder / "phikon" / "model.safetensors"
    weights = load_file(path)
    del weights["layernorm.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"no layernorm\.weight"):
        load_encoder("phikon")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(EncoderError, match="encoders download phikon"):
        load_encoder("phikon")


def test_without_its_config_it_is_not_ready(folder, fill) -> None:
    transformers_folder(folder, "phikon", fill)
    (folder / "phikon" / "config.json").unlink()
    status = {row["name"]: row["status"] for row in list_encoders()}
    assert status["phikon"] == "needs download"


@pytest.fixture
def conch(folder, cut, fill) -> dict[str, torch.Tensor]:
    """CONCH of one block in the folder, as its repository holds it: beside the text half and the captioner."""
    facts = cut("conch")
    with torch.device("meta"):
        network = build(facts)
    weights = {f"visual.{k}": v for k, v in fill(network).state_dict().items()}
    other = {
        "logit_scale": torch.ones([]),
        "text.positional_embedding": torch.zeros(8, 768),
        "visual.proj_contrast": torch.zeros(512, 512),
        "visual.ln_caption.weight": torch.zeros(768),
        "visual.attn_pool_caption.query": torch.zeros(256, 768),
    }
    (folder / "conch").mkdir(parents=True)
    torch.save(weights | other, folder / "conch" / "pytorch_model.bin")
    return weights


def test_conch_has_the_published_names_and_size() -> None:
    with torch.device("meta"):
        network = build(CATALOGUE["conch"])
    shapes = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    pool = {k.removeprefix("attn_pool_contrast."): v for k, v in shapes.items() if "attn_pool" in k}
    assert pool == {
        "query": (1, 512),
        "attn.q_proj_weight": (512, 512),
        "attn.k_proj_weight": (512, 768),
        "attn.v_proj_weight": (512, 768),
        "attn.in_proj_bias": (1536,),
        "attn.out_proj.weight": (512, 512),
        "attn.out_proj.bias": (512,),
        "ln_q.weight": (512,),
        "ln_q.bias": (512,),
        "ln_k.weight": (768,),
        "ln_k.bias": (768,),
    }
    assert shapes["trunk.pos_embed"] == (1, 1 + 28 * 28, 768)
    assert shapes["ln_contrast.weight"] == (512,)
    assert sum("blocks" in k and k.endswith("qkv.weight") for k in shapes) == 12


def test_conch_pools_by_attention(conch, tissue) -> None:
    """Attention of one learned query with eight heads over all tokens, written out."""
    encoder = load_encoder("conch@pooled+cls", precision="float32")
    assert (encoder.patch.side_px, encoder.width) == (448, 512 + 768)
    assert encoder.patch.fields_of_view_um == (224.0,)
    embedding = encoder.encode(tissue[:1])
    w = {k.removeprefix("visual."): v for k, v in conch.items()}
    trunk = encoder._network.module.trunk
    with torch.inference_mode():
        tokens = trunk.forward_features(by_hand(tissue[:1], IMAGENET))[0]
    norm = torch.nn.functional.layer_norm
    p = "attn_pool_contrast."
    keys = norm(tokens, (768,), w[p + "ln_k.weight"], w[p + "ln_k.bias"])
    query = norm(w[p + "query"], (512,), w[p + "ln_q.weight"], w[p + "ln_q.bias"])
    bias_q, bias_k, bias_v = w[p + "attn.in_proj_bias"].chunk(3)
    q = (query @ w[p + "attn.q_proj_weight"].T + bias_q).view(1, 8, 64)
    k = (keys @ w[p + "attn.k_proj_weight"].T + bias_k).view(-1, 8, 64)
    v = (keys @ w[p + "attn.v_proj_weight"].T + bias_v).view(-1, 8, 64)
    share = (torch.einsum("qhd,khd->hk", q, k) / 8).softmax(-1)
    heads = torch.einsum("hk,khd->hd", share, v).reshape(1, 512)
    out = heads @ w[p + "attn.out_proj.weight"].T + w[p + "attn.out_proj.bias"]
    expected = norm(out, (512,), w["ln_contrast.weight"], w["ln_contrast.bias"])[0]
    np.testing.assert_allclose(embedding[0, :512], expected.numpy(), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(embedding[0, 512:], tokens[0].numpy(), rtol=1e-3, atol=1e-4)


def test_uni_and_conch_stand_side_by_side(conch, folder, cut, fill, tissue) -> None:
    with torch.device("meta"):
        uni = build(cut("uni"))
    (folder / "uni").mkdir()
    torch.save(fill(uni).state_dict(), folder / "uni" / "pytorch_model.bin")
    both = load_encoder("uni+conch", fields_of_view_um=(112.0,), precision="float32")
    assert (both.name, both.width, encoder_width("uni+conch")) == ("uni+conch", 1536, 1536)
    assert both.patch == PatchSpec((112.0,), 448)
    embedding = both.encode(tissue[:2])
    assert embedding.shape == (2, 1536)
    for name, part in (("uni", embedding[:, :1024]), ("conch", embedding[:, 1024:])):
        alone = load_encoder(name, fields_of_view_um=(112.0,), precision="float32")
        np.testing.assert_allclose(part, alone.encode(tissue[:2]), atol=1e-5)
        del alone
    assert load_encoder("uni+conch", precision="float32").version != both.version
    assert (
        load_encoder("conch+uni", fields_of_view_um=(112.0,), precision="float32").version
        != both.version
    )
    assert both.version.endswith("~fp32+fp32")


class _Sizes:
    """Tells the side and the number of fields of what it is shown, and the mean of each."""

    version = "1~fp16"

    def __init__(self, name: str, fields_um: tuple[float, ...], side_px: int) -> None:
        self.name = name
        self.patch = PatchSpec(fields_um, side_px)
        self.width = 1 + len(fields_um)
        self.spots_at_once = side_px // 8

    def encode(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        means = patches.mean((2, 3, 4))
        return np.column_stack([np.full(len(patches), patches.shape[2]), means]).astype(np.float32)


def test_parts_see_their_own_fields_at_their_own_size() -> None:
    both = CombinedEncoder([_Sizes("a", (50.0, 200.0), 16), _Sizes("b", (100.0,), 32)])
    assert both.patch == PatchSpec((50.0, 100.0, 200.0), 32)
    assert both.spots_at_once == 2  # of both parts, what the slower one can bear
    patches = np.zeros((2, 3, 32, 32, 3), np.uint8)
    patches[:] = np.array([50, 100, 200], np.uint8)[:, None, None, None]
    np.testing.assert_array_equal(both.encode(patches), [[16, 50, 200, 32, 100]] * 2)


REMOTE = """
import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class TinyConfig(PretrainedConfig):
    model_type = "tiny-remote"


class TinyModel(PreTrainedModel):
    config_class = TinyConfig

    def __init__(self, config):
        super().__init__(config)
        self.patch = nn.Conv2d(3, 768, 14, 14)
        self.post_init()

    def forward(self, pixel_values):
        patches = self.patch(pixel_values).flatten(2).transpose(1, 2)
        prefix = patches[:, :5] * 0 + 3
        return BaseModelOutput(last_hidden_state=torch.cat([prefix, patches], 1))
"""


def test_code_of_a_repository_is_run_on_consent_alone(
    folder, patches, monkeypatch, tmp_path
) -> None:
    from safetensors.torch import save_file

    import_timm()
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "code")
    )
    monkeypatch.setattr(registry.metadata, "version", lambda name: "4.57.1")
    monkeypatch.setitem(CATALOGUE, "hibou-b", replace(CATALOGUE["hibou-b"], hub_id="a/b"))
    at = folder / "hibou-b"
    at.mkdir(parents=True)
    names = {"AutoConfig": "modeling_tiny.TinyConfig", "AutoModel": "modeling_tiny.TinyModel"}
    config = {"model_type": "tiny-remote", "architectures": ["TinyModel"], "auto_map": names}
    (at / "config.json").write_text(json.dumps(config))
    (at / "modeling_tiny.py").write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'was_run')!r}).touch()\n{REMOTE}"
    )
    weights = {"patch.weight": torch.full((768, 3, 14, 14), 1e-3), "patch.bias": torch.zeros(768)}
    save_file(weights, at / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match="it runs code from"):
        load_encoder("hibou-b")
    assert not (tmp_path / "was_run").exists()
    monkeypatch.setenv("NAPARI_STEM_TRUST_REMOTE_CODE", "1")
    encoder = load_encoder("hibou-b@cls+mean", precision="float32")
    embedding = encoder.encode(patches)
    assert (tmp_path / "was_run").exists()
    np.testing.assert_array_equal(embedding[:, :768], 3)
    hibou = ((0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816))
    expected = by_hand(patches, hibou).mean((2, 3)).sum(1) * 14 * 14 * 1e-3
    np.testing.assert_allclose(embedding[:, 768], expected, rtol=1e-3)
