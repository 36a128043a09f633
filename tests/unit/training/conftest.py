"""Denoisers small enough to train in a blink, of both objectives."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from napari_stem.diffusion.denoiser import DenoiserConfig
from napari_stem.training.batches import TrainingData
from napari_stem.training.options import FitSettings

N_SPOTS, N_GENES, WIDTH = 40, 6, 10


@pytest.fixture
def data() -> TrainingData:
    """Values of the size of log2 counts, and eight ways to see each spot."""
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(N_SPOTS, 8, WIDTH)).astype(np.float16)
    target = rng.gamma(2, 1, size=(N_SPOTS, N_GENES)).astype(np.float32)
    return TrainingData(target, seen)


def _tiny(objective: Literal["edm", "published"]) -> FitSettings:
    published = replace(DenoiserConfig.published(N_GENES, WIDTH), hidden=16, depth=2, heads=2)
    ours = DenoiserConfig(
        n_genes=N_GENES,
        condition_width=WIDTH,
        hidden=16,
        depth=2,
        dropout=0.3,
        condition_dropout=0.3,
    )
    return FitSettings(
        objective=objective,
        denoiser=ours if objective == "edm" else published,
        steps=20,
        eval_every=5,
        batch=12,
        learning_rate=1e-4,
        weight_decay=1e-2,
        ema=0.995,
        condition_noise=0.6 if objective == "edm" else 0.0,
    )


@pytest.fixture
def both() -> list[FitSettings]:
    """Ours with all its dropout, and published Stem's, both tiny."""
    return [_tiny("edm"), _tiny("published")]


@pytest.fixture(params=["edm", "published"])
def settings(request: pytest.FixtureRequest) -> FitSettings:
    """One of `both`."""
    return _tiny(request.param)
