"""HEST-bench (Jaume et al. 2024, arXiv 2406.16192).

Folds: HEST's own where the data set folder has ``splits/train_K.csv`` and ``test_K.csv`` (column
``sample_id``) as HEST-bench ships them; else one fold per patient; else one per section. Panel:
``var_50genes.json`` where it is shipped, which was chosen with the test sections in view; else the
50 most variable genes of each fold's training sections. Unit: ln(count + 1) of raw counts, as
HEST's code fits (its text says normalised). Aggregation: HEST's, beside ours: correlation over the
pooled spots of a fold's test sections, mean over genes, then over folds; a gene that is constant in
one fold makes the whole task undefined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.cells import read_cells
from napari_stem.errors import DatasetError
from napari_stem.evaluation.protocols.base import (
    Compared,
    Fold,
    Plan,
    Protocol,
    chosen_sections,
    leave_one_out,
    patients_of,
    shared_patients,
)
from napari_stem.metrics import pcc, top_mean
from napari_stem.spatial.panel_files import read_panel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_stem.spatial.dataset import Dataset

SPLITS, PANEL_FILE = "splits", "var_50genes.json"


def plan(dataset: Dataset, sections: Sequence[str], _hold_out: str | None) -> Plan:
    """Return HEST's folds, or the nearest to them that the data set allows.

    Raises
    ------
    DatasetError
        A split names a section that is missing or on both sides, or a shipped file cannot be read.
    """
    sections = chosen_sections(dataset, sections)
    folds, note = _folds(dataset, sections)
    notes = [note, *shared_patients(dataset, folds)]
    shipped = dataset.folder / PANEL_FILE
    panel = read_panel(shipped) if shipped.is_file() else None
    if panel is not None:
        notes.append(f"Genes of {PANEL_FILE}, which HEST chose with the test sections in view.")
    return Plan(folds, panel, tuple(notes))


def summary(compared: Compared) -> dict[str, Any]:
    """HEST's figure of one fold: pooled test spots, mean over genes; None where a gene is constant."""
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


HEST_BENCH = Protocol(
    name="hest-bench",
    about="HEST-bench: its folds, 50 most variable genes, ln(count + 1), mean over genes, then folds",
    genes="hvg:50",
    normalisation="log1p_counts",
    predictors=("ours", "ridge", "hest-ridge", "hest-ridge-centred", "hest-ridge-cv"),
    plan=plan,
    summary=summary,
)
