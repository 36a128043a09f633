"""Masks grown, shrunk and outlined."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import shapely
    from numpy.typing import NDArray


def dilated(mask: NDArray[np.bool_], radius_px: float) -> NDArray[np.bool_]:
    """Grow by a disc, through distances (cost does not rise with the radius)."""
    from scipy import ndimage

    return np.asarray(ndimage.distance_transform_edt(~mask) <= radius_px) if mask.any() else mask


def eroded(mask: NDArray[np.bool_], radius_px: float) -> NDArray[np.bool_]:
    """Shrink by a disc; the slide's border does not count as an edge."""
    from scipy import ndimage

    if mask.all():
        return mask
    return np.asarray(ndimage.distance_transform_edt(mask) > radius_px)


def outline_of(
    mask: NDArray[np.bool_], downsample: float
) -> shapely.Polygon | shapely.MultiPolygon:
    """Outline the True pixels, with holes, in level-0 px, simplified to a mask's pixel."""
    import shapely
    from skimage.measure import find_contours

    # A margin of one pixel closes outlines at the slide's border: + 0.5 for centres - 1 for margin
    contours = find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
    rings = [(contour[:, ::-1] - 0.5) * downsample for contour in contours]
    area = shapely.build_area(
        shapely.GeometryCollection([shapely.LinearRing(ring) for ring in rings])
    )
    return shapely.make_valid(shapely.simplify(area, downsample))
