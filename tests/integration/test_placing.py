"""``predict``: what it says of the tissue and of the pixel size before it begins."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from napari_stem.cli import app


@pytest.mark.parametrize("where", [["--all"], ["--regions", "r.geojson"], ["--spots", "s.csv"]])
@pytest.mark.parametrize("option", [["--tissue-sensitivity", "60"], ["--min-tissue-mm2", "0.1"]])
def test_tissue_options_belong_to_the_tissue(where, option):
    result = CliRunner().invoke(app, ["predict", "s.svs", "--out", "p.zarr", *where, *option])
    assert result.exit_code == 2
    assert "belong to --tissue" in " ".join(result.output.replace("│", " ").split())


def test_a_prediction_keeps_the_warning_and_goes_on(slides_folder, tmp_path):
    out = tmp_path / "p.zarr"
    command = ["predict", str(slides_folder / "C5-crop.jpg"), "--out", str(out), "--mpp", "0.345"]
    command += ["--draws", "2", "--steps", "2", "--device", "cpu"]
    command += [
        "--pitch",
        "150",
        "--tissue-sensitivity",
        "40",
        "--min-tissue-mm2",
        "0.02",
        "--json",
    ]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert "factor of 2" in told["scale_warning"]
    assert told["scale_warning"] in " ".join(result.stderr.split())
    from napari_stem.results import Prediction

    prediction = Prediction.open(out)
    assert prediction.provenance["scale_check"]["warning"] == told["scale_warning"]


@pytest.fixture
def slides_folder(request):
    return request.config.rootpath / "tests" / "data" / "slides"
