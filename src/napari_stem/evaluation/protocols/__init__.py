"""Protocols of evaluation: which folds, panel, unit and aggregation, and why.

`napari_stem.evaluation.protocols.msi` stands apart: it starts from finished predictions.
"""

from __future__ import annotations

from napari_stem.evaluation.protocols.base import FIVE_SPLITS, LOSO, PUBLISHED
from napari_stem.evaluation.protocols.hest_bench import HEST_BENCH

PROTOCOLS = {p.name: p for p in (PUBLISHED, LOSO, HEST_BENCH, FIVE_SPLITS)}
