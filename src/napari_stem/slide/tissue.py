"""Where the tissue is, seen on a thumbnail.

Stained tissue is rough: nuclei, fibres and lumens vary within micrometres. Glass is smooth, be it
white, grey or shaded, and so are a halo of washed-out eosin and the printed dots of an array. The
mask is therefore made from local contrast in optical density, which neither the ground's colour nor
a slow gradient changes; density itself only decides what becomes of smooth patches in the tissue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import RegionError
from napari_stem.geometry import Region

if TYPE_CHECKING:
    import shapely
    from numpy.typing import NDArray

    from napari_stem.slide.base import Slide

THUMBNAIL_PX = 1024
WINDOW_PX = 2.0  # standard deviation of the window in which contrast is measured
# Contrast in optical density (decadic) between glass and tissue. HER2ST: glass .001 to .003, every
# spot under tissue above .05. Otsu's threshold is held within these limits, so that a blank slide
# has no tissue and a slide that is all tissue has no glass.
CONTRAST_LIMITS = (0.015, 0.04)
GAP_PX = 4  # tears and lumens narrower than twice this belong to the tissue
SPECK_PX = 4  # dust, scratches and printed edges narrower than twice this do not
HOLE_FRACTION = 5e-4  # of the slide: smaller holes are filled
STAINED = 0.5  # a smooth hole is tissue too if it is at least this dense, relative to the tissue
MIN_AREA_FRACTION = 5e-4  # of the slide: least area of a region where the pixel size is unknown


@dataclass(frozen=True)
class TissueMask:
    """Tissue on a thumbnail.

    Attributes
    ----------
    mask
        (height, width) bool; True on tissue.
    downsample
        Level-0 pixels per pixel of the mask.
    """

    mask: NDArray[np.bool_]
    downsample: float


def tissue_mask(slide: Slide) -> TissueMask:
    """Find the tissue of a slide, on the level whose longer side is nearest to 1024 px.

    Raises
    ------
    RegionError
        There is none.
    SlideError
        The slide is damaged.
    """
    sides = [max(level.size.height_px, level.size.width_px) for level in slide.levels]
    index = int(np.argmin(np.abs(np.log(np.array(sides) / THUMBNAIL_PX))))
    level = slide.levels[index]
    mask = mask_of_thumbnail(slide.read_region(0, 0, index, level.size))
    if not mask.any():
        msg = _no_tissue(slide)
        raise RegionError(msg)
    return TissueMask(mask, level.downsample)


def tissue_regions(slide: Slide, min_area_mm2: float = 0.05) -> list[Region]:
    """Outline the tissue of a slide, largest piece first.

    Parameters
    ----------
    slide
        Where its pixel size is unknown, pieces below a fraction of its area are left out instead.
    min_area_mm2
        Smaller pieces are left out.

    Returns
    -------
    Regions named "tissue 1" and so on, with holes, in level-0 px.

    Raises
    ------
    RegionError
        There is no tissue, or no piece is large enough.
    SlideError
        The slide is damaged.
    """
    import shapely

    found = tissue_mask(slide)
    if slide.mpp is None:
        min_area_px = MIN_AREA_FRACTION * slide.size.height_px * slide.size.width_px
    else:
        min_area_px = min_area_mm2 * 1e6 / (slide.mpp.y_um * slide.mpp.x_um)
    extent = shapely.box(0, 0, slide.size.width_px, slide.size.height_px)
    outline = shapely.intersection(_outline(found), extent)
    pieces = [p for p in shapely.get_parts(outline) if p.area >= min_area_px]
    if not pieces:
        msg = _no_tissue(slide)
        raise RegionError(msg)
    pieces.sort(key=lambda piece: -piece.area)
    return [Region(piece, f"tissue {n}") for n, piece in enumerate(pieces, start=1)]


def mask_of_thumbnail(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mark the tissue on a thumbnail.

    Parameters
    ----------
    rgb
        (height, width, 3) uint8, a few micrometres per pixel.

    Returns
    -------
    (height, width) bool; all False where there is no tissue.
    """
    density = _optical_density(rgb)
    contrast = _local_contrast(density)
    rough = contrast > _threshold(contrast)
    # the window reaches about its own width over the edge of the tissue
    rough = _eroded(rough, round(WINDOW_PX))
    rough = _dilated(rough, GAP_PX)
    rough = _eroded(rough, GAP_PX)
    rough = _dilated(_eroded(rough, SPECK_PX), SPECK_PX)
    return _fill_holes(rough, density)


def _optical_density(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the decadic optical density, mean of the channels: (height, width)."""
    return np.asarray(-np.log10((rgb.astype(np.float32) + 1) / 256).mean(axis=2), dtype=np.float32)


def _local_contrast(density: NDArray[np.float32]) -> NDArray[np.float32]:
    """Measure the standard deviation of the density in a Gaussian window: (height, width)."""
    from scipy import ndimage

    mean = ndimage.gaussian_filter(density, WINDOW_PX)
    square = ndimage.gaussian_filter(density * density, WINDOW_PX)
    return np.asarray(np.sqrt(np.maximum(square - mean * mean, 0)), dtype=np.float32)


def _threshold(contrast: NDArray[np.float32]) -> float:
    from skimage.filters import threshold_otsu

    logarithm = np.log10(np.maximum(contrast, 1e-4))
    if np.ptp(logarithm) == 0:
        return CONTRAST_LIMITS[0]
    return float(np.clip(10 ** threshold_otsu(logarithm), *CONTRAST_LIMITS))


def _fill_holes(mask: NDArray[np.bool_], density: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Fill small holes, and those as dense as the tissue: stroma or blood, not fat or lumen."""
    from scipy import ndimage

    closed = ndimage.binary_fill_holes(mask)
    holes, n_holes = ndimage.label(closed & ~mask)
    if n_holes == 0:
        return mask
    glass = float(np.median(density[~closed])) if not closed.all() else 0.0
    tissue = float(np.median(density[mask]))
    numbers = np.arange(1, n_holes + 1)
    stained = ndimage.mean(density, holes, numbers) - glass > STAINED * (tissue - glass)
    small = np.bincount(holes.ravel())[1:] <= HOLE_FRACTION * mask.size
    return np.asarray(mask | np.isin(holes, numbers[stained | small]), dtype=bool)


def _dilated(mask: NDArray[np.bool_], radius_px: int) -> NDArray[np.bool_]:
    """Grow by a disc, through distances (cost does not rise with the radius)."""
    from scipy import ndimage

    return np.asarray(ndimage.distance_transform_edt(~mask) <= radius_px) if mask.any() else mask


def _eroded(mask: NDArray[np.bool_], radius_px: int) -> NDArray[np.bool_]:
    """Shrink by a disc; the slide's border does not count as an edge."""
    from scipy import ndimage

    if mask.all():
        return mask
    return np.asarray(ndimage.distance_transform_edt(mask) > radius_px)


def _outline(found: TissueMask) -> shapely.Polygon | shapely.MultiPolygon:
    """Outline the True pixels, with holes, in level-0 px, simplified to a mask's pixel."""
    import shapely
    from skimage.measure import find_contours

    # A margin of one pixel closes outlines at the slide's border: + 0.5 for centres - 1 for margin
    contours = find_contours(np.pad(found.mask, 1).astype(np.float32), 0.5)
    rings = [(contour[:, ::-1] - 0.5) * found.downsample for contour in contours]
    area = shapely.build_area(
        shapely.GeometryCollection([shapely.LinearRing(ring) for ring in rings])
    )
    return shapely.make_valid(shapely.simplify(area, found.downsample))


def _no_tissue(slide: Slide) -> str:
    return (
        f"No tissue was found on {slide.path.name}; draw the region by hand, or check that the "
        f"slide is a stained section in focus."
    )
