"""Plain statistics of stain and texture: what a pathologist sees before any network does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PERCENTILES = (5, 25, 50, 75, 95)
_SCALES_PX = (1, 2, 4, 8)
_CHANNELS = 5
_DENSITY = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)  # optical density of a byte
STATISTICS_WIDTH = _CHANNELS * (2 + len(_PERCENTILES)) + 3 * len(_SCALES_PX)


def stain_statistics(patches: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Distribution of colour and stain, and contrast of haematoxylin at four scales.

    Haematoxylin and eosin are unmixed from optical density with the stain vectors of Ruifrok and Johnston
    (2001), as scikit-image gives them.

    Parameters
    ----------
    patches
        (n, side, side, 3) uint8 RGB; the side a multiple of 8.

    Returns
    -------
    (n, 47) float32: per channel (R, G, B, haematoxylin, eosin) mean, standard deviation and five percentiles;
    then per scale of 1, 2, 4, 8 px the mean vertical and horizontal step and the standard deviation of
    haematoxylin.
    """
    with ThreadPoolExecutor() as pool:  # numpy lets go of the interpreter while it works
        return np.stack(list(pool.map(_of_one, patches)))


def _of_one(patch: NDArray[np.uint8]) -> NDArray[np.float32]:
    from skimage.color import hed_from_rgb

    stains = _DENSITY[patch] @ hed_from_rgb[:, :2].astype(np.float32)
    channels = np.empty((_CHANNELS, patch.shape[0] * patch.shape[1]), np.float32)
    channels[:3] = patch.reshape(-1, 3).T
    channels[3:] = stains.reshape(-1, 2).T
    spread = [channels.mean(1), channels.std(1), *np.percentile(channels, _PERCENTILES, axis=1)]
    haematoxylin = channels[3].reshape(patch.shape[:2])
    texture = [value for scale_px in _SCALES_PX for value in _contrast(haematoxylin, scale_px)]
    return np.concatenate([np.stack(spread, 1).ravel(), texture]).astype(np.float32)


def _contrast(image: NDArray[np.float32], scale_px: int) -> tuple[float, float, float]:
    side = image.shape[0] // scale_px
    coarse = image.reshape(side, scale_px, side, scale_px).mean((1, 3))
    steps = (np.abs(np.diff(coarse, axis=axis)).mean() for axis in (0, 1))
    return (*steps, coarse.std())
