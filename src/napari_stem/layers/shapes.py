"""Drawn shapes, as a shapes layer holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import shapely
    from numpy.typing import ArrayLike, NDArray

ELLIPSE_CORNERS = 64


def outline(vertices: ArrayLike, shape_type: str) -> NDArray[np.float64] | None:
    """Corners of a drawn shape, in the order in which they are joined.

    Parameters
    ----------
    vertices
        (n, 2) float, as a shapes layer stores them: four corners of the box for an ellipse.
    shape_type
        napari's name of the kind of shape.

    Returns
    -------
    (m, 2) float64 in the same coordinates, or None for lines and paths, which enclose nothing.
    """
    corners = np.asarray(vertices, dtype=np.float64)
    if shape_type in {"polygon", "rectangle"}:
        return corners
    if shape_type != "ellipse":
        return None
    centre = corners.mean(axis=0)
    first, second = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angle = np.linspace(0, 2 * np.pi, ELLIPSE_CORNERS, endpoint=False)[:, np.newaxis]
    return np.asarray(centre + np.cos(angle) * first + np.sin(angle) * second)


def one_ring(polygon: shapely.Polygon) -> NDArray[np.float64]:
    """Outline with holes as one ring, which is all that a shape can hold: (n, 2), not closed.

    A bridge of no width leads to each hole and back. By the even-odd rule, which `shapely.make_valid`
    and napari follow, the ring encloses exactly the polygon.
    """
    ring = np.asarray(polygon.exterior.coords)[:-1, :2]
    for interior in polygon.interiors:
        hole = np.asarray(interior.coords)[:-1, :2]
        distance = np.linalg.norm(ring[:, np.newaxis] - hole[np.newaxis], axis=-1)
        here, there = np.unravel_index(int(np.argmin(distance)), distance.shape)
        loop = np.roll(hole, -int(there), axis=0)
        ring = np.concatenate([ring[: here + 1], loop, loop[:1], ring[here:]])
    return ring
