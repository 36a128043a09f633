"""Which spots lie side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.spatial_analysis.quiet import squidpy_without_chatter

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from napari_stem.geometry import Spots

N_NEIGHBOURS_OTHER = 6
SQUARENESS = 0.1  # how far rows and columns may be from equal steps at right angles


def neighbour_graph(spots: Spots) -> csr_matrix:
    """Graph of neighbouring spots, by squidpy.

    Neighbours are the four beside a spot on a square lattice, else the six nearest.

    Returns
    -------
    (n, n) CSR of zeros and ones; a spot without neighbours has an empty row.
    """
    import anndata

    sq = squidpy_without_chatter()
    table = anndata.AnnData(obsm={"spatial": np.column_stack([spots.x_px, spots.y_px])})
    if is_square(spots):
        # in steps of the lattice, where neighbours lie exactly one apart
        table.obsm["spatial"] = np.column_stack([spots.array_col, spots.array_row]).astype(float)
        sq.gr.spatial_neighbors_radius(table, radius=1.01)
    else:
        sq.gr.spatial_neighbors_knn(table, n_neighs=min(N_NEIGHBOURS_OTHER, len(spots) - 1))
    return table.obsp["spatial_connectivities"]


def is_square(spots: Spots) -> bool:
    """Whether rows and columns of the lattice are equally far apart and at right angles."""
    design = np.column_stack([spots.array_col, spots.array_row, np.ones(len(spots))])
    fit_x, *_ = np.linalg.lstsq(design, spots.x_px, rcond=None)
    fit_y, *_ = np.linalg.lstsq(design, spots.y_px, rcond=None)
    col_step, row_step = (fit_x[0], fit_y[0]), (fit_x[1], fit_y[1])
    lengths = float(np.hypot(*col_step)), float(np.hypot(*row_step))
    slant = abs(col_step[0] * row_step[0] + col_step[1] * row_step[1])
    return (
        min(lengths) > 0
        and abs(lengths[0] / lengths[1] - 1) < SQUARENESS
        and slant < SQUARENESS * lengths[0] * lengths[1]
    )
