"""Published Stem's checkpoints: read without running their code, and turned into models.

The published training writes a pickle ``{"model", "ema", "opt"}`` of state dicts; its sampling takes ``ema``.
Everything about the network but the number of attention heads can be read off the weights' shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_stem.errors import ModelError
from napari_stem.foreign import read_tensors
from napari_stem.io import sha256
from napari_stem.texts import few

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from napari_stem.diffusion.denoiser import DenoiserConfig
    from napari_stem.model.bundle import Model

Which = Literal["ema", "model"]
HEAD_WIDTH = 64  # published: 384 wide, 6 heads
_PARTS: tuple[Which, ...] = ("ema", "model")
# of data-parallel, compiled, averaged and otherwise wrapped networks, in any order; no layer is called so
_WRAPPERS = {"module", "_orig_mod", "model", "ema", "ema_model", "averaged_model", "net", "network"}
_COUNTER = "n_averaged"  # of torch's averaged models: no weight
_TELLING = {
    "genes": "gene_joint_embed.gene_name_ebd",
    "condition": "label_embed.0.weight",
    "block": "blocks.0.mlp.fc1.weight",
    "out": "final_layer.linear.weight",
}


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint as read."""

    path: Path  # the file
    weights: dict[str, Tensor]  # the network's state dict, float32
    taken: str  # which of the file's state dicts that is; ``weights`` where it holds one only
    dropped: tuple[str, ...]  # what else the file holds, and a model has no use for
    denoiser: DenoiserConfig  # the network that the shapes speak of


def read_checkpoint(path: Path, *, which: Which = "ema", heads: int | None = None) -> Checkpoint:
    """Read a published checkpoint: the pickled form, a bare state dict, or safetensors.

    Parameters
    ----------
    path
        The file; nothing in it is run.
    which
        The averaged weights (``ema``, as published sampling) or the last ones (``model``).
    heads
        Attention heads; None takes one per 64 of width, as published.

    Raises
    ------
    ModelError
        It cannot be read, holds code, or is no checkpoint of published Stem.
    """
    if not path.is_file():
        raise ModelError(f"There is no checkpoint {path}; check the path.")
    content = read_tensors(path)
    if not isinstance(content, Mapping) or not content:
        raise ModelError(f"{path} holds no network's weights; give a checkpoint of published Stem.")
    taken, dropped = "weights", tuple[str, ...]()
    if any(isinstance(content.get(part), Mapping) for part in _PARTS):
        if not isinstance(content.get(which), Mapping):
            raise ModelError(
                f"{path} holds no '{which}' weights, only {', '.join(content)}; choose the other ones "
                f"with --weights."
            )
        taken, dropped = which, tuple(str(key) for key in content if key != which)
        content = content[which]
    weights = _state_dict(path, content)
    denoiser = _denoiser_of(path, weights, heads)
    _require_fit(path, weights, denoiser)
    return Checkpoint(path, weights, taken, dropped, denoiser)


def require_genes(checkpoint: Checkpoint, genes: tuple[str, ...], source: str) -> None:
    """Check a panel against a checkpoint.

    ModelError: it names another number of genes, or one twice.
    """
    repeated = sorted({gene for gene in genes if genes.count(gene) > 1})
    if repeated:
        raise ModelError(
            f"{source} names {', '.join(repeated[:5])} more than once; each gene once."
        )
    n_genes = checkpoint.denoiser.n_genes
    if len(genes) != n_genes:
        raise ModelError(
            f"The checkpoint predicts {n_genes} genes, {source} names {len(genes)}; give the gene list "
            f"that it was trained with, in its order."
        )


def require_width(checkpoint: Checkpoint, encoder: str, width: int, n_fields: int) -> None:
    """Check an encoder's width against a checkpoint.

    ModelError: the checkpoint was told embeddings of another width.
    """
    own_width = checkpoint.denoiser.condition_width
    if own_width != width:
        patches = "one patch" if n_fields == 1 else f"{n_fields} patches"
        raise ModelError(
            f"The checkpoint is told embeddings {own_width} wide, encoder '{encoder}' gives {width} from "
            f"{patches}; choose the encoder (--encoder) and patches (--patch-um) that it was trained with."
        )


def model_of(
    checkpoint: Checkpoint,
    *,
    name: str,
    genes: tuple[str, ...],
    encoder: str,
    fields_of_view_um: tuple[float, ...],
    pitch_um: float,
    tissue: str | None = None,
    species: str | None = None,
) -> Model:
    """Model that predicts what the checkpoint does: weights in full precision, nothing calibrated.

    Parameters
    ----------
    checkpoint
        As read.
    name
        Of the model.
    genes
        Panel in the order of training, as `require_genes` asks.
    encoder
        What made the embeddings.
    fields_of_view_um
        Sides of the patches it looked at.
    pitch_um
        Distance between the spots to predict at.
    tissue, species
        None where unknown.

    Raises
    ------
    ModelError
        The panel does not fit; see `require_genes`.
    """
    import numpy as np

    from napari_stem.diffusion.denoiser import build_denoiser
    from napari_stem.model.bundle import Model
    from napari_stem.model.card import LIMITS
    from napari_stem.model.config import ModelConfig
    from napari_stem.model.head import EmbeddingHead

    network = build_denoiser(checkpoint.denoiser)
    network.load_state_dict(checkpoint.weights)
    sides = " and ".join(f"{side:g}" for side in fields_of_view_um)
    notes = [
        f"Converted from {checkpoint.path.name} ({checkpoint.taken}; SHA-256 {sha256(checkpoint.path)})",
        f"Values are log2(count + 1) predicted from patches of {sides} um. Published Stem crops 224 px "
        "whatever the pixel size: the checkpoint does not say what that was, whoever converted it did",
        "Not recorded: training sections, licence, calibration, which tissue is in its domain",
    ]
    config = ModelConfig(
        name=name,
        genes=genes,
        normalisation="log2_counts",
        encoder=encoder,
        encoder_version=None,
        fields_of_view_um=fields_of_view_um,
        pitch_um=pitch_um,
        objective="published",
        denoiser=checkpoint.denoiser.to_dict(),
        calibrated=False,
        precision="float32",
        card={
            "tissue": tissue,
            "species": species,
            "licence": "unknown",
            "sections": [],
            "notes": notes,
            "limits": list(LIMITS),
        },
    )
    head = EmbeddingHead.as_is(checkpoint.denoiser.condition_width)
    return Model(config, head, np.ones(len(genes), np.float32), network)


def _state_dict(path: Path, content: Mapping[Any, Any]) -> dict[str, Tensor]:
    import torch

    weights = {}
    for key, value in content.items():
        if not isinstance(value, torch.Tensor):
            raise ModelError(
                f"{path} holds no network's weights ('{key}' is no array of numbers); give a checkpoint "
                f"of published Stem."
            )
        name = _bare(str(key))
        if name == _COUNTER:
            continue
        if name in weights:
            raise ModelError(
                f"{path} holds '{name}' more than once, under several prefixes; keep one network's weights."
            )
        if not bool(torch.isfinite(value).all()):
            raise ModelError(
                f"{path} has values in '{name}' that are no numbers; its training failed."
            )
        weights[name] = value.float()
    return weights


def _bare(name: str) -> str:
    """Name of a weight without what wrapped the network."""
    while (parts := name.partition("."))[0] in _WRAPPERS and parts[2]:
        name = parts[2]
    return name


def _denoiser_of(path: Path, weights: dict[str, Tensor], heads: int | None) -> DenoiserConfig:
    """Read the network's sizes off the weights."""
    from napari_stem.diffusion.denoiser import DenoiserConfig

    _require_keys(path, missing=[key for key in _TELLING.values() if key not in weights])
    if any(weights[key].ndim != 2 for key in _TELLING.values()):
        raise ModelError(
            f"{path} is no checkpoint of published Stem: its layers have other shapes."
        )
    shapes = {what: tuple(weights[key].shape) for what, key in _TELLING.items()}
    n_genes, hidden = shapes["genes"]
    if heads is None and hidden % HEAD_WIDTH:
        raise ModelError(
            f"{path} is {hidden} wide, no multiple of the {HEAD_WIDTH} that published Stem gives to each "
            f"attention head; say how many it has with --heads."
        )
    blocks = {key.split(".")[1] for key in weights if key.startswith("blocks.")}
    try:
        return DenoiserConfig(
            kind="stem",
            n_genes=n_genes,
            condition_width=shapes["condition"][1],
            hidden=hidden,
            depth=len(blocks),
            heads=heads or hidden // HEAD_WIDTH,
            mlp_ratio=shapes["block"][0] / hidden,
            learn_sigma=shapes["out"][0] == 2,
            time_scale=1.0,
        )
    except ModelError as error:
        raise ModelError(f"{path} cannot be used: {error}") from error


def _require_fit(path: Path, weights: dict[str, Tensor], denoiser: DenoiserConfig) -> None:
    """Check every array's name and shape against the network's."""
    import torch

    from napari_stem.diffusion.denoiser import build_denoiser

    with torch.device("meta"):
        wanted = build_denoiser(denoiser).state_dict()
    _require_keys(
        path,
        missing=[key for key in wanted if key not in weights],
        unexpected=[key for key in weights if key not in wanted],
    )
    for key, value in wanted.items():
        if value.shape != weights[key].shape:
            raise ModelError(
                f"{path}: '{key}' is of shape {tuple(weights[key].shape)}, not {tuple(value.shape)} as the "
                f"other layers ask; is it a checkpoint of published Stem?"
            )


def _require_keys(path: Path, missing: list[str], unexpected: list[str] | None = None) -> None:
    parts = [
        f"{len(keys)} {what} ({few(keys)})"
        for what, keys in (("missing", missing), ("unexpected", unexpected or []))
        if keys
    ]
    if parts:
        raise ModelError(
            f"{path} is no checkpoint of published Stem: of its weights, {' and '.join(parts)}."
        )
