"""A model's arrays as ``model.safetensors`` holds them: ``denoiser.*`` and ``head.*``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import ModelError
from napari_stem.model.head import EmbeddingHead, Head

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from napari_stem.model.config import ModelConfig

HEADS: dict[str, type[Head | EmbeddingHead]] = {"edm": Head, "published": EmbeddingHead}
_DENOISER, _HEAD = "denoiser.", "head."


def write_weights(
    path: Path,
    config: ModelConfig,
    head: Head | EmbeddingHead,
    spread_factor: NDArray[np.float32],
    network: nn.Module,
) -> None:
    """Write the denoiser in the precision that the config states, the head's smaller arrays in full.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    import torch
    from safetensors.torch import save_file

    stored_as = torch.float16 if config.precision == "float16" else torch.float32
    tensors = {
        _DENOISER + name: value.detach().cpu().to(stored_as).contiguous()
        for name, value in network.state_dict().items()
    }
    arrays = head.to_arrays()
    if config.calibrated:
        arrays["spread_factor"] = np.asarray(spread_factor, np.float32)
    tensors |= {_HEAD + name: torch.from_numpy(value) for name, value in arrays.items()}
    ridge = _HEAD + "weights"
    if ridge in tensors:  # by far the largest of them
        tensors[ridge] = tensors[ridge].to(stored_as)
    save_file(tensors, path)


def read_weights(
    path: Path, config: ModelConfig
) -> tuple[Head | EmbeddingHead, NDArray[np.float32], nn.Module]:
    """Read head, (genes,) spread factors (1 where the model is not calibrated) and network.

    Raises
    ------
    ModelError
        The file predicts another number of genes than the config names.
    KeyError, RuntimeError, SafetensorError
        An array is missing or of another shape, or the file is damaged.
    """
    from safetensors.torch import load_file

    from napari_stem.diffusion.denoiser import DenoiserConfig, build_denoiser

    tensors = {name: value.float() for name, value in load_file(path).items()}
    arrays = {name: value.numpy() for name, value in _under(_HEAD, tensors).items()}
    head = HEADS[config.objective].from_arrays(arrays)
    denoiser = DenoiserConfig.from_dict(config.denoiser)
    _require_panel(config, denoiser.n_genes)
    if isinstance(head, Head):
        _require_panel(config, head.n_genes)
    network = build_denoiser(denoiser)
    network.load_state_dict(_under(_DENOISER, tensors))
    no_change = np.ones(len(config.genes), np.float32)
    return head, arrays["spread_factor"] if config.calibrated else no_change, network


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _require_panel(config: ModelConfig, n_genes: int) -> None:
    if len(config.genes) != n_genes:
        raise ModelError(
            f"It names {len(config.genes)} genes and the weights predict {n_genes}; copy the folder "
            f"again."
        )
