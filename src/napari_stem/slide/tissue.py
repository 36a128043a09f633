"""Where the tissue is, seen on a thumbnail.

Stained tissue is rough: nuclei, fibres and lumens vary within micrometres. Glass is smooth, be it
white, grey or shaded, and so are a halo of washed-out eosin and the printed dots of an array. The
mask is therefore made from local contrast in optical density, which neither the ground's colour nor
a slow gradient changes; density itself only decides what becomes of smooth patches in the tissue.
Pen marks are told by their colour and left out, as if nothing were to be seen there.

Where hardly anything looks like glass (a crop, the inside of a core), a threshold would part stroma from
nuclei instead: all of the picture is tissue then, and ink is told against white. Measured on squares of 500
to 2500 px from HER2ST C2 to C5, at full resolution and averaged to an eighth: of 80 squares without glass
at most 7% looks like it, of whole slides at least 48%, be they stained 0.15 to 2 times as much, shaded,
tinted or noisy. White lumens and fat look like glass, and a glass corner of 1 to 3% is no more than smooth
stroma: what is between is left to the threshold, and `FoundTissue.note` tells where much was left out that
looks stained.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import shapely
from zict import LRU

from napari_stem.errors import RegionError
from napari_stem.geometry import Region, Spots
from napari_stem.settings import TissueSettings
from napari_stem.slide.pen_marks import dilated, eroded, mean_of_channels, pen_marks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.slide.base import Slide

THUMBNAIL_PX = 1024
WINDOW_PX = 2.0  # standard deviation of the window in which contrast is measured
# Contrast in optical density (decadic) between glass and tissue. HER2ST: glass .001 to .003, every
# spot under tissue above .05. Otsu's threshold is held within these limits, so that a blank slide
# has no tissue and a slide that is all tissue has no glass. A faint stain needs the lower limit to
# follow the noise: it is so many times the noise, between the two values of LEAST_CONTRAST.
MOST_CONTRAST = 0.04
LEAST_CONTRAST = (0.004, 0.015)
OVER_NOISE = 6.0
SENSITIVITY_RANGE = 4.0  # times the threshold at sensitivity 0, and one such part of it at 100
GAP_PX = 4  # tears and lumens narrower than twice this belong to the tissue
SPECK_PX = 4  # dust, scratches and printed edges narrower than twice this do not
HOLE_FRACTION = 5e-4  # of the slide: smaller holes are filled
STAINED = 0.5  # a smooth hole is tissue too if it is at least this dense, relative to the tissue
MIN_AREA_FRACTION = 5e-4  # of the slide: least area of a region where the pixel size is unknown
UNSEEN = 0.05  # share of a window that must be free of ink for its contrast to count
LEAST_TISSUE = 0.1  # of a spot that does not lie on bare glass
MOST_POINTS = 400  # along a side of the lattice on which a region is looked at
MOST_VIEWS = 4  # slides whose thumbnails are kept, about 13 MB each
GLASS_SMOOTHING_PX = 1.0  # noise averages out
GLASS_CONTRAST = 0.004  # smoother than this is glass, whatever its colour
GLASS_HUE = 0.02  # green - (red + blue) / 2 in optical density: both stains absorb green
SOME_GLASS = 0.04  # of the picture: with less that looks like glass, there is none
LITTLE_GLASS = 0.2  # of the picture: with less, what was left out is looked at again
STAINED_LEFT_OUT = 0.1  # of the picture, at least, where this is told
MARKS_TOLD_MM2 = 0.005  # less ink is a speck of margin dye or dust


@dataclass(frozen=True)
class TissueView:
    """What a thumbnail tells of the tissue, whatever the settings; made once per slide."""

    # (height, width) float32: decadic optical density above the glass, its local mean and its local standard
    # deviation
    density: NDArray[np.float32]
    smooth: NDArray[np.float32]
    contrast: NDArray[np.float32]
    marks: NDArray[np.bool_]  # (height, width) bool: pen marks
    # (height, width) bool: what looks like glass; white lumens and fat do
    glassy: NDArray[np.bool_]
    threshold: float  # contrast from which on there is tissue, at medium sensitivity
    downsample: float = 1.0  # level-0 pixels per pixel of the thumbnail

    @classmethod
    def of_thumbnail(cls, rgb: NDArray[np.uint8], downsample: float = 1.0) -> TissueView:
        """Look at a (height, width, 3) uint8 thumbnail of a few micrometres per pixel."""
        from scipy import ndimage

        seen = optical_density(rgb)
        over = above_glass(seen)
        glassy = _glassy(seen)
        marks = pen_marks(over)
        glassy &= ~marks
        if glassy.mean() < SOME_GLASS:  # over pale tissue, dense nuclei have the colour of ink
            marks = pen_marks(seen)
        # of the density itself: a fitted surface may not follow every shade of the glass
        contrast = _local_contrast(mean_of_channels(seen), marks)
        density = mean_of_channels(over)
        smooth = ndimage.gaussian_filter(density, WINDOW_PX)
        threshold = _threshold(contrast[~marks])
        return cls(density, smooth, contrast, marks, glassy, threshold, downsample)

    @cached_property
    def has_glass(self) -> bool:
        """Whether there is glass in the picture; where not, all of it but pen marks is tissue."""
        return bool(self.glassy.mean() >= SOME_GLASS)

    @cached_property
    def stained_left_out(self) -> float:
        """Share of the picture that `usual_mask` leaves out though it does not look like glass, 0 to 1.

        0 where there is enough glass to tell tissue from it.
        """
        if self.glassy.mean() >= LITTLE_GLASS:
            return 0.0
        return float((~self.usual_mask & ~self.glassy).mean())

    @cached_property
    def usual_mask(self) -> NDArray[np.bool_]:
        """The `mask` of medium sensitivity."""
        return self.mask()

    def mask(self, sensitivity: int = TissueSettings.sensitivity) -> NDArray[np.bool_]:
        """(height, width) bool, True on tissue; all False where there is none."""
        if not self.has_glass:
            return ~self.marks
        rough = self.contrast > self.threshold * SENSITIVITY_RANGE ** ((50 - sensitivity) / 50)
        # the window reaches about its own width over the edge of the tissue
        rough = eroded(rough, round(WINDOW_PX))
        rough = dilated(rough, GAP_PX)
        rough = eroded(rough, GAP_PX)
        rough = dilated(eroded(rough, SPECK_PX), SPECK_PX)
        rough &= ~self.marks
        if not rough.any():
            return rough
        mask = _with_smooth_parts(rough, self.density, self.smooth)
        return np.asarray(_fill_holes(mask, self.density) & ~self.marks, dtype=bool)


def view_of(slide: Slide) -> TissueView:
    """Look at the level whose longer side is nearest to 1024 px, once, however often the slide is opened.

    SlideError where it is damaged.
    """
    with _looking:
        if slide.fingerprint not in _views:
            sides = [max(level.size.height_px, level.size.width_px) for level in slide.levels]
            number = int(np.argmin(np.abs(np.log(np.array(sides) / THUMBNAIL_PX))))
            level = slide.levels[number]
            _views[slide.fingerprint] = TissueView.of_thumbnail(level.whole(), level.downsample)
        return _views[slide.fingerprint]


_views: LRU[str, TissueView] = LRU(MOST_VIEWS, {})  # by fingerprint
_looking = Lock()


@dataclass(frozen=True)
class FoundTissue:
    """The tissue of a slide.

    ``regions`` are named "tissue 1" and so on, largest first, with holes, in level-0 px. ``marks_mm2`` is the
    area of the pen marks that were left out; None where the pixel size is unknown.
    """

    regions: list[Region]
    marks_mm2: float | None
    view: TissueView  # in which they were found

    @property
    def note(self) -> str:
        """What was left out, and where glass could not be told; empty where there is nothing to say."""
        said, view = [], self.view
        if not view.has_glass:
            said.append("There is no glass in this image: all of it is taken as tissue.")
        if self.marks_mm2 is not None and self.marks_mm2 >= MARKS_TOLD_MM2:
            said.append(f"Pen marks were left out ({self.marks_mm2:.2f} mm2).")
        if view.has_glass and view.stained_left_out > STAINED_LEFT_OUT:
            said.append(
                f"There is little glass in this image, and {view.stained_left_out:.0%} of it was left out "
                f"though it looks stained: if that is tissue, draw the region by hand, or take the whole "
                f"slide (--all on the command line)."
            )
        return " ".join(said)


def find_tissue(slide: Slide, settings: TissueSettings | None = None) -> FoundTissue:
    """Outline the tissue of a slide.

    Where its pixel size is unknown, pieces below a fraction of its area are left out. ``settings`` say how
    sensitively to look; the defaults suit most slides.

    RegionError: there is no tissue, or no piece is large enough. SlideError: the slide is damaged.
    """
    settings, view = settings or TissueSettings(), view_of(slide)
    mm2_per_px = None if slide.mpp is None else slide.mpp.y_um * slide.mpp.x_um / 1e6
    if mm2_per_px is None:
        min_area_px = MIN_AREA_FRACTION * slide.size.height_px * slide.size.width_px
    else:
        min_area_px = settings.min_area_mm2 / mm2_per_px
    extent = shapely.box(0, 0, slide.size.width_px, slide.size.height_px)
    outline = shapely.intersection(
        _outline(view.mask(settings.sensitivity), view.downsample), extent
    )
    every = [part for part in shapely.get_parts(outline) if part.geom_type == "Polygon"]
    pieces = sorted((p for p in every if p.area >= min_area_px), key=lambda p: -p.area)
    if not pieces and (mm2_per_px is None or not every):
        raise RegionError(
            f"No tissue was found on {slide.name}; draw the region by hand, look more sensitively, "
            f"or check that the slide is a stained section in focus."
        )
    if not pieces:
        raise RegionError(
            f"The largest piece of tissue on {slide.name} has "
            f"{max(p.area for p in every) * mm2_per_px:.2g} mm2; "
            f"keep pieces below {settings.min_area_mm2:.3g} mm2 too, or draw the region by hand."
        )
    marks_px = float(view.marks.sum()) * view.downsample**2
    return FoundTissue(
        [Region(piece, f"tissue {n}") for n, piece in enumerate(pieces, start=1)],
        None if mm2_per_px is None else marks_px * mm2_per_px,
        view,
    )


def glass_share(slide: Slide, regions: Sequence[Region]) -> float:
    """Share of the regions' area without tissue, 0 to 1; pen marks count as glass."""
    view, area = view_of(slide), shapely.union_all([region.polygon for region in regions])
    mask = view.usual_mask
    axes = (
        np.unique(np.linspace(low, high, MOST_POINTS).astype(np.int64).clip(0, n - 1))
        for low, high, n in zip(
            *np.array(area.bounds).reshape(2, 2) / view.downsample, mask.shape[::-1], strict=True
        )
    )
    col, row = (a.ravel() for a in np.meshgrid(*axes))
    shapely.prepare(area)
    held = shapely.contains_xy(area, (col + 0.5) * view.downsample, (row + 0.5) * view.downsample)
    return float(1 - mask[row[held], col[held]].mean()) if held.any() else 0.0


def on_glass(slide: Slide, spots: Spots) -> NDArray[np.bool_]:
    """Which spots, as squares of their diameter, hold hardly any tissue: (n,) bool."""
    view, mpp = view_of(slide), slide.require_mpp()
    mask = view.usual_mask
    # tissue above and left of each corner
    held = np.pad(mask.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    ends = []
    for centre_px, um, n in (
        (spots.y_px, mpp.y_um, mask.shape[0]),
        (spots.x_px, mpp.x_um, mask.shape[1]),
    ):
        half_px = spots.diameter_um / um / 2
        low = np.floor((centre_px - half_px) / view.downsample).astype(np.int64).clip(0, n - 1)
        high = np.ceil((centre_px + half_px) / view.downsample).astype(np.int64).clip(1, n)
        ends.append((low, high))
    (top, bottom), (left, right) = ends
    tissue = held[bottom, right] - held[top, right] - held[bottom, left] + held[top, left]
    return np.asarray(tissue < LEAST_TISSUE * (bottom - top) * (right - left))


def _glassy(density: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Mark what is smooth, or has not the stains' colour: (height, width) bool.

    ``density`` is the (height, width, 3) optical density, the glass's included.
    """
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(density, (GLASS_SMOOTHING_PX, GLASS_SMOOTHING_PX, 0))
    hue = smooth[..., 1] - (smooth[..., 0] + smooth[..., 2]) / 2
    nowhere = np.zeros(hue.shape, dtype=bool)
    is_even = _local_contrast(mean_of_channels(smooth), nowhere) < GLASS_CONTRAST
    return np.asarray(is_even | (hue < GLASS_HUE), dtype=bool)


def _local_contrast(density: NDArray[np.float32], marks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Measure the standard deviation of the density in a Gaussian window: (height, width).

    Pixels under ink do not count; where little else is in the window, there is no contrast.
    """
    from scipy import ndimage

    seen = (~marks).astype(np.float32)
    share = ndimage.gaussian_filter(seen, WINDOW_PX) if marks.any() else seen
    safe = np.maximum(share, UNSEEN)
    mean = ndimage.gaussian_filter(density * seen, WINDOW_PX) / safe
    square = ndimage.gaussian_filter(density * density * seen, WINDOW_PX) / safe
    square[share < UNSEEN] = 0
    return np.asarray(np.sqrt(np.maximum(square - mean * mean, 0)), dtype=np.float32)


def _threshold(contrast: NDArray[np.float32]) -> float:
    """Otsu's threshold of the logarithm, within limits; the lower one follows the noise.

    The noise is the contrast of the smoothest tenth: glass, wherever a tenth of the slide is that.
    """
    from skimage.filters import threshold_otsu

    logarithm = np.log10(np.maximum(contrast, 1e-4))
    if logarithm.size == 0 or np.ptp(logarithm) == 0:
        return LEAST_CONTRAST[1]
    noise = 10 ** float(np.quantile(logarithm, 0.1))
    least = float(np.clip(OVER_NOISE * noise, *LEAST_CONTRAST))
    return float(np.clip(10 ** threshold_otsu(logarithm), least, MOST_CONTRAST))


def _with_smooth_parts(
    mask: NDArray[np.bool_], density: NDArray[np.float32], smooth: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Add smooth areas as dense as the tissue that hang together with it: muscle, stroma, blood.

    On a coarse thumbnail, where a pixel holds several nuclei, this is most of the tissue.
    """
    from scipy import ndimage

    dense = eroded(smooth > STAINED * float(np.median(density[mask])), 1)
    return np.asarray(ndimage.binary_propagation(mask, mask=mask | dense), dtype=bool)


def _fill_holes(mask: NDArray[np.bool_], density: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Fill small holes: tears and lumens, not fat."""
    from scipy import ndimage

    pieces, n_pieces = ndimage.label(~mask)
    area = np.bincount(pieces.ravel(), minlength=n_pieces + 1)
    total = np.bincount(pieces.ravel(), density.ravel(), minlength=n_pieces + 1)
    stained = total > STAINED * float(np.median(density[mask])) * area
    filled = stained | (area <= HOLE_FRACTION * mask.size)
    for rim in (pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]):
        filled[rim] = False  # open to the slide's border: no hole
    filled[0] = True  # the tissue itself
    return np.asarray(filled[pieces], dtype=bool)


def _outline(mask: NDArray[np.bool_], downsample: float) -> shapely.Polygon | shapely.MultiPolygon:
    """Outline the True pixels, with holes, in level-0 px, simplified to a mask's pixel."""
    from skimage.measure import find_contours

    # A margin of one pixel closes outlines at the slide's border: + 0.5 for centres - 1 for margin
    contours = find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
    rings = [(contour[:, ::-1] - 0.5) * downsample for contour in contours]
    area = shapely.build_area(
        shapely.GeometryCollection([shapely.LinearRing(ring) for ring in rings])
    )
    return shapely.make_valid(shapely.simplify(area, downsample))


STEP_PX = 16  # every so many pixels are looked at
ROUNDS = 6
OUTSIDE = 3.0  # times the spread: denser than this over the surface is not glass
LEAST_OUTSIDE = 0.01  # decadic optical density: scanners' noise
N_TERMS = 6  # 1, x, y, xy, x2, y2


def optical_density(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the decadic optical density of each channel, as far as 8 bits tell: the shape of ``rgb``."""
    table = -np.log10((np.arange(256, dtype=np.float32) + 1) / 256)
    return np.asarray(table[rgb], dtype=np.float32)


def above_glass(density: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take the density of the glass away: (height, width, channels), about 0 on glass.

    The glass is a quadratic surface per channel, fitted again and again to what is not denser than
    the last fit, so that tissue and ink drop out. Where there is no glass, the palest tissue serves.
    """
    height, width = density.shape[:2]
    seen = density[::STEP_PX, ::STEP_PX]
    basis = _terms(*seen.shape[:2]).reshape(-1, N_TERMS)
    seen = seen.reshape(len(basis), -1)
    if len(seen) < 4 * N_TERMS:
        return np.asarray(density - np.median(density, axis=(0, 1)), dtype=np.float32)
    mean = seen.mean(axis=1)
    kept = mean <= np.quantile(mean, 0.5)
    factors = np.zeros((N_TERMS, seen.shape[1]), np.float32)
    for _ in range(ROUNDS):
        factors = np.linalg.lstsq(basis[kept], seen[kept], rcond=None)[0]
        over = (seen - basis @ factors).mean(axis=1)
        spread = float(np.median(np.abs(over[kept])))
        still = over < max(OUTSIDE * spread, LEAST_OUTSIDE)
        if still.sum() < 4 * N_TERMS:
            break
        kept = still
    return np.asarray(density - _terms(height, width) @ factors, dtype=np.float32)


def _terms(height: int, width: int) -> NDArray[np.float32]:
    """Terms of the surface at every pixel: (height, width, 6)."""
    y, x = np.meshgrid(
        np.linspace(-1, 1, height, dtype=np.float32),
        np.linspace(-1, 1, width, dtype=np.float32),
        indexing="ij",
    )
    return np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1)
