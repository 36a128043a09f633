"""CSV that spreadsheets open, and the note beside it."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from napari_stem.errors import OutputError
from napari_stem.exporting.kinds import ExportOptions
from napari_stem.exporting.selection import NOTICE, Selection
from napari_stem.exporting.table import write_csv

if TYPE_CHECKING:
    from pathlib import Path

    from napari_stem.results import Prediction

GENES = ("SCD", "GNAS")


def test_one_row_per_spot(prediction: Prediction, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(
        "napari_stem.exporting.table.SPOTS_PER_PIECE", 5
    )  # the pieces meet without a seam
    write_csv(Selection.of(prediction, GENES), tmp_path / "p.csv")
    table, spots = pd.read_csv(tmp_path / "p.csv"), prediction.spots
    sites = ["name", "x_px", "y_px", "x_um", "y_um", "unlike_training"]
    fields = ["predicted_mean", "sd", "q05", "q95"]
    assert list(table.columns) == sites + [f"{g}_{f}" for g in GENES for f in fields]
    assert tuple(table["name"]) == spots.names
    np.testing.assert_allclose(table["y_px"], spots.y_px, rtol=1e-5)
    np.testing.assert_allclose(
        table["y_um"], spots.y_px * prediction.provenance["mpp"][0], rtol=1e-5
    )
    np.testing.assert_allclose(table["GNAS_q95"], prediction.values("GNAS", "q95"), rtol=1e-5)
    np.testing.assert_allclose(table["SCD_predicted_mean"], prediction.values("SCD"), rtol=1e-5)


def test_one_row_per_spot_and_gene(half_done: Prediction, regions, tmp_path: Path) -> None:
    selection = Selection.of(half_done, GENES, regions)
    half_done.gene_accuracy.loc["GNAS", "by_chance"] = True
    write_csv(selection, tmp_path / "p.csv", ExportOptions(is_long=True))
    table = pd.read_csv(tmp_path / "p.csv", keep_default_na=False)
    assert len(table) == 10 * len(GENES)
    assert set(table["unit"]) == {half_done.unit}
    scd = table[table["gene"] == "SCD"]
    assert tuple(scd["name"]) == half_done.spots.names[:10]
    np.testing.assert_allclose(scd["predicted_mean"], half_done.values("SCD")[:10], rtol=1e-5)
    np.testing.assert_allclose(scd["sd"], half_done.values("SCD", "sd")[:10], rtol=1e-5)
    assert list(scd["region"]) == selection.region_names()
    assert set(table[table["by_chance"] == 1]["gene"]) == {"GNAS"}
    assert "out: GNAS" in (tmp_path / "p_README.txt").read_text(encoding="utf-8")


def test_the_note_says_what_it_is(half_done: Prediction, tmp_path: Path) -> None:
    write_csv(Selection.of(half_done, GENES), tmp_path / "p.csv")
    note = (tmp_path / "p_README.txt").read_text(encoding="utf-8")
    missing = len(half_done.spots) - 10
    assert NOTICE in note
    assert half_done.unit in note
    assert f"{missing} spots were not predicted yet" in note
    assert half_done.provenance["slide_fingerprint"] in note
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["p.csv", "p_README.txt"]


def test_no_text_is_run_as_a_formula(prediction: Prediction, regions, tmp_path: Path) -> None:
    evil = replace(regions[0], name='=HYPERLINK("http://x")')
    write_csv(Selection.of(prediction, GENES, [evil]), tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert any("HYPERLINK" in cell for cell in cells)
    assert not any(cell.startswith("=") for cell in cells)


def test_a_model_that_cannot_tell_says_nothing_of_domains(altered, tmp_path: Path) -> None:
    write_csv(Selection.of(altered(domain="unknown"), GENES), tmp_path / "p.csv")
    assert "unlike_training" not in pd.read_csv(tmp_path / "p.csv").columns


def test_breaking_off_leaves_nothing(prediction: Prediction, tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_csv(Selection.of(prediction), tmp_path / "p.csv", ExportOptions(progress=stop))
    assert list(tmp_path.iterdir()) == []


def test_a_taken_place_is_refused(prediction: Prediction, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("older")
    with pytest.raises(OutputError, match=r"p\.csv exists already"):
        write_csv(Selection.of(prediction, GENES), tmp_path / "p.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["p.csv"]
