"""How wide nuclei are, in pixels, without being told how large a pixel is.

Nuclei that lie apart are dark, convex and nearly round. The density in red (haematoxylin absorbs red
light, eosin hardly does) is cut at rising levels; a connected piece that fills the ellipse of its own
second moments is taken for one nucleus, at the lowest level at which it does, so that chromatin inside
does not count again (the idea of maximally stable regions: Matas et al. 2004). Clusters, fibres and
folds fill no ellipse at any level, or are long. Nothing here has a length of its own but the smallest
piece told from noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SMOOTHING_PX = 0.7
N_LEVELS = 16
LEVEL_QUANTILES = (0.05, 0.995)  # of the density: levels lie between
LEAST_AREA_PX = 12
MOST_SHARE = 0.02  # of a window
FILLED = 0.9  # of the ellipse with the same second moments; a disc or ellipse fills 1
LONGEST = 2.0  # times as long as wide
DARKER = 0.07  # mean density above the level: keratin, granules and noise are hardly so
LEAST_NUCLEI = 50


def median_width_px(windows: Sequence[NDArray[np.uint8]]) -> float | None:
    """Width of the nuclei that lie apart: median over area, so that specks count little.

    Parameters
    ----------
    windows
        (height, width, 3) uint8 each.

    Returns
    -------
    Pixels; None where fewer than 50 are found.
    """
    found = np.concatenate([np.zeros((0, 2)), *(nuclei(window) for window in windows)])
    if len(found) < LEAST_NUCLEI:
        return None
    found = found[np.argsort(found[:, 0])]
    shares = np.cumsum(found[:, 1])
    return float(found[np.searchsorted(shares, shares[-1] / 2), 0])


def nuclei(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Measure what looks like single nuclei in a (height, width, 3) uint8 window.

    Returns
    -------
    (n, 2): width (shorter axis), px, and area, px.
    """
    from scipy import ndimage

    density = -np.log10((rgb[..., 0].astype(np.float32) + 1) / 256)
    density = ndimage.gaussian_filter(density, SMOOTHING_PX)
    low, high = np.quantile(density, LEVEL_QUANTILES)
    if high - low < DARKER:
        return np.zeros((0, 2))
    taken = np.zeros(density.size, dtype=bool)
    levels = np.linspace(low, high, N_LEVELS + 2)[1:-1]
    return np.concatenate([_convex_pieces(density, float(level), taken) for level in levels])


def _convex_pieces(
    density: NDArray[np.float32], level: float, taken: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Measure the pieces above a level that fill an ellipse: (n, 2); ``taken`` is added to."""
    from scipy import ndimage

    labels, n = ndimage.label(density > level)
    if n == 0:
        return np.zeros((0, 2))
    places = np.flatnonzero(labels)
    piece = labels.ravel()[places] - 1
    area = np.bincount(piece, minlength=n)
    width, length = _axes(piece, area, places, density.shape[1])
    over = np.bincount(piece, density.ravel()[places], minlength=n) / area - level
    is_nucleus = (
        (area >= LEAST_AREA_PX)
        & (area <= MOST_SHARE * density.size)
        & (area > FILLED * np.pi / 4 * width * length)
        & (length < LONGEST * width)
        & (over >= DARKER)
    )
    rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    is_nucleus[rim[rim > 0] - 1] = False
    is_nucleus[piece[taken[places]]] = False
    taken[places[is_nucleus[piece]]] = True
    return np.stack([width[is_nucleus], area[is_nucleus]], axis=1)


def _axes(
    piece: NDArray[np.int64], area: NDArray[np.int64], places: NDArray[np.int64], row_px: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Axes of the ellipses with the pieces' second moments: (n,) the shorter, (n,) the longer, px."""

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(piece, values, minlength=len(area)) / area

    y, x = (places // row_px).astype(np.float64), (places % row_px).astype(np.float64)
    mean_y, mean_x = mean(y), mean(x)
    # a pixel is a square, not a point: 1/12
    var_y, var_x = mean(y * y) - mean_y**2 + 1 / 12, mean(x * x) - mean_x**2 + 1 / 12
    root = np.hypot((var_y - var_x) / 2, mean(x * y) - mean_y * mean_x)
    middle = (var_y + var_x) / 2
    return 4 * np.sqrt(np.maximum(middle - root, 1e-9)), 4 * np.sqrt(middle + root)
