"""Spots on their array; and the pixel size from them: the pitch is known, their distance in px is seen.

Scale factors, tags and metadata can be of another image than the one at hand; the spots cannot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.geometry import Mpp, Spots

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


HEXAGONAL_ROW = np.sqrt(3) / 2  # distance of two rows, in pitches
# Median distance of spots from their nodes, in pitches, beyond which it is another lattice. The
# spots of hand-made arrays stray by up to a third of a step, one by one.
_MISFIT = 0.25


@dataclass(frozen=True)
class LatticeFit:
    """How a lattice lies on the image.

    ``mpp_um`` is um per px, the mean of both axes; ``per_axis`` the same along each axis of the lattice
    (``x``: columns, ``y``: rows); ``misfit`` the median distance between a spot and its node, in pitches.
    """

    mpp_um: float
    per_axis: dict[str, float]
    misfit: float


def fit_lattice(
    array_row: NDArray[np.int64],
    array_col: NDArray[np.int64],
    xy_px: NDArray[np.float64],
    pitch_um: float,
    *,
    hexagonal: bool,
) -> LatticeFit | None:
    """Lay a lattice of known pitch on spots, allowing for any rotation.

    Nodes are (n,) rows and columns; on a hexagonal lattice (Visium), whose rows are shifted by half a pitch,
    neighbours of a row are two columns apart. ``xy_px`` are (n, 2) centres, level-0 px. None where the spots
    are fewer than three or lie on one line.
    """
    step_um = (
        (pitch_um / 2, pitch_um * HEXAGONAL_ROW)
        if hexagonal
        else (float(pitch_um), float(pitch_um))
    )
    nodes_um = np.column_stack([array_col * step_um[0], array_row * step_um[1]])
    design = np.column_stack([nodes_um, np.ones(len(nodes_um))])
    if np.linalg.matrix_rank(design) < 3:
        return None
    solution, *_ = np.linalg.lstsq(design, xy_px, rcond=None)
    px_per_um = np.linalg.norm(solution[:2], axis=1)
    area = abs(float(np.linalg.det(solution[:2])))
    if area == 0:
        return None
    mpp_um = 1 / np.sqrt(area)
    stray_um = np.linalg.norm(design @ solution - xy_px, axis=1) * mpp_um
    return LatticeFit(
        mpp_um=float(mpp_um),
        per_axis={"x": float(1 / px_per_um[0]), "y": float(1 / px_per_um[1])},
        misfit=float(np.median(stray_um)) / pitch_um,
    )


def array_positions(obs: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Rows and columns of the spots where a table states them in whole numbers."""
    if not {"array_row", "array_col"} <= set(obs.columns):
        return None
    try:
        row, col = (obs[name].to_numpy(np.float64) for name in ("array_row", "array_col"))
    except (TypeError, ValueError):
        return None
    if not (np.isfinite(row).all() and np.isfinite(col).all()):
        return None
    return row.astype(np.int64), col.astype(np.int64)


def mpp_from_spacing_um(
    obs: pd.DataFrame, xy_px: NDArray[np.float64], pitch_um: float
) -> float | None:
    """Pixel size (um per px) at which the spots have their pitch; None for fewer than two with a position.

    From the lattice positions where the table has them and they fit, else from the median distance
    of nearest neighbours, which is a few percent too large a pixel where spots stray.
    """
    finite = np.isfinite(xy_px).all(axis=1)
    obs, xy_px = obs[finite], xy_px[finite]
    nodes = array_positions(obs)
    if nodes is not None:
        row, col = nodes
        # Only on a hexagonal lattice are all spots of one colour of the chessboard.
        hexagonal = len(np.unique((row + col) % 2)) == 1
        fit = fit_lattice(row, col, xy_px, pitch_um, hexagonal=hexagonal)
        if fit is not None and fit.misfit < _MISFIT:
            return fit.mpp_um
    nearest_px = nearest_distance_px(xy_px)
    return None if not nearest_px else pitch_um / nearest_px


def nearest_distance_px(xy_px: NDArray[np.float64]) -> float | None:
    """Median distance of a spot from its nearest neighbour; None for fewer than two spots."""
    from scipy.spatial import KDTree

    if len(xy_px) < 2:
        return None
    return float(np.median(KDTree(xy_px).query(xy_px, k=2)[0][:, 1]))


def spots_at(
    xy_px: NDArray[np.float64],
    names: Sequence[str],
    mpp: Mpp,
    *,
    pitch_um: float,
    diameter_um: float,
    obs: pd.DataFrame | None = None,
) -> Spots:
    """Spots at given places, (n, 2) centres (x, y) in level-0 px.

    ``obs`` may state lattice positions (`array_positions`); else each takes the nearest node of a square
    lattice at the pitch.
    """
    nodes = None if obs is None else array_positions(obs)
    if nodes is None:
        step_px = pitch_um / np.array([mpp.x_um, mpp.y_um])
        steps = np.rint((xy_px - xy_px.min(axis=0)) / step_px).astype(np.int64)
        nodes = steps[:, 1], steps[:, 0]
    return Spots(
        x_px=xy_px[:, 0],
        y_px=xy_px[:, 1],
        array_row=nodes[0],
        array_col=nodes[1],
        pitch_um=pitch_um,
        diameter_um=diameter_um,
        names=tuple(str(name) for name in names),
        mpp=mpp,
    )


def stated_diameter_px(uns: Mapping[str, Any]) -> float | None:
    """Diameter of spots, level-0 px, as scanpy and squidpy keep it in ``uns``; None where it is not."""
    libraries = uns.get("spatial")
    for library in libraries.values() if isinstance(libraries, Mapping) else ():
        scales = library.get("scalefactors") if isinstance(library, Mapping) else None
        if not isinstance(scales, Mapping):  # spatialdata keeps a flag beside the libraries
            continue
        try:
            diameter_px = float(scales["spot_diameter_fullres"])
        except (LookupError, TypeError, ValueError):
            continue
        if np.isfinite(diameter_px) and diameter_px > 0:
            return diameter_px
    return None
