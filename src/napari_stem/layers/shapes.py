"""Drawn shapes, as a shapes layer holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
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
