"""CSV that spreadsheets open, and the note beside it."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
import pytest
import zarr

from napari_stem.errors import OutputError
from napari_stem.exporting.options import ExportOptions
from napari_stem.exporting.selection import Selection
from napari_stem.exporting.spreadsheet import write_csv
from napari_stem.exporting.table import write_anndata
from napari_stem.results import Prediction
from napari_stem.results.empty import region_column, write_regions
from napari_stem.texts import NOTICE

if TYPE_CHECKING:
    from pathlib import Path

GENES = ("SCD", "GNAS")


def test_one_row_per_spot(prediction: Prediction, tmp_path: Path, monkeypatch) -> None:
    # the pieces meet without a seam
    monkeypatch.setattr("napari_stem.exporting.spreadsheet.SPOTS_PER_PIECE", 5)
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
    assert list(scd["region"]) == selection.region_names
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


def test_no_piece_reads_all_spots(prediction: Prediction, tmp_path: Path, monkeypatch) -> None:
    read: list[int] = []
    original = Prediction.rows

    def rows(self, spots, *args):
        read.append(len(spots))
        return original(self, spots, *args)

    monkeypatch.setattr(Prediction, "rows", rows)
    monkeypatch.setattr(Prediction, "values", lambda *_: pytest.fail("reads a gene at all spots"))
    monkeypatch.setattr("napari_stem.exporting.spreadsheet.SPOTS_PER_PIECE", 5)
    write_csv(Selection.of(prediction), tmp_path / "p.csv")
    assert max(read) == 5


def test_spots_keep_the_regions_that_they_were_predicted_in(
    half_done: Prediction, regions, tmp_path: Path
) -> None:
    group = zarr.open_group(half_done.path, use_consolidated=False)
    write_regions(group, region_column(half_done.spots, regions))
    opened = Prediction.open(half_done.path)
    for name, write in {"p.csv": write_csv, "p.h5ad": write_anndata}.items():
        write(Selection.of(opened, GENES), tmp_path / name)
    found = pd.read_csv(tmp_path / "p.csv", keep_default_na=False)["region"]
    expected = anndata.read_h5ad(tmp_path / "p.h5ad").obs["region"]
    assert list(found) == ["" if pd.isna(name) else name for name in expected]
    assert regions[0].name in set(found)
    write_csv(Selection.of(opened, GENES, [replace(regions[0], name="b")]), tmp_path / "b.csv")
    assert set(pd.read_csv(tmp_path / "b.csv", keep_default_na=False)["region"]) == {"b"}


def test_places_are_told_to_a_hundredth_also_far_out(half_done: Prediction, tmp_path: Path) -> None:
    places = zarr.open_group(half_done.path, use_consolidated=False)["obsm"]["spatial"]
    places[:2] = [[123456.78, 1.25], [4400, 3400]]
    opened = Prediction.open(half_done.path)
    write_csv(Selection.of(opened, GENES), tmp_path / "p.csv")
    far, near = pd.read_csv(tmp_path / "p.csv", dtype=str)[["x_px", "y_px"]].to_numpy()[:2].tolist()
    assert far == ["123456.78", "1.25"]
    assert near == ["4400", "3400"]
    x_um = pd.read_csv(tmp_path / "p.csv")["x_um"][0]
    assert x_um == pytest.approx(123456.78 * opened.mpp.x_um, abs=0.006)


@pytest.mark.parametrize("is_long", [False, True])
@pytest.mark.parametrize("domain", ["known", "unknown"])
@pytest.mark.parametrize("n_regions", [0, 2])
def test_the_note_explains_every_column_and_no_other(
    altered, regions, tmp_path: Path, is_long: bool, domain: str, n_regions: int
) -> None:
    selection = Selection.of(altered(domain=domain), GENES, regions[:n_regions])
    write_csv(selection, tmp_path / "p.csv", ExportOptions(is_long=is_long))
    _, _, _, note, *_ = (tmp_path / "p_README.txt").read_text(encoding="utf-8").split("\n\n")
    explained = [line.split(": ")[0] for line in note.splitlines()]
    columns = pd.read_csv(tmp_path / "p.csv").columns.str.replace("SCD_|GNAS_", "GENE_", regex=True)
    assert explained == list(dict.fromkeys(columns))


def test_notes_of_somebody_else_stay(prediction: Prediction, tmp_path: Path) -> None:
    selection, notes = Selection.of(prediction, GENES), tmp_path / "p_README.txt"
    notes.write_text("my own notes")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"p_README\.txt would be replaced"):
            write_csv(selection, tmp_path / "p.csv", ExportOptions(overwrite=overwrite))
    assert notes.read_text() == "my own notes"
    assert list(tmp_path.iterdir()) == [notes]


def test_a_note_that_was_left_over_is_replaced(prediction: Prediction, tmp_path: Path) -> None:
    write_csv(Selection.of(prediction, GENES), tmp_path / "p.csv")
    (tmp_path / "p.csv").unlink()
    write_csv(Selection.of(prediction, GENES[:1]), tmp_path / "p.csv")
    assert ", 1 gene." in (tmp_path / "p_README.txt").read_text(encoding="utf-8")


def test_a_value_that_is_unknown_is_an_empty_cell(half_done: Prediction, tmp_path: Path) -> None:
    half_done.done[:] = True  # as where a model lacked the gene
    for is_long in (False, True):
        options = ExportOptions(is_long=is_long, overwrite=True)
        write_csv(Selection.of(half_done, GENES), tmp_path / "p.csv", options)
        last = (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()[-1]
        assert last.endswith(",,,")
