"""Protocols of evaluation: which folds, panel, unit and aggregation, and why.

Those that divide the sections (one held out, each in turn, five divisions) choose an HMHVG panel of 200 on the
training sections alone, in log2(count + 1), and report every metric per test section: mean and range over
sections and seeds, never over pooled spots. HEST-bench (Jaume et al. 2024, arXiv 2406.16192) goes by rules of
its own, see `hest_folds` and `hest_figures`. `napari_stem.evaluation.msi` stands apart: it starts from finished
predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_stem.cells import read_cells
from napari_stem.errors import DatasetError
from napari_stem.metrics import pcc, top_mean
from napari_stem.spatial.dataset import stated_patients
from napari_stem.spatial.panels import read_panel

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_stem.spatial.dataset import Dataset
    from napari_stem.spatial.normalise import NormalisationName

N_DIVISIONS, TENTH = 5, 0.1
ENOUGH_SECTIONS = 10  # the least of which a tenth is a section
SPLITS, PANEL_FILE = "splits", "var_50genes.json"  # of HEST-bench
# (truth, mean), each (spots, genes), by test section
Compared: TypeAlias = Mapping[str, "tuple[NDArray[np.float32], NDArray[np.float32]]"]


@dataclass(frozen=True)
class Fold:
    """One division of the sections."""

    name: str  # unique in its plan, fit for a file name
    # train, test: section ids; none is in both
    train: tuple[str, ...]
    test: tuple[str, ...]
    # sections kept out of both, as the protocol asks. Our predictors choose everything by leaving out
    # training sections, so nothing looks at these
    validation: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A protocol applied to one data set."""

    folds: tuple[Fold, ...]  # at least one
    # the genes of every fold where the protocol prescribes them, else None: chosen on each fold's training
    # sections
    panel: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()  # what a reader of the results has to know of them


@dataclass(frozen=True)
class Protocol:
    """A way to measure, fixed once for everybody."""

    name: str  # as users ask for it
    about: str  # one line: folds, panel, unit, aggregation, and whose they are
    # panel, as `napari_stem.spatial.panels.parse_panel` reads it, unless users ask for another
    genes: str
    normalisation: NormalisationName  # unit unless users ask for another
    predictors: tuple[str, ...]  # names run unless users ask for others
    # folds on a data set, told the sections to use (none: all) and the one to hold out, if a user named one
    plan: Callable[[Dataset, Sequence[str], str | None], Plan]
    # the protocol's own figures of one fold, beside the plain means; None: nothing more
    figures: Callable[[Compared], dict[str, Any]] | None = None


def chosen_sections(
    dataset: Dataset, sections: Sequence[str], at_least: int = 2
) -> tuple[str, ...]:
    """Return the sections to use, all where none are named, in the data set's order.

    DatasetError: one does not exist, or they are too few.
    """
    for section_id in sections:
        dataset.section(section_id)
    chosen = tuple(s for s in dataset.sections if not sections or s in sections)
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
    stated = stated_patients(dataset.section(s).metadata for s in sections)
    return None if stated is None else dict(zip(sections, stated, strict=True))


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


def one_held_out(dataset: Dataset, sections: Sequence[str], hold_out: str | None) -> Plan:
    """Test the section named and train on all others, as published Stem does (Zhu et al. 2025, section 4).

    The paper has the test section in view where it chooses the panel; here the training sections alone are.

    DatasetError: no section to hold out was named, or it is not among those to use.
    """
    sections = chosen_sections(dataset, sections)
    if hold_out is not None:
        dataset.section(hold_out)
    if hold_out not in sections:
        raise DatasetError(
            f"The protocol 'published' needs the one section to test on: name it with --hold-out, "
            f"one of {', '.join(sections)}."
        )
    folds = tuple(fold for fold in leave_one_out(sections) if fold.name == hold_out)
    return Plan(folds, notes=shared_patients(dataset, folds))


def each_in_turn(dataset: Dataset, sections: Sequence[str], _hold_out: str | None) -> Plan:
    """Test each section once, by predictors that saw all others; the panel is chosen anew in each fold."""
    folds = leave_one_out(chosen_sections(dataset, sections))
    return Plan(folds, notes=shared_patients(dataset, folds))


def five_divisions(dataset: Dataset, sections: Sequence[str], _hold_out: str | None) -> Plan:
    """Divide the slides 80/10/10 by five seeded shuffles, as later papers compare Stem (HMHVG-200, PCC@10).

    The shuffles are the same on every machine; slides of one patient may be on both sides, as in those papers.
    The validation tenth is kept out of everything: our predictors choose their settings by leaving out training
    sections. At least one section is on each of the three sides.
    """
    sections = chosen_sections(dataset, sections, at_least=3)
    folds = tuple(division(sections, number) for number in range(N_DIVISIONS))
    few = (
        f"{len(sections)} sections cannot be divided 80/10/10: {len(folds[0].train)} train, "
        f"{len(folds[0].validation)} validate and {len(folds[0].test)} test in each division, so "
        f"that divisions may test the same section."
    )
    notes = [few] if len(sections) < ENOUGH_SECTIONS else []
    unused = "Validation slides are left unused: settings are chosen on the training slides."
    return Plan(folds, notes=(*notes, *shared_patients(dataset, folds), unused))


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


def hest_folds(dataset: Dataset, sections: Sequence[str], _hold_out: str | None) -> Plan:
    """Return HEST's folds, or the nearest to them that the data set allows.

    HEST's own where the data set folder has ``splits/train_K.csv`` and ``test_K.csv`` (column ``sample_id``) as
    HEST-bench ships them; else one fold per patient; else one per section. Panel: ``var_50genes.json`` where it
    is shipped, which was chosen with the test sections in view; else the 50 most variable genes of each fold's
    training sections. Unit: ln(count + 1) of raw counts, as HEST's code fits (its text says normalised).

    DatasetError: a split names a section that is missing or on both sides, or a shipped file cannot be
    read.
    """
    sections = chosen_sections(dataset, sections)
    folds, note = _folds(dataset, sections)
    notes = [note, *shared_patients(dataset, folds)]
    shipped = dataset.folder / PANEL_FILE
    panel = read_panel(shipped) if shipped.is_file() else None
    if panel is not None:
        notes.append(f"Genes of {PANEL_FILE}, which HEST chose with the test sections in view.")
    return Plan(folds, panel, tuple(notes))


def hest_figures(compared: Compared) -> dict[str, Any]:
    """HEST's figure of one fold, beside ours: correlation over pooled test spots, mean over genes.

    A gene that is constant in one fold makes the whole task undefined (None).
    """
    truth = np.concatenate([t for t, _ in compared.values()]).astype(np.float64)
    mean = np.concatenate([m for _, m in compared.values()]).astype(np.float64)
    coefficients = pcc(truth, mean)
    n_undefined = int(np.isnan(coefficients).sum())
    return {
        "hest_pearson": None if n_undefined else float(coefficients.mean()),
        "hest_pearson_zeroed": top_mean(coefficients, len(coefficients), "zero"),
        "hest_undefined_genes": n_undefined,
    }


def _folds(dataset: Dataset, sections: Sequence[str]) -> tuple[tuple[Fold, ...], str]:
    """Folds, and a sentence on where they come from."""
    shipped = sorted(
        (dataset.folder / SPLITS).glob("train_*.csv"), key=lambda p: (len(p.stem), p.stem)
    )
    if shipped:
        return tuple(
            _shipped(path, sections) for path in shipped
        ), "Folds as HEST-bench ships them."
    patients = patients_of(dataset, sections)
    if patients is not None and len(set(patients.values())) > 1:
        folds = tuple(
            Fold(
                f"patient-{_plain(patient)}",
                tuple(s for s in sections if patients[s] != patient),
                tuple(s for s in sections if patients[s] == patient),
            )
            for patient in sorted(set(patients.values()))
        )
        return folds, f"No folder '{SPLITS}' in the data set: one fold per patient instead."
    why = "nothing says whose the sections are" if patients is None else "there is one patient"
    note = f"No folder '{SPLITS}' in the data set and {why}: one fold per section instead."
    return leave_one_out(sections), note


def _shipped(train_csv: Path, sections: Sequence[str]) -> Fold:
    number = train_csv.stem.removeprefix("train_")
    train = _samples(train_csv, sections)
    test_csv = train_csv.with_name(f"test_{number}.csv")
    test = _samples(test_csv, sections)
    if not train or not test or set(train) & set(test):
        raise DatasetError(
            f"{train_csv} and {test_csv.name} must name sections to train and to test on, none in "
            f"both; copy them again, or name other --sections."
        )
    return Fold(f"fold-{_plain(number)}", train, test)


def _samples(path: Path, sections: Sequence[str]) -> tuple[str, ...]:
    """Column ``sample_id`` of a split file, of the sections in use."""
    try:
        named = read_cells(path)["sample_id"].dropna()
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(
            f"{path} cannot be read as a table with a column 'sample_id' ({error}); copy it again."
        ) from error
    return tuple(s for s in dict.fromkeys(named) if s in sections)


def _plain(word: str) -> str:
    """Fit for a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in word)


_EVERY = (
    _of_training_slides(
        name="published",
        about="one section held out, HMHVG panel chosen on the others, log2(count + 1) (Stem, ICLR 2025)",
        plan=one_held_out,
    ),
    _of_training_slides(
        name="loso",
        about="leave one section out over all, HMHVG panel chosen on each fold's others, log2(count + 1)",
        plan=each_in_turn,
    ),
    Protocol(
        name="hest-bench",
        about="HEST-bench: its folds, 50 most variable genes, ln(count + 1), mean over genes, then folds",
        genes="hvg:50",
        normalisation="log1p_counts",
        predictors=("ours", "ridge", "hest-ridge", "hest-ridge-centred", "hest-ridge-cv"),
        plan=hest_folds,
        figures=hest_figures,
    ),
    _of_training_slides(
        name="hmhvg200-5split",
        about="five random 80/10/10 divisions of slides, HMHVG-200 of the training slides, log2(count + 1)",
        plan=five_divisions,
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _EVERY}
