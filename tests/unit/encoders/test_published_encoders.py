"""Published encoders: true shapes, own pooling and transform, read from a folder as downloads are."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from napari_stem.encoders.base import Encoder, same_features
from napari_stem.encoders.catalogue import CATALOGUE
from napari_stem.encoders.networks import build, import_timm
from napari_stem.encoders.published import chosen_precision
from napari_stem.encoders.registry import encoder_width, load_encoder
from napari_stem.errors import EncoderError

if TYPE_CHECKING:
    from pathlib import Path

SWIGLU: dict[str, Any] = {"act_layer": torch.nn.SiLU}  # and mlp_layer, once timm is imported
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPTIMUS = ((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
LUNIT = ((0.70322989, 0.53606487, 0.66096631), (0.21716536, 0.26081574, 0.20723464))
H = {"init_values": 1e-5, "mlp_ratio": 5.3375, "img_size": 224}
G = {"img_size": 224, "init_values": 1e-5}
UNI2 = {
    "patch_size": 14,
    "num_heads": 24,
    "embed_dim": 1536,
    "mlp_ratio": 5.33334,
    "no_embed_class": True,
    "reg_tokens": 8,
}
GIGA = {"patch_size": 16, "embed_dim": 1536, "num_heads": 24, "mlp_ratio": 5.33334}

# timm's architecture, what the cards build it with, SwiGLU, millions of parameters, tokens before the
# patches, what is pooled, normalisation: written down from cards and tools a second time.
CARDS: dict[str, tuple[str, dict[str, Any], bool, float, int, str, Any]] = {
    "uni": ("vit_large_patch16_224", {"init_values": 1e-5}, False, 303.4, 1, "cls", IMAGENET),
    "uni2-h": ("vit_giant_patch14_224", UNI2 | G, True, 681.4, 9, "cls", IMAGENET),
    "virchow": ("vit_huge_patch14_224", H, True, 631.2, 1, "cls+mean", IMAGENET),
    "virchow2": (
        "vit_huge_patch14_224",
        H | {"reg_tokens": 4},
        True,
        631.2,
        5,
        "cls+mean",
        IMAGENET,
    ),
    "h-optimus-0": ("vit_giant_patch14_reg4_dinov2", G, False, 1134.8, 5, "cls", OPTIMUS),
    "h-optimus-1": ("vit_giant_patch14_reg4_dinov2", G, False, 1134.8, 5, "cls", OPTIMUS),
    "h0-mini": (
        "vit_base_patch14_reg4_dinov2",
        G | {"mlp_ratio": 5.33334},
        True,
        85.7,
        5,
        "cls+mean",
        OPTIMUS,
    ),
    "prov-gigapath": ("vit_giant_patch14_dinov2", GIGA | G, False, 1135.0, 1, "cls", IMAGENET),
    "gpfm": ("vit_large_patch14_dinov2", G, False, 303.2, 1, "cls", IMAGENET),
    "lunit-dino": ("vit_small_patch8_224", {}, False, 21.7, 1, "cls", LUNIT),
    "kaiko-s16": ("vit_small_patch16_224", {}, False, 21.7, 1, "cls", HALF),
    "kaiko-s8": ("vit_small_patch8_224", {}, False, 21.7, 1, "cls", HALF),
    "kaiko-b16": ("vit_base_patch16_224", {}, False, 85.8, 1, "cls", HALF),
    "kaiko-b8": ("vit_base_patch8_224", {}, False, 85.8, 1, "cls", HALF),
    "kaiko-l14": (
        "vit_large_patch14_reg4_dinov2",
        {"img_size": 518, "dynamic_img_size": True},
        False,
        304.4,
        5,
        "cls",
        HALF,
    ),
}


def card_arguments(name: str) -> tuple[str, dict[str, Any]]:
    architecture, arguments, swiglu, *_ = CARDS[name]
    if swiglu:
        import_timm()
        from timm.layers import SwiGLUPacked

        arguments = {**arguments, **SWIGLU, "mlp_layer": SwiGLUPacked}
    return architecture, arguments


def put(folder: Path, name: str, weights: dict[str, torch.Tensor], file: str | None = None) -> Path:
    path = folder / name / (file or CATALOGUE[name].weights[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file({k: v.contiguous() for k, v in weights.items()}, path)
    else:
        torch.save(weights, path)
    return path


def transformed(patch: np.ndarray, normalisation: Any, side_px: int = 224) -> torch.Tensor:
    """What the cards' torchvision transforms do, by Pillow and by hand."""
    image = Image.fromarray(patch).resize((side_px, side_px), Image.Resampling.BICUBIC)
    mean, deviation = np.array(normalisation)
    x = (np.asarray(image) / 255 - mean) / deviation
    return torch.from_numpy(x.astype(np.float32).transpose(2, 0, 1))


@pytest.fixture(scope="module")
def patches(tissue) -> np.ndarray:
    """(2, 1, 224, 224, 3)."""
    return np.ascontiguousarray(tissue[:2, :, 100:324, 100:324])


def test_every_encoder_of_timm_has_a_card() -> None:
    assert set(CARDS) == {name for name, facts in CATALOGUE.items() if facts.library == "timm"}


@pytest.mark.parametrize("name", CARDS)
def test_full_size_has_the_published_number_of_parameters_and_names(name) -> None:
    architecture, arguments = card_arguments(name)
    no_numbers = {"weight_init": "skip"}
    with torch.device("meta"):
        ours = build(CATALOGUE[name], **no_numbers)
        card = import_timm().create_model(
            architecture, num_classes=0, **_depth(name), **arguments, **no_numbers
        )
    assert sum(p.numel() for p in ours.parameters()) / 1e6 == pytest.approx(
        CARDS[name][3], abs=0.06
    )
    shapes = {key: tensor.shape for key, tensor in ours.state_dict().items()}
    assert shapes == {key: tensor.shape for key, tensor in card.state_dict().items()}
    assert ours.num_prefix_tokens == CATALOGUE[name].prefix_tokens == CARDS[name][4]
    assert ours.num_features == CATALOGUE[name].token_width


def _depth(name: str) -> dict[str, int]:
    return {"uni2-h": {"depth": 24}, "prov-gigapath": {"depth": 40}}.get(name, {})


@pytest.mark.parametrize("name", sorted(CARDS.keys() - {"h-optimus-1", "kaiko-s8", "kaiko-b8"}))
def test_one_block_of_true_width_gives_what_the_card_computes(
    name, folder, cut, random_network, patches
) -> None:
    """Weights on disk, through the code that loads downloads; against timm and Pillow by hand."""
    cut(name)
    architecture, arguments = card_arguments(name)
    network = random_network(architecture, depth=1, **arguments)
    path = put(folder, name, network.state_dict())
    _, _, _, _, prefix, pooling, normalisation = CARDS[name]
    with torch.inference_mode():
        tokens = network.forward_features(
            torch.stack([transformed(spot[0], normalisation) for spot in patches])
        )
    del network  # as large as the encoder, which is loaded next
    encoder = load_encoder(name, precision="float32")
    path.unlink()
    expected = tokens[:, 0]
    if pooling == "cls+mean":
        expected = torch.cat([expected, tokens[:, prefix:].mean(1)], 1)
    embedding = encoder.encode(patches)
    assert isinstance(encoder, Encoder)
    assert encoder.patch.side_px == 224
    assert encoder.patch.fields_of_view_um == (112.0,)
    assert embedding.shape == (2, encoder.width) == (2, encoder_width(name))
    assert embedding.dtype == np.float32
    np.testing.assert_allclose(embedding, expected.numpy(), rtol=1e-4, atol=1e-4)
    assert np.abs(embedding[0] - embedding[1]).max() > 1e-3


@pytest.mark.parametrize("name", ["virchow2", "kaiko-s16"])
def test_prefix_tokens_are_left_out_of_means(name, folder, cut, random_network, patches) -> None:
    """Change class and register tokens alone: the patch tokens' means must not see it."""
    facts = cut(name)
    architecture, arguments = card_arguments(name)
    put(folder, name, random_network(architecture, depth=1, **arguments).state_dict())
    encoder = load_encoder(f"{name}@cls+mean+centre", precision="float32")
    before = encoder.encode(patches).reshape(2, 3, -1)
    tokens = encoder._network.tokens

    def disturbed(x: torch.Tensor) -> torch.Tensor:
        out = tokens(x).clone()
        out[:, : facts.prefix_tokens] += 7
        return out

    object.__setattr__(encoder._network, "tokens", disturbed)
    after = encoder.encode(patches).reshape(2, 3, -1)
    np.testing.assert_array_equal(after[:, 1:], before[:, 1:])
    np.testing.assert_allclose(after[:, 0], before[:, 0] + 7, rtol=1e-5)


@pytest.fixture
def kaiko(folder, cut, random_network) -> Path:
    """Kaiko ViT-S/16, one block, in the folder."""
    cut("kaiko-s16")
    return put(folder, "kaiko-s16", random_network("vit_small_patch16_224", depth=1).state_dict())


def test_several_fields_of_view_stand_side_by_side(kaiko, tissue, patches) -> None:
    two = np.stack([patches[:, 0], tissue[:2, 0, :224, :224]], 1)
    encoder = load_encoder("kaiko-s16", fields_of_view_um=(112, 224), precision="float32")
    one = load_encoder("kaiko-s16", precision="float32")
    embedding = encoder.encode(two)
    assert encoder.width == 768
    assert encoder.patch.fields_of_view_um == (112.0, 224.0)
    np.testing.assert_allclose(embedding[:, :384], one.encode(two[:, :1]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(embedding[:, 384:], one.encode(two[:, 1:]), rtol=1e-4, atol=1e-5)


def test_batches_change_nothing(kaiko, patches) -> None:
    encoder = load_encoder("kaiko-s16")
    many = np.concatenate([patches] * 6)
    assert len(many) > encoder._at_once
    np.testing.assert_allclose(encoder.encode(many)[-2:], encoder.encode(patches), atol=1e-5)
    assert encoder.encode(patches[:0]).shape == (0, 384)


def test_version_changes_with_all_that_changes_the_numbers(kaiko, folder, random_network) -> None:
    versions = [
        load_encoder("kaiko-s16").version,
        load_encoder("kaiko-s16", fields_of_view_um=(200.0,)).version,
        load_encoder("kaiko-s16@mean").version,
        load_encoder("kaiko-s16", precision="float16").version,
    ]
    again = load_encoder("kaiko-s16", fields_of_view_um=(112.0,)).version
    other = random_network("vit_small_patch16_224", depth=1)
    with torch.no_grad():
        other.blocks[0].mlp.fc1.weight += 1e-3
    put(folder, "kaiko-s16", other.state_dict())
    versions.append(load_encoder("kaiko-s16").version)
    assert len(set(versions)) == 5
    assert again == versions[0]
    assert [same_features(versions[0], v) for v in versions] == [True, False, False, True, False]
    assert not set('/\\:*?"<>| ') & set("".join(versions))  # part of a file name


def test_pickles_and_safetensors_of_the_same_weights_are_one_version(kaiko, folder) -> None:
    from safetensors.torch import load_file

    version = load_encoder("kaiko-s16").version
    weights = load_file(kaiko)
    kaiko.unlink()
    put(folder, "kaiko-s16", {f"module.{k}": v for k, v in weights.items()}, "pytorch_model.bin")
    assert load_encoder("kaiko-s16").version == version


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_is_within_tolerance(precision, kaiko, patches) -> None:
    exact = load_encoder("kaiko-s16@cls+mean", precision="float32").encode(patches)
    half = load_encoder("kaiko-s16@cls+mean", precision=precision).encode(patches)
    assert half.dtype == np.float32
    for a, b in zip(exact, half, strict=True):
        assert a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) > 0.999
    assert np.abs(exact - half).max() > 0  # it really was another precision


@pytest.mark.parametrize(
    ("capabilities", "on_a_processor"),
    [
        ({}, "float32"),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, "float32"),
        ({"avx512_bf16": True, "amx_bf16": False}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
    ],
)
def test_half_precision_is_for_what_multiplies_in_it(
    capabilities, on_a_processor, kaiko, monkeypatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    facts = CATALOGUE["uni2-h"]
    chosen = [chosen_precision(facts, kind, "auto") for kind in ("cpu", "mps", "cuda")]
    assert chosen == [on_a_processor, "float32", "bfloat16"]
    assert chosen_precision(CATALOGUE["uni"], "cuda", "auto") == CATALOGUE["uni"].half
    mark = {"float32": "~fp32", "bfloat16": "~bf16"}[on_a_processor]
    assert load_encoder("kaiko-s16").version.endswith(mark)
    with pytest.raises(EncoderError, match="no precision 'int8'"):
        load_encoder("kaiko-s16", precision="int8")


def test_numbers_that_are_not_finite_are_refused(kaiko, patches) -> None:
    encoder = load_encoder("kaiko-s16", precision="float32")
    with torch.no_grad():
        encoder._network.module.norm.weight[0] = torch.inf
    with pytest.raises(EncoderError, match="infinite numbers in float32"):
        encoder.encode(patches)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda w: w.pop("blocks.0.attn.qkv.weight"), "no blocks.0.attn.qkv.weight"),
        (lambda w: w.update(fc=torch.zeros(2)), "an unknown fc"),
        (lambda w: w.update({"norm.weight": torch.zeros(5)}), "norm.weight of shape (5,) instead"),
    ],
)
def test_another_networks_weights_are_refused(kaiko, folder, spoil, words) -> None:
    from safetensors.torch import load_file

    weights = load_file(kaiko)
    spoil(weights)
    put(folder, "kaiko-s16", weights)
    with pytest.raises(EncoderError, match="are not those of encoder 'kaiko-s16'") as caught:
        load_encoder("kaiko-s16")
    assert words in str(caught.value)


def test_damaged_safetensors_are_refused(kaiko) -> None:
    kaiko.write_bytes(kaiko.read_bytes()[:1000])
    with pytest.raises(EncoderError, match=r"cannot be read.*encoders download kaiko-s16"):
        load_encoder("kaiko-s16")


class _Code:
    def __init__(self, target: str) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return open, (self.target, "w")


@pytest.mark.parametrize("kind", ["code", "cut", "text"])
def test_pickles_are_read_as_numbers_alone(kind, kaiko, folder, tmp_path) -> None:
    kaiko.unlink()
    path = folder / "kaiko-s16" / "pytorch_model.bin"
    if kind == "code":
        torch.save({"cls_token": _Code(str(tmp_path / "was_run"))}, path)
    elif kind == "cut":
        torch.save({"cls_token": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:500])
    else:
        path.write_bytes(pickle.dumps("just text")[:4])
    with pytest.raises(EncoderError) as caught:
        load_encoder("kaiko-s16")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "was_run").exists()
    if kind == "code":
        assert "can run code" in str(caught.value)
