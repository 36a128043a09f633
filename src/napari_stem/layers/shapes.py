"""Drawn shapes and areas, as a shapes layer holds them."""

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


def without_holes(area: shapely.Polygon | shapely.MultiPolygon) -> list[shapely.Polygon]:
    """Cut an area into polygons without holes, which is all that a shapes layer can show.

    Every polygon with a hole is cut in two along a line through that hole; together the pieces cover
    exactly the area.
    """
    import shapely

    pieces: list[shapely.Polygon] = []
    waiting = [p for p in shapely.get_parts(area) if p.geom_type == "Polygon"]
    while waiting:
        polygon = waiting.pop()
        if not polygon.interiors:
            pieces.append(polygon)
            continue
        left, low, right, high = polygon.bounds
        cut_x = shapely.Polygon(polygon.interiors[0]).representative_point().x
        for half in (shapely.box(left, low, cut_x, high), shapely.box(cut_x, low, right, high)):
            parts = shapely.get_parts(shapely.intersection(polygon, half))
            waiting += [p for p in parts if p.geom_type == "Polygon" and p.area > 0]
    return pieces
