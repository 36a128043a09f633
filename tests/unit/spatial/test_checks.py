"""Checks of a real section into which one thing after the other is put wrong."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_stem.spatial.checks import (
    Finding,
    check_genes,
    check_mpp,
    check_table,
    drop_bad_spots,
)
from napari_stem.spatial.dataset import Dataset
from napari_stem.spatial.gene_sets import with_unique_symbols
from napari_stem.spatial.importing import check_dataset
from napari_stem.spatial.lattice import fit_lattice, mpp_from_spacing_um

if TYPE_CHECKING:
    from collections.abc import Callable

    import anndata

SIZE_PX = (2400.0, 2484.0)
pytestmark = pytest.mark.filterwarnings("ignore:.*names are not unique:UserWarning")


@pytest.fixture
def table(her2st_dataset: Path) -> anndata.AnnData:
    return Dataset(her2st_dataset).section("C3").counts.copy()


@pytest.fixture
def dataset(her2st_dataset: Path, tmp_path: Path) -> Path:
    """A copy of section C3 that a test may damage."""
    shutil.copytree(her2st_dataset, tmp_path / "dataset", ignore=shutil.ignore_patterns("C2.*"))
    return tmp_path / "dataset"


def findings_of(found: list[Finding]) -> dict[str, tuple[str, int, tuple[str, ...]]]:
    return {one.check: (one.severity, one.count, one.examples) for one in found}


def test_a_sound_section_has_no_findings(her2st_dataset: Path) -> None:
    found = check_dataset(Dataset(her2st_dataset))
    assert {one.check for each in found.values() for one in each} <= {"empty-spots"}
    assert not [one for each in found.values() for one in each if one.severity == "stops"]


def _outside(table: anndata.AnnData) -> None:
    table.obsm["spatial"][[4, 9]] = [[-3, 100], [100, 1e5]]


def _same_place(table: anndata.AnnData) -> None:
    table.obsm["spatial"][9] = table.obsm["spatial"][4]


def _same_name(table: anndata.AnnData) -> None:
    table.obs_names = [*table.obs_names[:9], table.obs_names[4], *table.obs_names[10:]]


def _no_number(table: anndata.AnnData) -> None:
    table.X[9, np.flatnonzero(table.X[9].toarray().ravel())[:3]] = np.nan


def _negative(table: anndata.AnnData) -> None:
    table.X[9, 2] = -1


def _fraction(table: anndata.AnnData) -> None:
    table.X[9, 2] = 0.5


def _empty(table: anndata.AnnData) -> None:
    table.X[9] = 0


def _place_is_no_number(table: anndata.AnnData) -> None:
    table.obsm["spatial"][9, 0] = np.inf


# change, check, severity, count, which spots are the examples
CASES = [
    (_outside, "spots-outside-image", "stops", 2, (4, 9)),
    (_same_place, "duplicate-positions", "stops", 1, (9,)),
    (_same_name, "duplicate-spot-names", "stops", 1, (4,)),
    (_no_number, "counts-not-numbers", "stops", 3, (9,)),
    (_negative, "negative-counts", "stops", 1, (9,)),
    (_fraction, "fractional-counts", "stops", 1, (9,)),
    (_empty, "empty-spots", "warns", 1, (9,)),
    (_place_is_no_number, "positions-not-numbers", "stops", 1, (9,)),
]


@pytest.mark.parametrize(("change", "check", "severity", "count", "places"), CASES)
@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
def test_each_fault_is_found_counted_and_shown(
    table: anndata.AnnData,
    change: Callable[[anndata.AnnData], None],
    check: str,
    severity: str,
    count: int,
    places: tuple[int, ...],
) -> None:
    names = list(table.obs_names)
    before = findings_of(check_table(table, SIZE_PX))
    change(table)
    found = findings_of(check_table(table, SIZE_PX))
    n_before = before.get(check, ("", 0, ()))[1]
    assert found[check][:2] == (severity, count + n_before)
    assert {names[i] for i in places} <= set(found[check][2])
    assert set(found) - set(before) <= {check}


@pytest.mark.parametrize(
    ("change", "check", "n"),
    [
        (_outside, "spots-outside-image", 2),
        (_same_place, "duplicate-positions", 1),
        (_same_name, "duplicate-spot-names", 1),
        (_no_number, "counts-not-numbers", 1),
        (_place_is_no_number, "positions-not-numbers", 1),
    ],
)
@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
def test_dropping_leaves_a_sound_table_and_all_other_spots(
    table: anndata.AnnData, change: Callable[[anndata.AnnData], None], check: str, n: int
) -> None:
    change(table)
    clean, dropped = drop_bad_spots(table, SIZE_PX)
    assert dropped == {check: n}
    assert clean.n_obs == table.n_obs - n
    assert not [one for one in check_table(clean, SIZE_PX) if one.severity == "stops"]


def test_a_repeat_of_a_bad_spot_is_judged_by_itself(table: anndata.AnnData) -> None:
    """The first copy goes because it lies outside; the second one, inside, must then stay."""
    _same_name(table)
    table.obsm["spatial"][4] = [-1, -1]
    clean, dropped = drop_bad_spots(table, SIZE_PX)
    assert dropped == {"spots-outside-image": 1}
    assert clean.n_obs == table.n_obs - 1


def test_of_spots_that_repeat_each_other_one_stays(table: anndata.AnnData) -> None:
    """B lies where A does, and the second B goes only where a first one stays."""
    four = table[:4].copy()
    four.obs_names = ["A", "B", "B", "C"]
    four.obsm["spatial"] = np.array([[1.0, 1], [1, 1], [2, 2], [3, 3]])
    clean, dropped = drop_bad_spots(four, SIZE_PX)
    assert list(clean.obs_names) == ["A", "B", "C"]
    assert dropped == {"duplicate-positions": 1}


def test_nothing_is_dropped_from_a_sound_table(table: anndata.AnnData) -> None:
    clean, dropped = drop_bad_spots(table, SIZE_PX)
    assert dropped == {}
    assert clean is table


def test_examples_are_five_at_most(table: anndata.AnnData) -> None:
    table.obsm["spatial"][:50] = -1
    found = {one.check: one for one in check_table(table, SIZE_PX)}["spots-outside-image"]
    assert (found.count, len(found.examples)) == (50, 5)
    assert ", ...)" in str(found)
    json.dumps(asdict(found))


# genes


def test_ensembl_ids_and_repeats_are_told() -> None:
    genes = ["ERBB2", "ENSG00000141736", "ENSMUSG00000062312.7", "ERBB2", "ENSA"]
    found = findings_of(check_genes(genes))
    assert found["ensembl-ids"] == ("warns", 2, ("ENSG00000141736", "ENSMUSG00000062312.7"))
    assert found["duplicate-genes"] == ("stops", 1, ("ERBB2",))


@pytest.mark.parametrize("column", ["gene_name", "feature_name", "gene_symbols"])
def test_ids_become_symbols_where_the_table_has_them(table: anndata.AnnData, column: str) -> None:
    symbols = list(table.var_names)
    table.var[column] = [*symbols[:-1], None]
    ids = [f"ENSG{i:011d}" for i in range(table.n_vars)]
    table.var_names = ids
    named, findings = with_unique_symbols(table)
    assert list(named.var_names) == [*symbols[:-1], ids[-1]]
    assert list(named.var["gene_ids"]) == ids
    assert [one.check for one in findings] == ["ensembl-ids"]
    assert table.var_names[0] == ids[0]


def test_ids_stay_where_the_table_has_no_symbols(table: anndata.AnnData) -> None:
    table.var_names = [f"ENSG{i:011d}" for i in range(table.n_vars)]
    named, findings = with_unique_symbols(table)
    assert named is table
    assert findings == []
    assert check_genes(list(named.var_names))[0].check == "ensembl-ids"


def test_adding_up_keeps_every_count(table: anndata.AnnData) -> None:
    counts = table.X.toarray()
    names = list(table.var_names)
    table.var_names = [*names[:-2], names[3], names[3]]
    merged, findings = with_unique_symbols(table)
    assert list(merged.var_names) == names[:-2]
    np.testing.assert_array_equal(merged.X.sum(axis=1), counts.sum(axis=1, keepdims=True))
    np.testing.assert_array_equal(
        merged.X[:, 3].toarray().ravel(), counts[:, [3, -2, -1]].sum(axis=1)
    )
    assert findings[0].examples == (names[3],)
    np.testing.assert_array_equal(merged.obsm["spatial"], table.obsm["spatial"])


# pixel sizes


@given(used=st.floats(0.1, 10), factor=st.floats(1.3, 100), larger=st.booleans())
def test_a_lost_factor_never_passes(used: float, factor: float, larger: bool) -> None:
    other = used * factor if larger else used / factor
    assert [one.severity for one in check_mpp(used, {"a tag": other})] == ["stops"]
    assert [one.severity for one in check_mpp(used, {"a tag": other}, ("a tag",))] == ["warns"]


@given(used=st.floats(0.1, 10), factor=st.floats(1 / 1.049, 1.049))
def test_small_differences_are_no_finding(used: float, factor: float) -> None:
    assert check_mpp(used, {"a tag": used * factor, "nobody": None}) == []


@pytest.mark.parametrize("stated", [None, "wide", 0, -1, float("nan"), [1]])
def test_no_or_odd_pixel_sizes_stop(stated: object) -> None:
    (found,) = check_mpp(stated, {})
    assert (found.check, found.severity) == ("pixel-size-missing", "stops")
    assert "into m.json" in check_mpp(stated, {}, file=Path("m.json"))[0].advice


@given(
    mpp_um=st.floats(0.2, 5),
    degrees=st.floats(0, 360),
    mirrored=st.booleans(),
    hexagonal=st.booleans(),
)
def test_a_lattice_tells_the_pixel_size_however_it_lies(
    mpp_um: float, degrees: float, mirrored: bool, hexagonal: bool
) -> None:
    row, col = (each.ravel() for each in np.mgrid[0:7, 0:9])
    if hexagonal:
        keep = (row + col) % 2 == 0
        row, col = row[keep], col[keep]
    step = (50, 50 * np.sqrt(3)) if hexagonal else (100, 100)
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    nodes = np.column_stack([col * step[0], row * step[1]]) / mpp_um
    xy_px = nodes * (-1 if mirrored else 1, 1) @ turn + 5000
    fit = fit_lattice(row, col, xy_px, 100, hexagonal=hexagonal)
    assert fit is not None
    assert fit.mpp_um == pytest.approx(mpp_um)
    assert fit.misfit < 1e-6


def test_spots_on_one_line_tell_by_their_distance(table: anndata.AnnData) -> None:
    obs = table.obs[:6].assign(array_row=0, array_col=range(6))
    xy_px = np.column_stack([np.arange(6) * 80.0, np.zeros(6)])
    assert mpp_from_spacing_um(obs, xy_px, 200) == pytest.approx(2.5)
    assert mpp_from_spacing_um(obs[:1], xy_px[:1], 200) is None


# a data set as it stands


@pytest.mark.parametrize("factor", [0.5, 2])
def test_a_pixel_size_off_by_two_stops(dataset: Path, factor: float) -> None:
    path = dataset / "metadata" / "C3.json"
    metadata = json.loads(path.read_text())
    metadata["pixel_size_um_estimated"] *= factor
    path.write_text(json.dumps(metadata))
    found = {one.check: one for one in check_dataset(Dataset(dataset))["C3"]}
    assert found["pixel-size-mismatch"].severity == "stops"
    assert re.search(r"factor of (2|1\.99|2\.01): ", found["pixel-size-mismatch"].what)
    assert "the spots' spacing" in found["pixel-size-mismatch"].what


def test_parts_that_cannot_be_read_are_findings(dataset: Path) -> None:
    (dataset / "wsis" / "C3.jpg").write_bytes(b"no image")
    (dataset / "metadata" / "C3.json").write_text("{")
    (dataset / "st" / "C3.h5ad").write_bytes(b"no table")
    found = check_dataset(Dataset(dataset))["C3"]
    assert [one.check for one in found] == [
        "unreadable-image",
        "unreadable-metadata",
        "unreadable-table",
    ]
