"""``predict``: what it says of the tissue and of the pixel size before it begins."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from napari_stem.cli import app
from napari_stem.commands.placing import scale_checked
from napari_stem.geometry import Mpp
from napari_stem.slide import open_slide


@pytest.fixture
def crop(request):
    """Open the real crop at a pixel size; closed at the end."""
    opened = []

    def opening(mpp_um: float):
        path = request.config.rootpath / "tests" / "data" / "slides" / "C5-crop.jpg"
        opened.append(open_slide(path, Mpp.square(mpp_um)))
        return opened[-1]

    yield opening
    for slide in opened:
        slide.close()


def test_a_pixel_size_that_fits_is_noted_without_a_word(crop, capsys):
    found = scale_checked(crop(0.6907))
    assert found["scale_check"]["warning"] is None
    assert 5 < found["scale_check"]["width_um"] < 10
    assert capsys.readouterr().err == ""
    assert json.loads(json.dumps(found)) == found


def test_a_pixel_size_twice_too_large_is_warned_of_and_noted(crop, capsys):
    found = scale_checked(crop(2 * 0.6907))
    told = " ".join(capsys.readouterr().err.split())
    assert found["scale_check"]["warning"] in told
    assert "C5-crop.jpg" in told
    assert "factor of 2" in told


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
    from napari_stem.results import Prediction

    prediction = Prediction.open(out)
    assert prediction.provenance["scale_check"]["warning"] == told["scale_warning"]


@pytest.fixture
def slides_folder(request):
    return request.config.rootpath / "tests" / "data" / "slides"
