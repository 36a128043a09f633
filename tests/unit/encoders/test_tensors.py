"""Patches to inputs, tokens to embeddings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from napari_stem.encoders.published import centre_tokens, normalised, pool_tokens, resized


@pytest.mark.parametrize("side_px", [224, 256, 512])
def test_resizing_is_bicubic_and_antialiased(tissue, side_px) -> None:
    """Another implementation agrees but for rounding; neighbouring pixels or a bilinear filter do not."""
    new = resized(tissue, side_px)
    assert new.shape == (3, 1, side_px, side_px, 3)
    assert new.dtype == np.uint8
    x = torch.from_numpy(tissue[:, 0]).permute(0, 3, 1, 2).float()

    def difference(mode: str, antialias: bool) -> float:
        other = interpolate(x, (side_px, side_px), mode=mode, antialias=antialias)
        other = other.round().clamp(0, 255).permute(0, 2, 3, 1)
        return float(np.abs(new[:, 0].astype(float) - other.numpy()).mean())

    assert difference("bicubic", antialias=True) < 0.25
    assert difference("bilinear", antialias=True) > 0.5
    assert side_px > 448 or difference("bicubic", antialias=False) > 0.5


def test_nothing_is_resampled_without_need(tissue) -> None:
    assert resized(tissue, 448) is tissue


def test_normalisation_is_by_channel() -> None:
    patch = np.zeros((1, 2, 2, 3), np.uint8)
    patch[..., 0], patch[..., 2] = 255, 51
    x = normalised(patch, ((0.5, 0.25, 0.1), (0.5, 0.25, 0.2)))
    assert x.shape == (1, 3, 2, 2)
    np.testing.assert_allclose(x[0, :, 0, 0], [1, -1, 0.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("side", "middle"),
    [(1, (0, 1)), (2, (0, 2)), (14, (6, 8)), (16, (7, 9)), (28, (12, 16)), (37, (16, 21))],
)
def test_the_centre_is_even_about_the_middle(side, middle) -> None:
    assert centre_tokens(side) == middle
    assert sum(middle) == side


def test_pooling_takes_the_right_tokens() -> None:
    grid = torch.arange(16.0 * 16).reshape(16, 16)
    tokens = torch.cat([torch.tensor([900.0, -50, -50]), grid.ravel()])[None, :, None]
    assert pool_tokens(tokens, "cls", 3).item() == 900
    assert pool_tokens(tokens, "mean", 3).item() == grid.mean()
    assert pool_tokens(tokens, "centre", 3).item() == grid[7:9, 7:9].mean()
    with pytest.raises(ValueError, match="no square"):
        pool_tokens(tokens, "centre", 1)
