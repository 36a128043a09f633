"""The published network and its figures, shared by the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from napari_stem.diffusion.denoiser import DenoiserConfig, StemTransformer

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN_DIR = Path(__file__).parents[2] / "data" / "golden"


@pytest.fixture(scope="session")
def published() -> Callable[[str], torch.Tensor]:
    """A golden figure by its key; the published channel axis (n, 1, G) is dropped."""
    with np.load(GOLDEN_DIR / "stem_published.npz") as stored:
        figures = dict(stored)

    def figure(key: str) -> torch.Tensor:
        value = torch.from_numpy(figures[key])
        return value.squeeze(-2) if value.ndim >= 3 and value.shape[-2] == 1 else value

    return figure


@pytest.fixture
def published_network() -> StemTransformer:
    config = DenoiserConfig(
        kind="stem",
        n_genes=24,
        condition_width=40,
        hidden=48,
        depth=3,
        heads=4,
        mlp_ratio=4.0,
        learn_sigma=True,
        time_scale=1.0,
    )
    network = StemTransformer(config)
    network.load_state_dict(load_file(GOLDEN_DIR / "stem_published_weights.safetensors"))
    return network.double().eval()
