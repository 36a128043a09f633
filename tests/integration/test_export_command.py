"""``napari-stem export`` from end to end, on a real prediction."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
import zarr
from PIL import Image
from typer.testing import CliRunner

from napari_stem.cli import app
from napari_stem.exporting.kinds import KINDS
from napari_stem.results import Prediction
from napari_stem.sample_data import sample_path

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from napari_stem.settings import ExportKind

REGION = {
    "type": "Feature",
    "properties": {"name": "tumour"},
    "geometry": {
        "type": "Polygon",
        "coordinates": [[[4400, 3400], [5000, 3400], [5000, 4561], [4400, 4561], [4400, 3400]]],
    },
}


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def told(*arguments: str | Path) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, (result.stderr, result.exception)
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def refused(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exit_code == 1, (result.stderr, result.exception)
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.fixture
def regions(tmp_path: Path) -> Path:
    path = tmp_path / "regions.geojson"
    path.write_text(json.dumps(REGION))
    return path


@pytest.fixture
def growing(c5_prediction: Path, tmp_path: Path) -> Path:
    path = tmp_path / "growing.zarr"
    shutil.copytree(c5_prediction, path)
    zarr.open_group(path, use_consolidated=False)["obs"]["done"][10:] = False
    return path


@pytest.mark.filterwarnings("ignore")  # what spatialdata, zarr and dask say of each other
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(c5_prediction: Path, regions: Path, tmp_path: Path, kind: ExportKind) -> None:
    name, n_genes = f"p{KINDS[kind].suffixes[0]}", KINDS[kind].n_genes
    out = tmp_path / "new" / name
    answer = told(c5_prediction, "--to", kind, "--out", out, "--regions", regions)
    assert out.exists()
    prediction = Prediction.open(c5_prediction)
    assert answer["n_genes"] == len(answer["genes"]) == (n_genes or len(prediction.genes))
    expected = {
        "out": str(out),
        "kind": kind,
        "n_spots": len(prediction.spots),
        "n_missing": 0,
        "n_regions": 1,
        "unit": prediction.unit,
    }
    assert expected.items() <= answer.items()
    beside = {p.name for p in out.parent.iterdir()}
    assert beside == ({name, "p_README.txt"} if kind == "csv" else {name})


def test_people_are_told_what_is_missing(growing: Path, tmp_path: Path) -> None:
    result = run(growing, "--to", "h5ad", "--out", tmp_path / "p.h5ad", "--genes", "SCD,GNAS")
    assert result.exit_code == 0
    n_missing = len(Prediction.open(growing).spots) - 10
    assert "10 spots, 2 genes" in result.stdout
    assert f"Not predicted yet, and missing: {n_missing} spots." in result.stdout
    assert "not measured" in result.stdout
    table = anndata.read_h5ad(tmp_path / "p.h5ad")
    assert table.shape == (10, 2)
    assert np.isfinite(table.X).all()


def test_an_h5ad_is_a_prediction_too(c5_prediction: Path, tmp_path: Path) -> None:
    told(c5_prediction, "--to", "h5ad", "--out", tmp_path / "p.h5ad")
    answer = told(tmp_path / "p.h5ad", "--to", "csv", "--out", tmp_path / "p.csv", "--genes", "SCD")
    assert answer["genes"] == ["SCD"]
    found = pd.read_csv(tmp_path / "p.csv")["SCD_predicted_mean"]
    np.testing.assert_allclose(found, Prediction.open(c5_prediction).values("SCD"), rtol=1e-5)


def test_long_csv_of_all_genes(c5_prediction: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    told(c5_prediction, "--to", "csv", "--out", out, "--long", "--genes", "all")
    table = pd.read_csv(out)
    prediction = Prediction.open(c5_prediction)
    assert len(table) == len(prediction.spots) * len(prediction.genes)


def test_a_figure_as_it_was_ordered(c5_prediction: Path, tmp_path: Path) -> None:
    orders = {
        "fine": ("--scale-um", "10"),
        "coarse": ("--scale-um", "40"),
        "fixed": ("--scale-um", "40", "--limits", "0,9"),
        "sharp": ("--scale-um", "40", "--slide", str(sample_path())),
    }
    images = {}
    for name, options in orders.items():
        out = tmp_path / f"{name}.dat"
        told(c5_prediction, "--to", "figure", "--out", out, "--format", "png", *options)
        with Image.open(out) as image:
            assert image.format == "PNG"
            images[name] = np.asarray(image.convert("RGB")).astype(int)
    assert images["fine"].shape[0] > 1.5 * images["coarse"].shape[0]
    assert np.abs(images["fixed"] - images["coarse"]).mean() > 1
    assert np.abs(images["sharp"] - images["coarse"]).mean() > 0.1


def test_what_is_there_stays_unless_told(c5_prediction: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    out.write_text("older")
    order = (c5_prediction, "--to", "csv", "--out", out, "--genes", "SCD")
    assert "p.csv exists already" in refused(*order)
    assert out.read_text() == "older"
    told(*order, "--overwrite")
    assert "SCD_sd" in out.read_text()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--to", "csv", "--out", "p.txt"), "should end in .csv"),
        (("--to", "csv", "--out", "p.png", "--format", "png"), "should end in .csv"),
        (("--to", "report", "--out", "p.html", "--genes", "SCDD"), "Did you mean SCD"),
        (("--to", "csv", "--out", "p.csv", "--regions", "none.geojson"), "no region file"),
    ],
)
def test_orders_that_cannot_be_carried_out(
    c5_prediction: Path, tmp_path: Path, monkeypatch, options, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sentence in refused(c5_prediction, *options)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_prediction(tmp_path: Path) -> None:
    out = ("--to", "csv", "--out", tmp_path / "p.csv")
    for name in ("none.zarr", "none.h5ad"):
        assert f"no prediction {tmp_path / name}" in refused(tmp_path / name, *out)
    (tmp_path / "notes.h5ad").write_text("notes")
    assert "is not a prediction" in refused(tmp_path / "notes.h5ad", *out)
    anndata.AnnData(np.ones((2, 2), np.float32)).write_h5ad(tmp_path / "measured.h5ad")
    assert "is not a prediction" in refused(tmp_path / "measured.h5ad", *out)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("h5ad", ("--long",)),
        ("csv", ("--slide", "/nowhere.svs")),
        ("csv", ("--image-max-px", "100")),
        ("report", ("--scale-um", "5")),
        ("spatialdata", ("--format", "png")),
        ("geojson", ("--limits", "p1,p99")),
    ],
)
def test_an_option_of_another_kind_is_refused(c5_prediction: Path, tmp_path, kind, options) -> None:
    out = tmp_path / f"p{KINDS[kind].suffixes[0]}"
    result = run(c5_prediction, "--to", kind, "--out", out, *options)
    assert result.exit_code == 2
    said = " ".join(re.sub("[│╭╮╰╯─]", " ", result.stderr).split())
    assert f"--to {kind} does not use {options[0]}; leave it out." in said
    assert list(tmp_path.iterdir()) == []


def test_limits_that_are_none(c5_prediction: Path, tmp_path: Path) -> None:
    order = (c5_prediction, "--to", "figure", "--out", tmp_path / "p.png", "--limits", "3")
    result = run(*order)
    assert result.exit_code == 2
    assert "--limits" in result.stderr


@pytest.mark.parametrize("genes", ["", ",", " , "])
def test_genes_that_are_none(c5_prediction: Path, tmp_path: Path, genes: str) -> None:
    result = run(c5_prediction, "--to", "csv", "--out", tmp_path / "p.csv", "--genes", genes)
    assert result.exit_code == 2
    assert "--genes names no gene" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_regions_stay(c5_prediction: Path, regions: Path) -> None:
    order = ("--to", "geojson", "--out", regions, "--regions", regions, "--overwrite")
    assert "is the file of regions itself" in refused(c5_prediction, *order)
    assert json.loads(regions.read_text()) == REGION


def test_help_says_how_many_genes_each_kind_takes() -> None:
    said = " ".join(re.sub("[│╭╮╰╯─]", " ", run("--help").stdout).split())
    for kind, about in KINDS.items():
        assert about.n_genes is None or f"{kind} ({about.n_genes})" in said
