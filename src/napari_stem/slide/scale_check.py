"""Is the pixel size right? The tissue's own scale: how wide its nuclei would be.

Nuclei of most human tissues are 5 to 12 um wide. What is dark in the red channel (haematoxylin
absorbs red light, eosin hardly does) is split from the rest by Otsu's threshold, and the local width
of it is measured by openings with growing discs (a granulometry: Matheron 1975); the median over the
area is taken, so that specks count little and touching nuclei do not count as one.

What it can tell was measured on the real slides at hand, four breast cancer sections at 0.69 um/px
and a section with small, dense nuclei at 0.50 um/px: 5.7 to 7.9 um at the true pixel size, half and
twice that at wrong ones. A stated size that is half the true one is noticed on all of them; one that
is twice the true one is noticed too as long as it is below 0.8 um/px. Above, nuclei run together and
look wide at the true pixel size also, so that only the clearer cases are told (those at 0.69 um/px
are, the one at 0.50 is not). The limits lie where no true case came near.

No second cue was found for the one that is missed. Its nuclei are a third smaller than those of the
breast sections, and the sections at a true 1.0 um/px look the same in all that was tried: width of
nuclei (9.0 px; this slide at 0.50: 10.7 px), scale of the strongest blobs (4.6 px both), half-width
of the autocorrelation and median period of the spectrum, both of which change as much between the
two tissues as with the pixel size. Only other sources of the pixel size (`pixel_size`) tell it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.geometry import SizePx

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp
    from napari_stem.slide.base import Slide

WINDOW_PX = 512
N_WINDOWS = 8
MEASURABLE_UM = (0.12, 1.5)  # pixel sizes between which nuclei are wide enough and fit the discs
NARROWEST_UM, WIDEST_UM, WIDEST_COARSE_UM = 4.6, 10.5, 13.0
COARSE_UM = 0.8  # beyond this, nuclei that touch look wider
TYPICAL_UM = 7.0
NUCLEAR_SHARE = (0.03, 0.6)  # of a window: less is stroma or glass, more a fold, ink or blood
LEAST_CONTRAST = 0.1  # optical density in red between nuclei and the rest
DISC_RATIO = 1.2
GLASS_QUANTILE, ABOVE_GLASS = 0.02, 0.05  # optical density in red
LARGEST_DISC_PX = 60


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
    if not MEASURABLE_UM[0] <= mpp_um <= MEASURABLE_UM[1]:
        told = f"cannot be measured at {mpp_um:.3g} um per pixel"
        return ScaleCheck(None, 0, None, told)
    masks = [mask for window in _windows(slide) if (mask := nuclear_mask(window)) is not None]
    width_px = median_width_px(masks)
    if width_px is None:
        return ScaleCheck(None, 0, None, "too few were found to measure them")
    width_um = width_px * mpp_um
    warning = _warning(slide.path.name, width_um, mpp_um)
    told = warning or f"about {width_um:.1f} um wide, which fits the pixel size"
    return ScaleCheck(width_um, len(masks), warning, told)


def _warning(name: str, width_um: float, mpp_um: float) -> str | None:
    widest_um = WIDEST_UM if mpp_um <= COARSE_UM else WIDEST_COARSE_UM
    if NARROWEST_UM <= width_um <= widest_um:
        return None
    factor = max(TYPICAL_UM / width_um, width_um / TYPICAL_UM)
    right_um = mpp_um * (2 if width_um < NARROWEST_UM else 0.5)
    how_much = "a factor of 2" if factor < 3 else f"a factor of about {factor:.0f}"
    hint = f" (is it {right_um:.2g}?)" if factor < 3 else ""
    return (
        f"At {mpp_um:.3g} um per pixel, the nuclei of {name} would be about {width_um:.0f} um wide; "
        f"the pixel size may be wrong by {how_much}{hint}."
    )


def nuclear_mask(rgb: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Mark what looks like nuclei: (height, width) bool; None where the window is not usable."""
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    density = -np.log10((rgb[..., 0].astype(np.float32) + 1) / 256)
    density = ndimage.gaussian_filter(density, 1.0)
    if np.ptp(density) == 0:
        return None
    mask = np.asarray(density > threshold_otsu(density), dtype=bool)
    share = float(mask.mean())
    if not NUCLEAR_SHARE[0] <= share <= NUCLEAR_SHARE[1]:
        return None
    contrast = float(density[mask].mean() - density[~mask].mean())
    return mask if contrast >= LEAST_CONTRAST else None


def median_width_px(masks: list[NDArray[np.bool_]]) -> float | None:
    """Median over area of the local width, in px; None without any area.

    The area that an opening with a disc of radius r takes away is where the width is below 2 r.
    """
    from scipy import ndimage

    radii = np.geomspace(1.0, LARGEST_DISC_PX, round(np.log(LARGEST_DISC_PX) / np.log(DISC_RATIO)))
    left = np.zeros(len(radii) + 1)
    for mask in masks:
        distance = ndimage.distance_transform_edt(mask)
        left[0] += mask.sum()
        for number, radius in enumerate(radii, start=1):
            core = distance >= radius
            if not core.any():
                break
            left[number] += (ndimage.distance_transform_edt(~core) < radius).sum()
    if left[0] == 0:
        return None
    lost = 1 - left / left[0]
    return float(2 * np.interp(0.5, lost, [0.0, *radii]))


def _windows(slide: Slide) -> list[NDArray[np.uint8]]:
    """Read places at level 0 whose density is that of average tissue, apart from each other.

    The darkest places would be those where nuclei lie on top of each other, ink and folds.
    """
    coarsest = slide.levels[-1]
    red = np.asarray(coarsest.pixels[..., 0].compute(), dtype=np.float32)
    side = max(1, min(round(WINDOW_PX / coarsest.downsample), *red.shape))
    oddness = _distance_from_average_tissue(red, side)
    found = []
    for _ in range(N_WINDOWS):
        y, x = np.unravel_index(int(oddness.argmin()), oddness.shape)
        if not np.isfinite(oddness[y, x]):
            break
        left, top = (round(float(n) * coarsest.downsample) - WINDOW_PX // 2 for n in (x, y))
        found.append(slide.read_region(left, top, 0, SizePx(WINDOW_PX, WINDOW_PX)))
        oddness[max(0, y - side) : y + side, max(0, x - side) : x + side] = np.inf
    return found


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
