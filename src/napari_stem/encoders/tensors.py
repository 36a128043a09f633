"""Patches as a network takes them, and its tokens as an embedding."""

from __future__ import annotations

import hashlib
from math import isqrt
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_stem.encoders.facts import Colour

_VALUES_PER_TENSOR = 64
_CENTRE_SHARE = 1 / 8  # of the patch's side


def resized(patches: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Resample patches to another side: Pillow, bicubic and antialiased, as the cards' transforms do.

    Parameters
    ----------
    patches
        (..., side, side, 3) uint8 RGB.
    side_px
        The new side.

    Returns
    -------
    (..., side_px, side_px, 3) uint8; the patches themselves where nothing is to be done.
    """
    side = patches.shape[-2]
    if side == side_px:
        return patches
    from PIL import Image

    size = (side_px, side_px)
    flat = np.ascontiguousarray(patches).reshape(-1, side, side, 3)
    new = np.empty((len(flat), *size, 3), np.uint8)
    for patch, out in zip(flat, new, strict=True):
        out[...] = np.asarray(Image.fromarray(patch).resize(size, Image.Resampling.BICUBIC))
    return new.reshape(*patches.shape[:-3], *size, 3)


def normalised(
    patches: NDArray[np.uint8], normalisation: tuple[Colour, Colour], device: str = "cpu"
) -> torch.Tensor:
    """(n, side, side, 3) uint8 -> (n, 3, side, side) float32: 0 to 1, less the mean, over the deviation."""
    x = torch.from_numpy(np.ascontiguousarray(patches)).to(device).permute(0, 3, 1, 2).float() / 255
    centre, scale = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in normalisation)
    return ((x - centre) / scale).contiguous()


def pool_tokens(tokens: torch.Tensor, pooling: str, prefix_tokens: int) -> torch.Tensor:
    """Pool tokens to one vector.

    Parameters
    ----------
    tokens
        (n, prefix + patches, width), the class token first, then registers, then patches by row.
    pooling
        ``cls``, ``mean`` or ``centre``: see `napari_stem.encoders.facts.POOLINGS`.
    prefix_tokens
        Class token and registers: they belong to no place, and are left out of ``mean`` and ``centre``.

    Returns
    -------
    (n, width).
    """
    if pooling == "cls":
        return tokens[:, 0]
    patches = tokens[:, prefix_tokens:]
    if pooling == "mean":
        return patches.mean(1)
    side = isqrt(patches.shape[1])
    if side * side != patches.shape[1]:
        raise ValueError(
            f"{patches.shape[1]} patch tokens are no square: {prefix_tokens} is not their beginning"
        )
    first, last = centre_tokens(side)
    grid = patches.reshape(len(patches), side, side, -1)
    return grid[:, first:last, first:last].mean((1, 2))


def centre_tokens(side: int) -> tuple[int, int]:
    """First and last+1 row (and column) of the tokens in the middle eighth of a grid's side.

    As many as lie evenly about the centre: 2 of 14 or 16, 4 of 28, 5 of 37; at least 1 or 2.
    """
    odd = side % 2
    n = max(2 * round((side * _CENTRE_SHARE - odd) / 2) + odd, 2 - odd)
    first = (side - n) // 2
    return first, first + n


def weights_digest(module: torch.nn.Module) -> str:
    """Eight hexadecimal digits that change with a network's weights, whatever file they came from.

    Hashes some values of every tensor: a network of a billion parameters takes milliseconds.
    """
    digests = []
    for tensor in module.state_dict().values():
        if tensor.is_floating_point() and tensor.numel():
            flat = tensor.detach().flatten()
            some = flat[:: max(1, flat.numel() // _VALUES_PER_TENSOR)][:_VALUES_PER_TENSOR]
            values = some.float().cpu().contiguous().numpy()
            digests.append(hashlib.sha256(values.tobytes()).digest())
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()[:8]
