"""Which sections each protocol trains and tests on: nothing leaks, and nothing is left unsaid."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_stem.errors import DatasetError
from napari_stem.evaluation.protocols import PROTOCOLS, hest_figures
from napari_stem.spatial.dataset import Dataset

if TYPE_CHECKING:
    from pathlib import Path


def make_dataset(folder: Path, patients: dict[str, str | None]) -> Dataset:
    """Sections by name only: plans read no counts."""
    for part in ("wsis", "st", "metadata"):
        (folder / part).mkdir(parents=True)
    for section, patient in patients.items():
        (folder / "st" / f"{section}.h5ad").touch()
        (folder / "metadata" / f"{section}.json").write_text(json.dumps({"patient": patient}))
    return Dataset(folder)


def numbered(n: int) -> dict[str, str | None]:
    return {f"S{i:02d}": f"P{i // 2}" for i in range(n)}


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
@pytest.mark.parametrize("n", [3, 10, 21])
def test_no_section_is_on_two_sides(name: str, n: int, tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "ds", numbered(n))
    hold_out = "S01" if name == "published" else None
    plan = PROTOCOLS[name].plan(dataset, (), hold_out)
    assert len({fold.name for fold in plan.folds}) == len(plan.folds)
    for fold in plan.folds:
        sides = [*fold.train, *fold.validation, *fold.test]
        assert len(sides) == len(set(sides))
        assert set(sides) <= set(dataset.sections)
        assert fold.train
        assert fold.test


def test_published_holds_out_the_section_named(tmp_path: Path) -> None:
    dataset, plan = make_dataset(tmp_path / "ds", numbered(4)), PROTOCOLS["published"].plan
    (fold,) = plan(dataset, (), "S02").folds
    assert (fold.test, fold.train) == (("S02",), ("S00", "S01", "S03"))
    with pytest.raises(DatasetError, match="--hold-out"):
        plan(dataset, (), None)
    with pytest.raises(DatasetError, match="no section 'S99'"):
        plan(dataset, (), "S99")
    with pytest.raises(DatasetError, match="--hold-out"):
        plan(dataset, ("S00", "S01"), "S02")


def test_loso_tests_every_section_once_and_says_if_patients_are_shared(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "ds", numbered(4))
    plan = PROTOCOLS["loso"].plan(dataset, (), None)
    assert [fold.test for fold in plan.folds] == [(s,) for s in dataset.sections]
    assert any("one patient" in note for note in plan.notes)
    some = PROTOCOLS["loso"].plan(dataset, ("S03", "S00"), None)
    assert [fold.train for fold in some.folds] == [("S03",), ("S00",)]
    assert some.notes == ()  # of two patients
    with pytest.raises(DatasetError, match="2 sections or more"):
        PROTOCOLS["loso"].plan(dataset, ("S03",), None)


def test_hest_bench_takes_shipped_folds_and_genes(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "ds", numbered(4))
    splits = dataset.folder / "splits"
    splits.mkdir()
    for number, (train, test) in enumerate([("S00,S01", "S02,S03"), ("S02,S03", "S00,S01")]):
        for side, names in (("train", train), ("test", test)):
            rows = [f"{s},patches/{s}.h5,adata/{s}.h5ad" for s in names.split(",")]
            text = "\n".join(["sample_id,patches_path,expr_path", *rows])
            (splits / f"{side}_{number}.csv").write_text(text)
    (dataset.folder / "var_50genes.json").write_text('{"genes": ["SCD", "ERBB2"]}')
    plan = PROTOCOLS["hest-bench"].plan(dataset, (), None)
    assert [(f.name, f.train, f.test) for f in plan.folds] == [
        ("fold-0", ("S00", "S01"), ("S02", "S03")),
        ("fold-1", ("S02", "S03"), ("S00", "S01")),
    ]
    assert plan.panel == ("SCD", "ERBB2")
    assert any("in view" in note for note in plan.notes)
    (splits / "test_1.csv").write_text("sample_id;patches_path\nS00;a\nS01;b\n")  # saved in Excel
    assert PROTOCOLS["hest-bench"].plan(dataset, (), None).folds == plan.folds
    (splits / "test_1.csv").write_text("sample_id\nS02\n")
    with pytest.raises(DatasetError, match=r"test_1\.csv"):
        PROTOCOLS["hest-bench"].plan(dataset, (), None)
    (splits / "test_1.csv").write_text("name\nS02\n")
    with pytest.raises(DatasetError, match="sample_id"):
        PROTOCOLS["hest-bench"].plan(dataset, (), None)
    (splits / "test_1.csv").unlink()
    with pytest.raises(DatasetError, match=r"test_1\.csv"):
        PROTOCOLS["hest-bench"].plan(dataset, (), None)


def test_hest_bench_without_folds_goes_by_patient_then_by_section(tmp_path: Path) -> None:
    plan = PROTOCOLS["hest-bench"].plan
    by_patient = plan(make_dataset(tmp_path / "a", numbered(5)), (), None)
    assert [f.test for f in by_patient.folds] == [("S00", "S01"), ("S02", "S03"), ("S04",)]
    assert [f.name for f in by_patient.folds] == ["patient-P0", "patient-P1", "patient-P2"]
    assert by_patient.notes == (
        "No folder 'splits' in the data set: one fold per patient instead.",
    )
    one = plan(make_dataset(tmp_path / "b", dict.fromkeys(("S0", "S1"), "P")), (), None)
    assert [f.test for f in one.folds] == [("S0",), ("S1",)]
    assert "there is one patient" in one.notes[0]
    unknown = plan(make_dataset(tmp_path / "c", {"S0": "P", "S1": None}), (), None)
    assert "nothing says whose" in unknown.notes[0]


def test_hest_pools_the_spots_of_a_fold_and_drops_nothing() -> None:
    """Two sections that differ in level: pooling makes a correlation where neither has one."""
    flat = {"a": np.zeros((5, 2)), "b": np.ones((5, 2))}
    guess = {k: v + np.tile([[0.1], [-0.1], [0.0], [0.1], [-0.1]], (1, 2)) for k, v in flat.items()}
    pooled = hest_figures({k: (flat[k], guess[k]) for k in flat})
    assert pooled["hest_pearson"] > 0.9
    constant = {k: (v * [1, 0], guess[k]) for k, v in flat.items()}
    found = hest_figures(constant)
    assert found["hest_pearson"] is None
    assert found["hest_undefined_genes"] == 1
    assert found["hest_pearson_zeroed"] == pytest.approx(pooled["hest_pearson"] / 2, abs=1e-6)


@pytest.mark.parametrize(("n", "sizes"), [(3, (1, 1, 1)), (10, (8, 1, 1)), (40, (32, 4, 4))])
def test_five_divisions_have_their_sizes_and_stay_the_same(n, sizes, tmp_path: Path) -> None:
    dataset, protocol = make_dataset(tmp_path / "ds", numbered(n)), PROTOCOLS["hmhvg200-5split"]
    plan = protocol.plan(dataset, (), None)
    assert len(plan.folds) == 5
    for fold in plan.folds:
        assert (len(fold.train), len(fold.validation), len(fold.test)) == sizes
    assert plan == protocol.plan(dataset, (), None)
    assert len({fold.test for fold in plan.folds}) > 1
    assert any("cannot be divided" in note for note in plan.notes) == (n < 10)


def test_five_divisions_need_three_sections(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "ds", numbered(2))
    with pytest.raises(DatasetError, match="3 sections or more"):
        PROTOCOLS["hmhvg200-5split"].plan(dataset, (), None)
