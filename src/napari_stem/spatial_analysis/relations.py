"""How domains lie to each other: neighbourhood enrichment and co-occurrence, by squidpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.spatial_analysis.autocorrelation import squidpy_without_chatter
from napari_stem.spatial_analysis.domains import Relations

if TYPE_CHECKING:
    import anndata
    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp, Spots

N_SHUFFLES = 1000
N_DISTANCES = 20
MOST_SPOTS = 3000  # in co-occurrence: squidpy holds a count per spot, distance and pair of domains
SEED = 0


def relate(spots: Spots, labels: NDArray[np.int64], mpp: Mpp) -> Relations | None:
    """Neighbourhood enrichment and co-occurrence of domains.

    Parameters
    ----------
    spots
        Where they lie.
    labels
        (n,) int64 from 0.
    mpp
        The slide's pixel size.

    Returns
    -------
    None where there is a single domain, which has no neighbours.
    """
    if labels.max() < 1:
        return None
    table = _table(spots, labels, mpp)
    occurrence, radii_um = _co_occurrence(table, spots.pitch_um)
    return Relations(_enrichment(table, spots), occurrence, radii_um)


def _table(spots: Spots, labels: NDArray[np.int64], mpp: Mpp) -> anndata.AnnData:
    import anndata
    import pandas as pd

    xy_um = np.column_stack([spots.x_px * mpp.x_um, spots.y_px * mpp.y_um])
    obs = pd.DataFrame({"domain": pd.Categorical(labels)}, index=list(spots.names))
    return anndata.AnnData(obs=obs, obsm={"spatial": xy_um})


def _enrichment(table: anndata.AnnData, spots: Spots) -> NDArray[np.float64]:
    from napari_stem.spatial_analysis.autocorrelation import neighbour_graph

    sq = squidpy_without_chatter()
    table.obsp["spatial_connectivities"] = neighbour_graph(spots)
    with np.errstate(divide="ignore", invalid="ignore"):  # pairs that no shuffle lets vary
        found = sq.gr.nhood_enrichment(
            table,
            "domain",
            n_perms=N_SHUFFLES,
            seed=SEED,
            copy=True,
            n_jobs=1,
            show_progress_bar=False,
        )
    z = np.asarray(found.zscore, dtype=np.float64)
    return np.where(np.isfinite(z), z, np.nan)


def _co_occurrence(
    table: anndata.AnnData, pitch_um: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Within radii up to half of the shorter side; of some spots, evenly drawn, where they are many."""
    sq = squidpy_without_chatter()
    if table.n_obs > MOST_SPOTS:
        chosen = np.random.default_rng(SEED).permutation(table.n_obs)[:MOST_SPOTS]
        table = table[np.sort(chosen)].copy()
    sides_um = np.ptp(table.obsm["spatial"], axis=0)
    furthest_um = max(float(sides_um.min()) / 2, 3 * pitch_um)
    n = int(min(N_DISTANCES, np.ceil(furthest_um / pitch_um)))
    # half a pitch off, so that no distance of the lattice lies on an edge; squidpy skips the first
    radii_um = np.linspace(0.5 * pitch_um, furthest_um + 0.5 * pitch_um, n + 1)
    found, _ = sq.gr.co_occurrence(table, "domain", interval=radii_um, copy=True)
    return np.asarray(found, dtype=np.float64), radii_um[1:]
