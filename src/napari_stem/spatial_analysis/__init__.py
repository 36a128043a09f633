"""Spatial statistics of predicted expression, through squidpy and scanpy.

    neighbours ──> autocorrelation (Moran's I of every gene)
                   domains (Leiden) ──> stability over draws, co-occurrence, neighbourhood enrichment

All of it is of *predicted* expression. Heavy libraries are loaded when something is computed; `store`
computes in a process of its own, which can be ended at any moment.
"""

from __future__ import annotations

from napari_stem.spatial_analysis.autocorrelation import morans_i, neighbour_graph
from napari_stem.spatial_analysis.domains import Domains

__all__ = ["Domains", "morans_i", "neighbour_graph"]
