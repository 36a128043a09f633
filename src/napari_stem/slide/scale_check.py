"""Is the pixel size right? The tissue's own scale: how wide its nuclei would be.

Nuclei that lie apart are measured in pixels (`nuclear_width`) and in micrometres at the presumed pixel
size. On the slides at hand, four sections of a breast cancer and a piece of skin, as scanned (0.69 and
0.50 um/px) and reduced to up to 1.4 um/px, whole and in parts, their median width is 4.8 to 7.9 um at
the true pixel size, at most 4.0 at half of it and at least 9.7 at twice that; one part that is half
keratin has 3.9 um. The limits lie between. docs/pixel-size.md has the table and what it cannot do.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from zict import LRU

from napari_stem.geometry import Mpp, SizePx
from napari_stem.slide.tissue import optical_density

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.slide.base import Slide


WINDOW_PX = 512
N_WINDOWS = 8
REDUCED_TO_UM = 0.5  # finer slides are averaged to about this first: more tissue in a window
MEASURABLE_UM = (0.05, 1.5)  # coarser, nuclei are too few pixels wide to be measured
NARROWEST_UM, WIDEST_UM = 4.1, 9.0
COARSEST_UM, WIDE_PX = 5.0, 6.0  # up to here, nuclei that can be measured tell that it is wrong
TYPICAL_UM = 6.0
GLASS_QUANTILE, ABOVE_GLASS = 0.02, 0.05  # optical density in red
MOST_KNOWN = 64


@dataclass(frozen=True)
class ScaleCheck:
    """What the tissue says of the pixel size."""

    # median width of what looks like nuclei, at the presumed pixel size; None if not measurable
    width_um: float | None
    n_windows: int  # places measured
    warning: str | None  # A sentence if the pixel size is probably wrong, else None
    told: str  # the finding in words, warning or not

    def as_json(self) -> dict[str, Any]:
        """``{width_um, n_windows, warning, told}``."""
        return asdict(self)


def check_scale(slide: Slide, mpp: Mpp | None = None) -> ScaleCheck:
    """Compare a presumed pixel size, or the slide's own, with the width of the nuclei; takes a second or two.

    MissingMppError: neither is known. SlideError: the slide is damaged.
    """
    mpp = mpp or slide.require_mpp()
    mpp_um = (mpp.y_um + mpp.x_um) / 2
    not_measurable = f"cannot be measured at {mpp_um:.3g} um per pixel"
    if not MEASURABLE_UM[0] <= mpp_um <= COARSEST_UM:
        return ScaleCheck(None, 0, None, not_measurable)
    width_px, n_windows = _width_px(slide, max(1, round(REDUCED_TO_UM / mpp_um)))
    if width_px is None:
        return ScaleCheck(None, 0, None, "too few were found to measure them")
    if mpp_um > MEASURABLE_UM[1] and width_px < WIDE_PX:
        return ScaleCheck(None, 0, None, not_measurable)
    width_um = width_px * mpp_um
    warning = _warning(slide.name, width_um, mpp_um)
    told = warning or f"about {width_um:.1f} um wide, which fits the pixel size"
    return ScaleCheck(width_um, n_windows, warning, told)


def known_check(slide: Slide) -> ScaleCheck:
    """Check a slide at its own pixel size, once: asked again, the answer is there; thread-safe.

    Raises as `check_scale`.
    """
    key = (slide.fingerprint, slide.require_mpp(), slide.name)  # which the sentence says
    with _measuring:
        if key not in _known:
            _known[key] = check_scale(slide, key[1])
        return _known[key]


_known: LRU[tuple[str, Mpp, str], ScaleCheck] = LRU(MOST_KNOWN, {})
_measuring = threading.Lock()


def _warning(name: str, width_um: float, mpp_um: float) -> str | None:
    if NARROWEST_UM <= width_um <= WIDEST_UM:
        return None
    factor = max(TYPICAL_UM / width_um, width_um / TYPICAL_UM)
    right_um = mpp_um * (2 if width_um < NARROWEST_UM else 0.5)
    how_much = "a factor of 2" if factor < 3 else f"a factor of about {factor:.0f}"
    hint = f" (is it {right_um:.2g}?)" if factor < 3 else ""
    return (
        f"At {mpp_um:.3g} um per pixel, the nuclei of {name} would be about {width_um:.0f} um wide; "
        f"the pixel size may be wrong by {how_much}{hint}."
    )


def _width_px(slide: Slide, reduction: int) -> tuple[float | None, int]:
    """Measure nuclei in reduced windows, or unreduced where these show too few; px of level 0, windows."""
    windows = _windows(slide, reduction)
    width_px = median_width_px(windows)
    if width_px is not None:
        return width_px * reduction, len(windows)
    # reduced by a pixel size that is much too small, nuclei are specks
    return _width_px(slide, 1) if reduction > 1 else (None, 0)


def _windows(slide: Slide, reduction: int) -> list[NDArray[np.uint8]]:
    """Read places at level 0 whose density is that of average tissue, apart from each other.

    The darkest places would be those where nuclei lie on top of each other, ink and folds.
    """
    from PIL import Image

    overview = slide.levels[slide.overview_level]
    density = optical_density(overview.whole()[..., 0])
    side_px = min(WINDOW_PX * reduction, slide.size.height_px, slide.size.width_px)
    side = max(1, min(round(side_px / overview.downsample), *density.shape))
    oddness = _distance_from_average_tissue(density, side)
    found = []
    for _ in range(N_WINDOWS):
        y, x = np.unravel_index(int(oddness.argmin()), oddness.shape)
        if not np.isfinite(oddness[y, x]):
            break
        left, top = (round(float(n) * overview.downsample) - side_px // 2 for n in (x, y))
        window = slide.read_region(left, top, 0, SizePx(side_px, side_px))
        found.append(np.asarray(Image.fromarray(window).reduce(reduction)))
        oddness[max(0, y - side) : y + side, max(0, x - side) : x + side] = np.inf
    return found


def _distance_from_average_tissue(density: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Compare the mean density of each window with the median of those on tissue.

    Infinite where the window would reach over the edge.
    """
    from scipy import ndimage

    density = ndimage.uniform_filter(density, side)
    half = side // 2
    inside = np.zeros(density.shape, dtype=bool)
    inside[half : density.shape[0] - half, half : density.shape[1] - half] = True
    if not inside.any():
        return np.full(density.shape, np.inf, dtype=np.float32)
    values = density[inside]
    tissue = values[values > np.quantile(values, GLASS_QUANTILE) + ABOVE_GLASS]
    average = np.median(tissue) if tissue.size else np.median(values)
    return np.where(inside, np.abs(density - average), np.inf).astype(np.float32)


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
    """Width in px of the nuclei that lie apart: median over area, so that specks count little.

    ``windows`` are (height, width, 3) uint8 each. None where fewer than 50 are found.
    """
    found = np.concatenate([np.zeros((0, 2)), *(nuclei(window) for window in windows)])
    if len(found) < LEAST_NUCLEI:
        return None
    found = found[np.argsort(found[:, 0])]
    shares = np.cumsum(found[:, 1])
    return float(found[np.searchsorted(shares, shares[-1] / 2), 0])


def nuclei(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Measure what looks like single nuclei in a (height, width, 3) uint8 window.

    Returns (n, 2): width (shorter axis), px, and area, px.
    """
    from scipy import ndimage

    density = ndimage.gaussian_filter(optical_density(rgb[..., 0]), SMOOTHING_PX)
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

    labels, _ = ndimage.label(density > level)
    area = np.bincount(labels.ravel())
    is_sized = (area >= LEAST_AREA_PX) & (area <= MOST_SHARE * density.size)
    is_sized[0] = False  # what is not above the level
    for rim in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        is_sized[rim] = False
    # most pixels are in other pieces, and looked at no further
    places = np.flatnonzero(is_sized[labels])
    piece = (np.cumsum(is_sized) - 1)[labels.ravel()[places]]
    area = area[is_sized]
    width, length = _axes(piece, area, places, density.shape[1])
    over = np.bincount(piece, density.ravel()[places], minlength=len(area)) / area - level
    is_nucleus = (
        (area > FILLED * np.pi / 4 * width * length) & (length < LONGEST * width) & (over >= DARKER)
    )
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
