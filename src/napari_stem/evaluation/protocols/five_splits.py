"""Five random divisions of the slides, 80/10/10, as later papers compare Stem (HMHVG-200, PCC@10).

Folds: five seeded shuffles, the same on every machine; slides of one patient may be on both sides,
as in those papers. The validation tenth is kept out of everything: our predictors choose their
settings by leaving out training sections. Panel: HMHVG of 200, chosen on the training slides. Unit:
log2(count + 1). Aggregation: every metric per test slide, mean and range over slides and divisions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.evaluation.protocols.base import (
    Fold,
    Plan,
    Protocol,
    Request,
    chosen_sections,
    shared_patients,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.spatial.dataset import Dataset

N_DIVISIONS, TENTH = 5, 0.1
ENOUGH_SECTIONS = 10  # the least of which a tenth is a section


def plan(dataset: Dataset, request: Request) -> Plan:
    """Return five divisions; at least one section on each of the three sides."""
    sections = chosen_sections(dataset, request, at_least=3)
    folds = tuple(division(sections, number) for number in range(N_DIVISIONS))
    notes = list(shared_patients(dataset, folds))
    notes.append("Validation slides are left unused: settings are chosen on the training slides.")
    if len(sections) < ENOUGH_SECTIONS:
        (first, *_) = folds
        notes.insert(
            0,
            f"{len(sections)} sections cannot be divided 80/10/10: {len(first.train)} train, "
            f"{len(first.validation)} validate and {len(first.test)} test in each division, so "
            f"that divisions may test the same section.",
        )
    return Plan(folds, notes=tuple(notes))


def division(sections: Sequence[str], number: int) -> Fold:
    """Divide sections by the shuffle of one number; a tenth, one at least, on each smaller side."""
    shuffled = [sections[i] for i in np.random.default_rng(number).permutation(len(sections))]
    n = max(1, round(TENTH * len(sections)))
    test, validation, train = shuffled[:n], shuffled[n : 2 * n], shuffled[2 * n :]
    name = f"split-{number}"
    return Fold(name, tuple(sorted(train)), tuple(sorted(test)), tuple(sorted(validation)))


FIVE_SPLITS = Protocol(
    name="hmhvg200-5split",
    about="five random 80/10/10 divisions of slides, HMHVG-200 of the training slides, log2(count + 1)",
    genes="hmhvg:200",
    normalisation="log2_counts",
    predictors=("ours", "published", "ridge"),
    plan=plan,
)
