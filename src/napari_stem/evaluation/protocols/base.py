"""What a protocol decides: folds, panel, unit, and what its table adds to the plain means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from napari_stem.errors import DatasetError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_stem.spatial.dataset import Dataset

# (truth, mean), each (spots, genes), by test section
Compared: TypeAlias = Mapping[str, "tuple[NDArray[np.float32], NDArray[np.float32]]"]


@dataclass(frozen=True)
class Fold:
    """One division of the sections.

    Attributes
    ----------
    name
        Unique in its plan, fit for a file name.
    train, test
        Section ids; none is in both.
    validation
        Sections kept out of both, as the protocol asks. Our predictors choose everything by
        leaving out training sections, so nothing looks at these.
    """

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    validation: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A protocol applied to one data set.

    Attributes
    ----------
    folds
        At least one.
    panel
        The genes of every fold where the protocol prescribes them, else None: chosen on each
        fold's training sections.
    notes
        What a reader of the results has to know of them.
    """

    folds: tuple[Fold, ...]
    panel: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """What a user asked of a protocol.

    Attributes
    ----------
    sections
        Those to use, empty for all.
    hold_out
        The test section of protocols that have one.
    """

    sections: tuple[str, ...] = ()
    hold_out: str | None = None


@dataclass(frozen=True)
class Protocol:
    """A way to measure, fixed once for everybody.

    Attributes
    ----------
    name
        As users ask for it.
    about
        One line: folds, panel, unit, aggregation, and whose they are.
    genes
        Panel recipe (`napari_stem.spatial.panels.parse_panel`) unless users ask for another.
    normalisation
        Unit unless users ask for another.
    predictors
        Names run unless users ask for others.
    plan
        Folds on a data set.
    summary
        The protocol's own aggregation of one fold, beside the plain means; None: nothing more.
    """

    name: str
    about: str
    genes: str
    normalisation: str
    predictors: tuple[str, ...]
    plan: Callable[[Dataset, Request], Plan]
    summary: Callable[[Compared], dict[str, Any]] | None = None


def chosen_sections(dataset: Dataset, request: Request, at_least: int = 2) -> tuple[str, ...]:
    """Return the sections to use, in the data set's order.

    Raises
    ------
    DatasetError
        One does not exist, or they are too few.
    """
    for section_id in (*request.sections, *([request.hold_out] if request.hold_out else [])):
        dataset.section(section_id)
    chosen = tuple(s for s in dataset.sections if not request.sections or s in request.sections)
    if len(chosen) < at_least:
        raise DatasetError(
            f"This protocol needs {at_least} sections or more and has {', '.join(chosen) or 'none'} "
            f"of {dataset.folder}; import more, or name more with --sections."
        )
    return chosen


def leave_one_out(sections: Sequence[str]) -> tuple[Fold, ...]:
    """Each section tested once, all others trained on."""
    return tuple(Fold(s, tuple(o for o in sections if o != s), (s,)) for s in sections)


def patients_of(dataset: Dataset, sections: Sequence[str]) -> dict[str, str] | None:
    """Section -> patient; None where the metadata of one section or more do not say."""
    stated = {s: dataset.section(s).metadata.get("patient") for s in sections}
    if any(p is None or not str(p).strip() for p in stated.values()):
        return None
    return {s: str(p) for s, p in stated.items()}


def shared_patients(dataset: Dataset, folds: Sequence[Fold]) -> tuple[str, ...]:
    """Note for the reader where sections of one patient are on both sides of a fold."""
    sections = sorted({s for fold in folds for s in (*fold.train, *fold.test)})
    patients = patients_of(dataset, sections)
    if patients is None:
        return ("The data set does not say whose each section is: patients may be on both sides.",)
    for fold in folds:
        if {patients[s] for s in fold.train} & {patients[s] for s in fold.test}:
            return (
                "Sections of one patient are trained and tested on: expect less of a new patient.",
            )
    return ()
