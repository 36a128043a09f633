"""Leave one section out, each in turn.

Folds: as many as sections; each is tested once by predictors that saw all others. Panel: HMHVG of
200, chosen anew on each fold's training sections, so that no fold's genes know its test section.
Unit: log2(count + 1). Aggregation: every metric per section; mean and range over sections and
seeds, never over pooled spots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_stem.evaluation.protocols.base import (
    Plan,
    Protocol,
    Request,
    chosen_sections,
    leave_one_out,
    shared_patients,
)

if TYPE_CHECKING:
    from napari_stem.spatial.dataset import Dataset


def plan(dataset: Dataset, request: Request) -> Plan:
    """Return one fold per section."""
    folds = leave_one_out(chosen_sections(dataset, request))
    return Plan(folds, notes=shared_patients(dataset, folds))


LOSO = Protocol(
    name="loso",
    about="leave one section out over all, HMHVG panel chosen on each fold's others, log2(count + 1)",
    genes="hmhvg:200",
    normalisation="log2_counts",
    predictors=("ours", "published", "ridge"),
    plan=plan,
)
