"""The shape of a spot on the tissue: a square where spots fill their lattice, else a circle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_stem.geometry import Spots

CIRCLE_CORNERS = 24
FILLED = 0.99  # of the pitch


def are_squares(spots: Spots) -> bool:
    """Whether spots touch, so that squares show them without gaps; measured spots are circles."""
    return spots.diameter_um >= FILLED * spots.pitch_um


def outlines_um(spots: Spots) -> NDArray[np.float64]:
    """Corners of one spot about its centre: (corners, 2) float64, (x, y) in um, not closed."""
    radius_um = spots.diameter_um / 2
    if are_squares(spots):
        return np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * radius_um
    angle = np.linspace(0, 2 * np.pi, CIRCLE_CORNERS, endpoint=False)
    return radius_um * np.column_stack([np.cos(angle), np.sin(angle)])
