"""Protocols that divide the sections of a data set: one held out, each in turn, five random divisions.

All choose an HMHVG panel of 200 on the training sections alone, in log2(count + 1), and report every metric per
test section: mean and range over sections and seeds, never over pooled spots.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import DatasetError
from napari_stem.evaluation.protocols.base import (
    Fold,
    Plan,
    Protocol,
    Request,
    chosen_sections,
    leave_one_out,
    shared_patients,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.spatial.dataset import Dataset

N_DIVISIONS, TENTH = 5, 0.1
ENOUGH_SECTIONS = 10  # the least of which a tenth is a section


def one_held_out(dataset: Dataset, request: Request) -> Plan:
    """Test the section named and train on all others, as published Stem does (Zhu et al. 2025, section 4).

    The paper has the test section in view where it chooses the panel; here the training sections alone are.

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


def each_in_turn(dataset: Dataset, request: Request) -> Plan:
    """Test each section once, by predictors that saw all others; the panel is chosen anew in each fold."""
    folds = leave_one_out(chosen_sections(dataset, request))
    return Plan(folds, notes=shared_patients(dataset, folds))


def five_divisions(dataset: Dataset, request: Request) -> Plan:
    """Divide the slides 80/10/10 by five seeded shuffles, as later papers compare Stem (HMHVG-200, PCC@10).

    The shuffles are the same on every machine; slides of one patient may be on both sides, as in those papers.
    The validation tenth is kept out of everything: our predictors choose their settings by leaving out training
    sections. At least one section is on each of the three sides.
    """
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


_of_training_slides = partial(
    Protocol,
    genes="hmhvg:200",
    normalisation="log2_counts",
    predictors=("ours", "published", "ridge", "place", "gaussian", "bootstrap"),
)
PUBLISHED = _of_training_slides(
    name="published",
    about="one section held out, HMHVG panel chosen on the others, log2(count + 1) (Stem, ICLR 2025)",
    plan=one_held_out,
)
LOSO = _of_training_slides(
    name="loso",
    about="leave one section out over all, HMHVG panel chosen on each fold's others, log2(count + 1)",
    plan=each_in_turn,
)
FIVE_SPLITS = _of_training_slides(
    name="hmhvg200-5split",
    about="five random 80/10/10 divisions of slides, HMHVG-200 of the training slides, log2(count + 1)",
    plan=five_divisions,
)
