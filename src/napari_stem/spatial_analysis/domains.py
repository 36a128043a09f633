"""Domains: groups of spots of like predicted expression, how far single draws agree on them, how they lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import PredictionError
from napari_stem.spatial_analysis.autocorrelation import (
    neighbour_graph,
    require_spots,
    squidpy_without_chatter,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import anndata
    from numpy.typing import NDArray

    from napari_stem.geometry import Spots

    Labels = NDArray[np.int64]

N_COMPONENTS = 30
N_NEIGHBOURS = 15  # in the space of the components
SEED = 0
MARKERS = 3


@dataclass(frozen=True)
class Stability:
    """How far domains found in single draws agree."""

    # adjusted Rand index of every pair of draws: 1 the same domains, 0 no more alike than by chance
    between: tuple[float, ...]
    with_mean: tuple[float, ...]  # the same of every draw with the domains of the mean
    # of each spot: the share of draws that put it into the domain it has in the mean, domains being paired so
    # that most spots agree (on left-out sections this tells where the mean's domains are right)
    support: tuple[float, ...]
    # per domain, the same on average with the draws' domains dealt out to spots at random: what `of_domains`
    # must exceed
    by_chance: tuple[float, ...]

    def of_domains(self, labels: Labels) -> NDArray[np.float64]:
        """(k,) mean support of the spots of each domain."""
        return np.asarray(np.bincount(labels, self.support) / np.bincount(labels))


@dataclass(frozen=True, eq=False)
class Relations:
    """How domains lie to each other."""

    # (k, k) z-score of the number of neighbouring spots of two domains, against shuffled labels
    enrichment: NDArray[np.float64]
    # (k, k, radii): how many times more likely a domain is within a radius of another one than anywhere
    co_occurrence: NDArray[np.float64]
    radii_um: NDArray[np.float64]  # (radii,) ascending


@dataclass(frozen=True, eq=False)
class Domains:
    """Domains of one prediction."""

    spots: tuple[str, ...]  # names of the spots, those done when the domains were found
    labels: Labels  # (n,) int64 from 0, the largest domain first
    names: tuple[str, ...]  # of the domains, as users read and change them
    # per domain the genes most above their mean elsewhere, the first the most
    markers: tuple[tuple[str, ...], ...]
    resolution: float  # of Leiden; larger gives more domains
    # relations, stability: None until computed; stability stays None where no draws were kept
    relations: Relations | None = None
    stability: Stability | None = None

    @property
    def shares(self) -> NDArray[np.float64]:
        """(k,) share of each domain in all spots, and so in the area: spots are of one size."""
        counted = np.bincount(self.labels, minlength=len(self.names))
        return np.asarray(counted / len(self.labels))


def find_domains(
    means: NDArray[np.float32],
    spots: Sequence[str],
    genes: Sequence[str],
    resolution: float,
    may_mark: NDArray[np.bool_] | slice = slice(None),
) -> Domains:
    """Leiden domains of predicted means: principal components, neighbours, communities (scanpy).

    Where a spot lies does not enter: domains that hang together in space do so of themselves.

    Means are (n, genes) float32; ``spots`` and ``genes`` name their rows and columns. A larger ``resolution``
    gives more domains. ``may_mark``, (genes,), says which may be named as markers of a domain.

    PredictionError: there are fewer than ten spots, or they are all alike.
    """
    labels = leiden(means, resolution)
    names = tuple(f"Domain {i + 1}" for i in range(int(labels.max()) + 1))
    told = np.asarray(genes)[may_mark]
    return Domains(
        tuple(spots), labels, names, _markers(means[:, may_mark], labels, told), resolution
    )


def leiden(values: NDArray[np.float32], resolution: float) -> Labels:
    """(n,) domain of every spot, from 0, the largest first; the same values give the same domains.

    PredictionError: there are fewer than ten spots, or they are all alike.
    """
    require_spots(len(values))
    import anndata
    import scanpy as sc

    varying = values[:, np.ptp(values, axis=0) > 0]
    if varying.shape[1] < 2:
        raise PredictionError(
            "Domains need spots that differ in two genes or more; predict a larger region."
        )
    table = anndata.AnnData(X=np.ascontiguousarray(varying, dtype=np.float32))
    n_components = min(N_COMPONENTS, len(values) - 1, varying.shape[1] - 1)
    sc.pp.pca(table, n_comps=n_components, random_state=SEED)
    n_neighbours = min(N_NEIGHBOURS, len(values) - 1)
    sc.pp.neighbors(table, n_neighbors=n_neighbours, use_rep="X_pca", random_state=SEED)
    sc.tl.leiden(
        table,
        resolution=resolution,
        flavor="igraph",
        directed=False,
        n_iterations=-1,
        random_state=SEED,
    )
    return _by_size(table.obs["leiden"].cat.codes.to_numpy())


def _by_size(labels: NDArray[np.integer]) -> Labels:
    order = np.argsort(-np.bincount(labels), kind="stable")
    return np.asarray(np.argsort(order)[labels], dtype=np.int64)


def _markers(
    means: NDArray[np.float32], labels: Labels, genes: NDArray[np.str_]
) -> tuple[tuple[str, ...], ...]:
    """Genes whose mean in a domain is most standard deviations above that elsewhere."""
    spread = means.std(axis=0, dtype=np.float64)
    found: list[tuple[str, ...]] = []
    for domain in range(int(labels.max()) + 1):
        inside = labels == domain
        if inside.all():
            found.append(())
            continue
        above = means[inside].mean(axis=0) - means[~inside].mean(axis=0)
        effect = np.divide(above, spread, out=np.zeros_like(spread), where=spread > 0)
        best = np.argsort(-effect, kind="stable")[:MARKERS]
        found.append(tuple(str(genes[i]) for i in best if effect[i] > 0))
    return tuple(found)


def stability_over(
    draws: NDArray[np.float16],
    labels: Labels,
    resolution: float,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Stability:
    """Find the domains again in single draws, and compare.

    Draws are (n, genes, draws), independent of each other, at least two; labels (n,), the domains of the mean,
    found at the same resolution. ``progress`` is told before every draw the number done and in all.
    """
    from itertools import combinations

    from sklearn.metrics import adjusted_rand_score

    of_draws = []
    for i in range(draws.shape[2]):
        progress(i, draws.shape[2])
        of_draws.append(leiden(draws[:, :, i].astype(np.float32), resolution))
    random = np.random.default_rng(SEED)
    support = np.mean([agrees(labels, drawn) for drawn in of_draws], axis=0)
    chance = np.mean([agrees(labels, random.permutation(d)) for d in of_draws], axis=0)
    return Stability(
        between=tuple(float(adjusted_rand_score(a, b)) for a, b in combinations(of_draws, 2)),
        with_mean=tuple(float(adjusted_rand_score(labels, drawn)) for drawn in of_draws),
        support=tuple(support.tolist()),
        by_chance=tuple((np.bincount(labels, chance) / np.bincount(labels)).tolist()),
    )


def agrees(labels: Labels, drawn: Labels) -> NDArray[np.bool_]:
    """(n,) whether each spot lies in domains that belong together, these being paired so that most do."""
    from scipy.optimize import linear_sum_assignment

    both = np.zeros((int(labels.max()) + 1, int(drawn.max()) + 1))
    np.add.at(both, (labels, drawn), 1)
    pairs = np.full(len(both), -1)
    own, partner = linear_sum_assignment(both, maximize=True)
    pairs[own] = partner
    return np.asarray(pairs[labels] == drawn)


N_SHUFFLES = 1000
N_DISTANCES = 20
MOST_SPOTS = 3000  # in co-occurrence: squidpy holds a count per spot, distance and pair of domains


def relate(spots: Spots, labels: Labels) -> Relations | None:
    """Neighbourhood enrichment and co-occurrence of domains; None where there is but one, without neighbours.

    Spots are of known pixel size, labels (n,) int64 from 0.
    """
    import anndata
    import pandas as pd

    if labels.max() < 1:
        return None
    obs = pd.DataFrame({"domain": pd.Categorical(labels)}, index=list(spots.names))
    table = anndata.AnnData(obs=obs, obsm={"spatial": spots.xy_um})
    occurrence, radii_um = _co_occurrence(table, spots.pitch_um)
    return Relations(_enrichment(table, spots), occurrence, radii_um)


def _enrichment(table: anndata.AnnData, spots: Spots) -> NDArray[np.float64]:
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
