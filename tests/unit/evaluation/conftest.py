from __future__ import annotations

import numpy as np
import pytest

from napari_stem.geometry import Mpp, Spots
from napari_stem.training.sections import SectionArrays

WIDTH, N_GENES, N_SPOTS = 6, 4, 30


def make_section(name: str, n: int, seed: int, noise: float = 0.3) -> SectionArrays:
    """Expression that is linear in the embedding, but for noise."""
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(0).normal(size=(WIDTH, N_GENES))
    embedding = rng.normal(size=(n, WIDTH)).astype(np.float32)
    values = 8 + embedding @ truth + noise * rng.normal(size=(n, N_GENES))
    place = np.arange(n)
    spots = Spots(
        x_px=rng.permutation(n) * 10.0,
        y_px=np.zeros(n),
        array_row=place,
        array_col=place,
        pitch_um=100.0,
        diameter_um=100.0,
        names=tuple(f"{name}{i}" for i in place),
        mpp=Mpp.square(1.0),
    )
    turned = np.repeat(embedding[:, None], 8, axis=1).astype(np.float16)
    return SectionArrays(name, spots, embedding, values.astype(np.float32), {}, turned=turned)


@pytest.fixture
def linear_sections() -> list[SectionArrays]:
    return [make_section(name, N_SPOTS, i) for i, name in enumerate("abc")]
