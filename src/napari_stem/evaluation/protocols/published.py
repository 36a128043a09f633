"""Published Stem's own protocol: one section held out, high-mean, high-variance genes.

Folds: the section named is tested, all others train (Zhu et al. 2025, section 4). Panel: HMHVG of
200, chosen on the training sections only, where the paper has the test section in view. Unit:
log2(count + 1). Aggregation: every metric on that one section, the mean over seeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_stem.errors import DatasetError
from napari_stem.evaluation.protocols.base import (
    Fold,
    Plan,
    Protocol,
    Request,
    chosen_sections,
    shared_patients,
)

if TYPE_CHECKING:
    from napari_stem.spatial.dataset import Dataset


def plan(dataset: Dataset, request: Request) -> Plan:
    """Return one fold.

    Raises
    ------
    DatasetError
        No section to hold out was named, or it is not among those to use.
    """
    sections = chosen_sections(dataset, request)
    held = request.hold_out
    if held is None or held not in sections:
        raise DatasetError(
            f"The protocol 'published' needs the one section to test on: name it with --hold-out, "
            f"one of {', '.join(sections)}."
        )
    folds = (Fold(held, tuple(s for s in sections if s != held), (held,)),)
    return Plan(folds, notes=shared_patients(dataset, folds))


PUBLISHED = Protocol(
    name="published",
    about="one section held out, HMHVG panel chosen on the others, log2(count + 1) (Stem, ICLR 2025)",
    genes="hmhvg:200",
    normalisation="log2_counts",
    predictors=("ours", "published", "ridge"),
    plan=plan,
)
