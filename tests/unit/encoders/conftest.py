"""Encoders of the true width, cut to one block, with random weights: what every test of encoders shares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_stem.encoders.catalogue import CATALOGUE
from napari_stem.encoders.networks import import_timm

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_stem.encoders.catalogue import EncoderFacts

CROP = Path(__file__).parents[2] / "data" / "slides" / "C5-crop.jpg"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "weights: needs downloaded weights of encoders")


@pytest.fixture(scope="session")
def tissue() -> NDArray[np.uint8]:
    """Three places of a real section at one field of view: (3, 1, 448, 448, 3)."""
    from PIL import Image

    with Image.open(CROP) as image:
        pixels = np.asarray(image.convert("RGB"))
    corners = ((100, 200), (500, 450), (640, 300))
    return np.stack([pixels[None, y : y + 448, x : x + 448] for x, y in corners])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the user's with encoders, named by the environment; Hugging Face's cache is empty."""
    from huggingface_hub import constants

    monkeypatch.setenv("NAPARI_STEM_ENCODERS", str(tmp_path / "encoders"))
    monkeypatch.delenv("NAPARI_STEM_TRUST_REMOTE_CODE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "encoders"


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], EncoderFacts]:
    """Cut an encoder of timm to one block, in the catalogue too."""

    def one_block(name: str) -> EncoderFacts:
        facts = CATALOGUE[name]
        facts = replace(facts, arguments={**facts.arguments, "depth": 1})
        monkeypatch.setitem(CATALOGUE, name, facts)
        return facts

    return one_block


@pytest.fixture(scope="session")
def random_network() -> Callable[..., Any]:
    """Give a function that makes a network of timm with random weights that are cheap to draw."""

    def make(architecture: str, **arguments: Any) -> Any:
        with torch.device("meta"):
            network = import_timm().create_model(
                architecture, num_classes=0, weight_init="skip", **arguments
            )
        return randomised(network)

    return make


@pytest.fixture(scope="session")
def fill() -> Callable[..., Any]:
    """Give a function that fills a module with small random numbers, in evaluation mode."""
    return randomised


def randomised(module: Any, seed: int = 0) -> Any:
    """Fill a module; scales of normalisations lie about 1."""
    generator = torch.Generator().manual_seed(seed)
    module = module.to_empty(device="cpu").eval()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            noise = torch.empty_like(tensor).uniform_(-0.05, 0.05, generator=generator)
            is_scale = "norm" in name or ".ls" in name or "ln_" in name
            tensor.copy_(noise + 1 if is_scale and name.endswith(("weight", "gamma")) else noise)
    return module
