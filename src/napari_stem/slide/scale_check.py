"""Is the pixel size right? The tissue's own scale: how wide its nuclei would be.

Nuclei that lie apart are measured in pixels (`nuclear_width`) and in micrometres at the presumed pixel
size. On the slides at hand, four sections of a breast cancer and a piece of skin, as scanned (0.69 and
0.50 um/px) and reduced to up to 1.4 um/px, whole and in parts, their median width is 4.8 to 7.9 um at
the true pixel size, at most 4.0 at half of it and at least 9.7 at twice that; one part that is half
keratin has 3.9 um. The limits lie between. docs/pixel-size.md has the table and what it cannot do.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.geometry import Mpp, SizePx
from napari_stem.slide.nuclear_width import median_width_px

if TYPE_CHECKING:
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
    """What the tissue says of the pixel size.

    Attributes
    ----------
    width_um
        Median width of what looks like nuclei, at the presumed pixel size; None if not measurable.
    n_windows
        Places measured.
    warning
        A sentence if the pixel size is probably wrong, else None.
    told
        The finding in words, warning or not.
    """

    width_um: float | None
    n_windows: int
    warning: str | None
    told: str

    def as_json(self) -> dict[str, Any]:
        """``{width_um, n_windows, warning, told}``."""
        return {
            "width_um": self.width_um,
            "n_windows": self.n_windows,
            "warning": self.warning,
            "told": self.told,
        }


def check_scale(slide: Slide, mpp: Mpp | None = None) -> ScaleCheck:
    """Compare a pixel size with the width of the nuclei; takes a second or two.

    Parameters
    ----------
    slide
        Open.
    mpp
        Presumed pixel size; the slide's own by default.

    Raises
    ------
    MissingMppError
        Neither is known.
    SlideError
        The slide is damaged.
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
    warning = _warning(slide.path.name, width_um, mpp_um)
    told = warning or f"about {width_um:.1f} um wide, which fits the pixel size"
    return ScaleCheck(width_um, n_windows, warning, told)


def scale_record(slide: Slide) -> dict[str, Any]:
    """Give what a prediction keeps of the check: ``{"scale_check": {...}}`` as `ScaleCheck.as_json`.

    Raises
    ------
    MissingMppError, SlideError
        As `check_scale`.
    """
    return {"scale_check": known_check(slide).as_json()}


def known_check(slide: Slide) -> ScaleCheck:
    """Check a slide at its own pixel size, once: asked again, the answer is there; thread-safe.

    Raises
    ------
    MissingMppError, SlideError
        As `check_scale`.
    """
    key = (slide.fingerprint, slide.require_mpp())
    with _measuring:
        if key not in _known:
            _known[key] = check_scale(slide, key[1])
            while len(_known) > MOST_KNOWN:
                del _known[next(iter(_known))]
        return _known[key]


_known: dict[tuple[str, Mpp], ScaleCheck] = {}
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
    coarsest = slide.levels[-1]
    red = np.asarray(coarsest.pixels[..., 0].compute(), dtype=np.float32)
    side_px = min(WINDOW_PX * reduction, slide.size.height_px, slide.size.width_px)
    side = max(1, min(round(side_px / coarsest.downsample), *red.shape))
    oddness = _distance_from_average_tissue(red, side)
    found = []
    for _ in range(N_WINDOWS):
        y, x = np.unravel_index(int(oddness.argmin()), oddness.shape)
        if not np.isfinite(oddness[y, x]):
            break
        left, top = (round(float(n) * coarsest.downsample) - side_px // 2 for n in (x, y))
        window = slide.read_region(left, top, 0, SizePx(side_px, side_px))
        found.append(_reduced(window, reduction))
        oddness[max(0, y - side) : y + side, max(0, x - side) : x + side] = np.inf
    return found


def _reduced(rgb: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Average squares of pixels."""
    if factor == 1:
        return rgb
    height, width = (side // factor for side in rgb.shape[:2])
    squares = rgb[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    return np.asarray(squares.mean(axis=(1, 3)).round(), dtype=np.uint8)


def _distance_from_average_tissue(red: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Compare the mean density of each window with the median of those on tissue.

    Infinite where the window would reach over the edge.
    """
    from scipy import ndimage

    density = ndimage.uniform_filter(-np.log10((red + 1) / 256), side)
    half = side // 2
    inside = np.zeros(density.shape, dtype=bool)
    inside[half : density.shape[0] - half, half : density.shape[1] - half] = True
    if not inside.any():
        return np.full(density.shape, np.inf, dtype=np.float32)
    values = density[inside]
    tissue = values[values > np.quantile(values, GLASS_QUANTILE) + ABOVE_GLASS]
    average = np.median(tissue) if tissue.size else np.median(values)
    return np.where(inside, np.abs(density - average), np.inf).astype(np.float32)
