"""The command line from end to end, on real slides and the packaged model."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pytest
from typer.testing import CliRunner

from napari_stem.cli import app
from napari_stem.results import Prediction
from napari_stem.sample_data import sample_path

if TYPE_CHECKING:
    from click.testing import Result

DATA = Path(__file__).parents[1] / "data"
CROP, MPP = DATA / "slides" / "C5-crop.jpg", 0.6907
QUICK = ("--mpp", str(MPP), "--draws", "3", "--steps", "2", "--device", "cpu")
SPOTS = "x_px,y_px,name\n400,400,a\n700,400,b\n400,700,c\n700,700,d\n"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def ok(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, (result.stderr, result.exception)
    return result.stdout


def refused(*arguments: str | Path) -> str:
    """The one sentence with which a command ends."""
    result = run(*arguments)
    assert result.exit_code == 1, (result.stderr, result.exception)
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert re.match(r"[A-Z]\w+Error: ", lines[0]), lines  # scripts tell by it what is wrong
    return lines[0]


@pytest.fixture(scope="module")
def spots_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spots") / "spots.csv"
    path.write_text(SPOTS)
    return path


@pytest.fixture(scope="module")
def predicted(spots_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A small prediction as h5ad, and what ``--json`` said."""
    out = tmp_path_factory.mktemp("predicted") / "p.h5ad"
    said = ok("predict", CROP, "--spots", spots_csv, "--out", out, "--keep-draws", "--json", *QUICK)
    return out, json.loads(said)


def test_a_slide_unlike_the_training_data_is_asked_about(spots_csv, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        "napari_stem.prediction_job.PredictionJob.domain_warning", lambda _: "Blurred."
    )
    command = ["predict", str(CROP), "--spots", str(spots_csv), *QUICK, "--out"]
    alone = run(*command, tmp_path / "alone.zarr", "--json")  # nobody is there: a warning
    assert alone.exit_code == 0
    assert "Blurred." in alone.stderr.splitlines()
    assert json.loads(alone.stdout)["domain_warning"] == "Blurred."
    monkeypatch.setattr("napari_stem.cli.terminal.has_person", lambda: True)
    asked = CliRunner().invoke(app, [*command, str(tmp_path / "asked.zarr")], input="n\n")
    assert "Predict all the same? [y/N]" in asked.stderr
    assert asked.exit_code != 0
    assert not (tmp_path / "asked.zarr").exists()
    assert "all the same" not in run(*command, tmp_path / "sure.zarr", "--yes").stderr


# what there is


def test_info_as_json_is_what_the_file_says() -> None:
    told = json.loads(ok("info", CROP, "--json"))
    assert (told["width_px"], told["height_px"], told["mpp"]) == (1500, 1300, None)
    assert told["readers"]["raster"] is None
    assert told["readers"]["tiff"] is not None
    assert told["levels"][0] == {"height_px": 1300, "width_px": 1500, "downsample": 1.0}


def test_info_takes_a_pixel_size_and_reads_well() -> None:
    assert json.loads(ok("info", CROP, "--mpp", "0.5", "--json"))["mpp"] == [0.5, 0.5]
    assert "0.75 x 0.65 mm" in ok("info", CROP, "--mpp", "0.5")


def test_models_and_their_genes() -> None:
    (packaged,) = json.loads(ok("models", "--json"))
    assert packaged["name"] == "her2st-breast"
    assert packaged["ready"] is True
    lines = ok("models", "--genes", "her2st-breast").splitlines()
    known = json.loads(ok("models", "--genes", "her2st-breast", "--json"))["known"]
    assert len(known) == packaged["n_genes"]
    by_chance = [gene for gene, facts in known.items() if facts["by_chance"]]  # listed last
    told = [gene for gene in known if gene not in by_chance]
    assert [line for line in lines if not line.startswith("#")] == told + by_chance
    assert known["SCD"]["pcc_low"] < known["SCD"]["pcc"] < known["SCD"]["pcc_high"]
    assert "her2st-breast" in ok("models")


def test_encoders() -> None:
    assert {"name": "bundled", "ready": True}.items() <= json.loads(ok("encoders", "--json"))[
        0
    ].items()
    assert "Apache-2.0" in ok("encoders")


def test_import_makes_a_data_set(her2st_source: Path, tmp_path: Path) -> None:
    told = json.loads(ok("import", "her2st", her2st_source, "--out", tmp_path / "ds", "--json"))
    assert told["sections"] == ["C2", "C3"]
    assert (tmp_path / "ds" / "st" / "C3.h5ad").is_file()


# predict


def test_predict_at_given_spots(predicted: tuple[Path, Any]) -> None:
    path, told = predicted
    table = anndata.read_h5ad(path)
    assert list(table.obs_names) == list("abcd")
    assert (told["n_spots"], told["n_genes"], told["out"]) == (4, table.n_vars, str(path))
    assert np.isfinite(np.asarray(table.X)).all()
    assert table.obsm["draws"].shape == (4, table.n_vars, 3)
    np.testing.assert_array_equal(table.obsm["spatial"][1], (700, 400))
    assert table.uns["napari_stem"]["predicted"]
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing half-done is left


def test_some_genes_are_the_same_numbers(
    predicted: tuple[Path, Any], spots_csv: Path, tmp_path: Path
) -> None:
    everything, out = anndata.read_h5ad(predicted[0]), tmp_path / "some.zarr"
    ok(
        "predict",
        CROP,
        "--spots",
        spots_csv,
        "--out",
        out,
        "--genes",
        "SCD,CD24",
        "--keep-draws",
        *QUICK,
    )
    some = Prediction.open(out)
    assert some.genes == ("SCD", "CD24")
    np.testing.assert_array_equal(some.values("SCD"), everything[:, "SCD"].X[:, 0])
    kept = everything.obsm["draws"][:, everything.var_names.get_indexer(["SCD", "CD24"])]
    np.testing.assert_array_equal(some.to_anndata().obsm["draws"], kept)


@pytest.mark.parametrize("name", ["P.H5AD", "P.ZARR"])
def test_endings_may_be_in_capitals(name: str, spots_csv: Path, tmp_path: Path) -> None:
    out = tmp_path / name
    ok("predict", CROP, "--spots", spots_csv, "--out", out, "--genes", "SCD", *QUICK)
    assert Prediction.open(out).genes == ("SCD",)
    assert list(tmp_path.iterdir()) == [out]


def test_spots_of_another_table_keep_their_names(
    predicted: tuple[Path, Any], tmp_path: Path
) -> None:
    out = tmp_path / "again.zarr"
    ok("predict", CROP, "--spots", predicted[0], "--out", out, *QUICK)
    again = Prediction.open(out)
    assert again.spots.names == tuple("abcd")
    np.testing.assert_array_equal(
        again.values("SCD"), anndata.read_h5ad(predicted[0])[:, "SCD"].X[:, 0]
    )


def test_depth_is_a_number_or_the_median_of_measured_counts(spots_csv, tmp_path) -> None:
    counts = anndata.AnnData(np.array([[10.0, 20.0], [30.0, 40.0], [1.0, 2.0]]))
    counts.write_h5ad(tmp_path / "counts.h5ad")
    out, asked = tmp_path / "p.zarr", ("--depth", tmp_path / "counts.h5ad", "--quantity", "share")
    ok("predict", CROP, "--spots", spots_csv, "--out", out, *asked, "--patient", "same", *QUICK)
    told = Prediction.open(out).provenance
    assert (told["depth"], told["quantity"], told["patient"]) == (30.0, "share", "same")
    anndata.AnnData(np.zeros((3, 2))).write_h5ad(tmp_path / "empty.h5ad")
    for depth in ("-3", "1e308", str(tmp_path / "empty.h5ad")):
        wrong = run("predict", CROP, "--out", tmp_path / "q.zarr", "--depth", depth)
        assert wrong.exit_code == 2
        assert "--depth takes a number above 0" in wrong.stderr


@pytest.mark.parametrize("seed", ["-1", str(2**63)])
def test_a_seed_that_cannot_be_stored_is_refused(seed: str, tmp_path: Path) -> None:
    wrong = run("predict", CROP, "--out", tmp_path / "q.zarr", "--seed", seed)
    assert wrong.exit_code == 2
    assert "--seed" in wrong.stderr


def test_predict_inside_regions(tmp_path: Path) -> None:
    square = [[[400, 400], [900, 400], [900, 900], [400, 900], [400, 400]]]
    far = [[[1000, 1000], [1400, 1000], [1400, 1250], [1000, 1250], [1000, 1000]]]
    feature = {
        "type": "Feature",
        "properties": {"name": "both"},
        "geometry": {"type": "MultiPolygon", "coordinates": [square, far]},
    }
    regions = tmp_path / "regions.geojson"
    regions.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    ok("predict", CROP, "--regions", regions, "--out", tmp_path / "p.zarr", *QUICK)
    prediction = Prediction.open(tmp_path / "p.zarr")
    assert set(prediction.region_names) == {"both"}
    spots = prediction.spots
    in_square = (spots.x_px < 900) & (spots.y_px < 900)
    in_far = (spots.x_px > 1000) & (spots.y_px > 1000)
    assert in_square.any()
    assert in_far.any()
    assert (in_square | in_far).all()


def test_resume_of_a_finished_run_changes_nothing(spots_csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.zarr"
    command = ("predict", CROP, "--spots", spots_csv, "--out", out, *QUICK)
    ok(*command)
    before = np.array(Prediction.open(out).values("SCD"))
    assert "--resume" in refused(*command)
    ok(*command, "--resume")
    np.testing.assert_array_equal(Prediction.open(out).values("SCD"), before)
    assert "begun with something else: seed;" in refused(*command, "--resume", "--seed", "7")


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_keeps_what_is_done_and_resume_ends_it(
    asked: signal.Signals, tmp_path: Path
) -> None:
    out = tmp_path / "p.h5ad"
    work = tmp_path / "p.h5ad.partial.zarr"
    command = [sys.executable, "-m", "napari_stem", "predict", str(CROP), "--all", "--pitch", "130"]
    command += ["--out", str(out), *QUICK]
    env = {**os.environ, "NAPARI_STEM_CACHE": str(tmp_path)}  # with no embedding yet
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
    while running.poll() is None and not (work.is_dir() and Prediction.open(work).done.any()):
        time.sleep(0.2)
    running.send_signal(asked)
    _, stderr = running.communicate(timeout=300)
    assert running.returncode == 130, stderr
    assert str(work) in stderr
    assert "--resume" in stderr
    assert "Traceback" not in stderr
    assert not out.exists()
    kept = Prediction.open(work)
    first = int(np.flatnonzero(kept.done)[0])
    value, name = float(kept.values("SCD")[first]), kept.spots.names[first]
    assert 0 < kept.done.sum() < len(kept.spots)
    ok(*command[3:], "--resume")
    table = anndata.read_h5ad(out)
    assert table.obs["done"].all()
    assert float(table[name, "SCD"].X[0, 0]) == value
    assert not work.exists()


# evaluate


def counts_like(prediction: anndata.AnnData, seed: int = 0) -> anndata.AnnData:
    """Counts whose log2(count + 1) lies near the prediction, spots in another order."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(2 ** np.asarray(prediction.X) - 1).astype(np.float32)
    truth = anndata.AnnData(counts, obs=prediction.obs[[]].copy(), var=prediction.var[[]].copy())
    truth.obsm["spatial"] = prediction.obsm["spatial"].copy()
    return truth[::-1].copy()


def test_evaluate_matches_by_name_and_by_place_alike(
    predicted: tuple[Path, Any], tmp_path: Path
) -> None:
    truth = counts_like(anndata.read_h5ad(predicted[0]))
    truth.write_h5ad(tmp_path / "named.h5ad")
    truth.obs_names = [f"spot {i}" for i in range(4)]
    truth.obsm["spatial"] = truth.obsm["spatial"] + 20.0
    truth.write_h5ad(tmp_path / "placed.h5ad")
    by_name = run("evaluate", predicted[0], "--truth", tmp_path / "named.h5ad", "--json")
    by_place = run("evaluate", predicted[0], "--truth", tmp_path / "placed.h5ad", "--json")
    assert "matched by name" in by_name.stderr
    assert "matched by position" in by_place.stderr
    figures = json.loads(by_name.stdout)
    assert figures["matched_by"] == "name"
    assert {**figures, "matched_by": "position"} == json.loads(by_place.stdout)
    assert (figures["n_predicted"], figures["n_truth"]) == (4, 4)
    assert figures["n_spots"] == 4
    assert figures["crps"] > 0
    assert set(figures["coverage"]) == {"50", "80", "90", "95"}
    assert figures["unit"] == "log2(count + 1)"


def test_evaluate_says_what_two_samples_do_not_give(
    predicted: tuple[Path, Any], tmp_path: Path
) -> None:
    """They were kept: to keep them gives no more."""
    table = anndata.read_h5ad(predicted[0])
    counts_like(table).write_h5ad(tmp_path / "t.h5ad")
    command = ("evaluate", tmp_path / "p.h5ad", "--truth", tmp_path / "t.h5ad")
    table.obsm["draws"] = table.obsm["draws"][..., :2]
    table.write_h5ad(tmp_path / "p.h5ad")
    of_two = run(*command).stderr
    assert "predict with more --draws" in of_two
    assert "--keep-draws" not in of_two
    del table.obsm["draws"]
    table.write_h5ad(tmp_path / "p.h5ad")
    of_none = run(*command).stderr
    assert "predict with --keep-draws" in of_none
    assert "more --draws" not in of_none


def test_names_that_agree_by_chance_do_not_count(
    predicted: tuple[Path, Any], tmp_path: Path
) -> None:
    truth = counts_like(anndata.read_h5ad(predicted[0]))
    extra = truth[:1].copy()
    extra.obs_names, extra.obsm["spatial"] = ["e"], np.array([[1300.0, 1200.0]])
    truth = anndata.concat([truth, extra])
    truth.obs_names = ["a", "b", "c", "d", "e"]  # the order was reversed: these are wrong
    truth.write_h5ad(tmp_path / "t.h5ad")
    result = run("evaluate", predicted[0], "--truth", tmp_path / "t.h5ad")
    assert "4 spots matched by position" in result.stderr
    assert "pcc_50" in result.stdout
    assert "errors in log2(count + 1)" in result.stdout


def test_evaluate_refuses_what_it_cannot_compare(
    predicted: tuple[Path, Any], tmp_path: Path
) -> None:
    assert "check the path" in refused("evaluate", predicted[0], "--truth", tmp_path / "no.h5ad")
    truth = counts_like(anndata.read_h5ad(predicted[0]))
    assert "not a prediction" in _refused_with(truth, predicted[0], tmp_path, swap=True)
    elsewhere = truth.copy()
    elsewhere.obs_names = [f"spot {i}" for i in range(4)]
    elsewhere.obsm["spatial"] = elsewhere.obsm["spatial"] + 5000
    assert "same slide" in _refused_with(elsewhere, predicted[0], tmp_path)
    truth.X = truth.X * 0.5 + 0.25
    assert "raw counts" in _refused_with(truth, predicted[0], tmp_path)


def test_evaluate_refuses_where_few_spots_match_unless_told(
    predicted: tuple[Path, Any], tmp_path: Path
) -> None:
    truth = counts_like(anndata.read_h5ad(predicted[0]))
    truth.obs_names = [f"spot {i}" for i in range(4)]
    truth.obsm["spatial"][:3] += 5000
    truth.write_h5ad(tmp_path / "t.h5ad")
    command = ("evaluate", predicted[0], "--truth", tmp_path / "t.h5ad")
    sentence = refused(*command, "--json")
    assert sentence.startswith("PredictionError: Only 1 of 4 predicted and 4 measured spots match")
    assert "--allow-partial" in sentence
    result = run(*command, "--allow-partial", "--json")
    assert result.exit_code == 0, result.exception
    figures = json.loads(result.stdout)
    counts = {"n_matched": 1, "n_predicted": 4, "n_truth": 4, "n_spots": 1}
    assert counts.items() <= figures.items()
    assert "the figures say little" in result.stderr


def _refused_with(truth: anndata.AnnData, path: Path, folder: Path, *, swap: bool = False) -> str:
    truth.write_h5ad(folder / "truth.h5ad")
    tables = (folder / "truth.h5ad", path) if swap else (path, folder / "truth.h5ad")
    return refused("evaluate", tables[0], "--truth", tables[1])


# bad input: one sentence, exit 1, nothing written


def test_a_text_file_named_tif(tmp_path: Path) -> None:
    fake = tmp_path / "slide.tif"
    fake.write_text("not an image")
    assert "slide.tif" in refused("info", fake)
    assert "slide.tif" in refused("predict", fake, "--out", tmp_path / "p.zarr", *QUICK)
    assert not (tmp_path / "p.zarr").exists()


def test_a_truncated_jpeg(tmp_path: Path) -> None:
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(CROP.read_bytes()[:60_000])
    assert "cut.jpg" in refused("predict", cut, "--out", tmp_path / "p.zarr", *QUICK)


def test_a_slide_without_pixel_size(tmp_path: Path) -> None:
    assert "--mpp" in refused("predict", CROP, "--out", tmp_path / "p.zarr")


def test_an_unknown_gene(tmp_path: Path) -> None:
    sentence = refused("predict", CROP, "--out", tmp_path / "p.zarr", "--genes", "SCD,CD42", *QUICK)
    assert "'CD42'" in sentence
    assert "CD24" in sentence
    assert not (tmp_path / "p.zarr").exists()


def test_a_model_that_lacks_a_file(tmp_path: Path) -> None:
    from napari_stem.model import PACKAGED

    folder = tmp_path / "model"
    shutil.copytree(PACKAGED / "her2st-breast", folder)
    (folder / "model.safetensors").unlink()
    out = tmp_path / "p.zarr"
    assert "model.safetensors" in refused("predict", CROP, "--model", folder, "--out", out, *QUICK)
    assert "no model 'nonesuch'" in refused(
        "predict", CROP, "--model", "nonesuch", "--out", out, *QUICK
    )
    assert "no model 'nonesuch'" in refused("models", "--genes", "nonesuch")


def test_a_region_off_the_tissue(tmp_path: Path) -> None:
    regions = tmp_path / "off.geojson"
    corners = [[[9000, 9000], [9500, 9000], [9500, 9500], [9000, 9000]]]
    regions.write_text(json.dumps({"type": "Polygon", "coordinates": corners}))
    out = tmp_path / "p.zarr"
    assert "region 1" in refused("predict", CROP, "--regions", regions, "--out", out, *QUICK)
    regions.write_text('{"type": "Point", "coordinates": [1, 2]}')
    assert "no polygon" in refused("predict", CROP, "--regions", regions, "--out", out, *QUICK)
    regions.write_text("{")
    assert "GeoJSON" in refused("predict", CROP, "--regions", regions, "--out", out, *QUICK)
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("x,y\n1,2\n", "x_px"),
        ("x_px,y_px\n1,two\n", "numbers"),
        ("x_px,y_px\n1,\n", "not numbers"),
        ("x_px,y_px\n10,99999\n", "lie off"),
        ("x_px,y_px,name\n9,9,a\n99,9,a\n", "spots.csv repeat, such as a;"),
        ("x_px,y_px,name\n10,20,a\n30,40,a\n", "repeat"),
        ("x_px,y_px\n", "no spots"),
    ],
)
def test_spots_that_cannot_be_used(content: str, word: str, tmp_path: Path) -> None:
    spots = tmp_path / "spots.csv"
    spots.write_text(content)
    out = tmp_path / "p.zarr"
    assert word in refused("predict", CROP, "--spots", spots, "--out", out, *QUICK)
    assert not out.exists()


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "taken.h5ad").write_text("precious")
    below = tmp_path / "file" / "p.zarr"
    # the slide is none either: that this is not what is told shows that the output comes first
    assert str(below) in refused("predict", tmp_path / "file", "--out", below)
    assert "exists already" in refused("predict", CROP, "--out", tmp_path / "taken.h5ad", *QUICK)
    assert (tmp_path / "taken.h5ad").read_text() == "precious"
    assert ".h5ad" in refused("predict", CROP, "--out", tmp_path / "p.csv", *QUICK)
    assert str(below) in refused("train", tmp_path, "--out", below)


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENAMETOOLONG])
@pytest.mark.parametrize("command", ["predict", "models check", "import check"])
def test_what_a_user_may_not_even_look_for_is_told(
    command: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    out = ["--out", str(tmp_path / "p.zarr")] if command == "predict" else []
    ended = CliRunner().invoke(app, [*command.split(), str(tmp_path / "there"), *out])
    assert ended.exit_code == 1, ended.exception
    assert f"there cannot be reached ({os.strerror(number)}); check" in ended.stderr


def test_usage_errors_are_2(tmp_path: Path) -> None:
    out = ("--out", tmp_path / "p.zarr")
    assert run("predict", CROP, *out, "--tissue", "--all").exit_code == 2
    assert run("predict", CROP, *out, "--draws", "1").exit_code == 2
    assert run("predict", CROP, *out, "--sampler", "magic").exit_code == 2
    for option, value, told in (
        ("--mpp", "0,69", "'--mpp': write a number, such as 0.5"),
        ("--draws", "few", "'--draws': write a whole number, such as 32"),
        ("--draws", "1", "'--draws': the value should be greater than or equal to 2"),
        ("--sampler", "magic", "'--sampler': 'magic' is not one of"),
    ):
        assert told in run("predict", CROP, *out, option, value).stderr
    assert run("predict", CROP).exit_code == 2
    assert run("nonesuch").exit_code == 2


# train


def test_train_overwrites_nothing_unasked(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    assert "--overwrite" in refused("train", tmp_path, "--out", model)
    assert "wsis" in refused("train", tmp_path, "--out", model, "--overwrite")
    assert "other things" in refused("train", tmp_path, "--out", tmp_path)
    unfinished = tmp_path / "unfinished"
    (unfinished / "checkpoints").mkdir(parents=True)
    assert "--resume" in refused("train", tmp_path, "--out", unfinished)
    assert "wsis" in refused("train", tmp_path, "--out", unfinished, "--resume")
    assert "wsis" in refused("train", tmp_path, "--out", unfinished, "--overwrite")
    assert "no data set" in refused("train", tmp_path / "no", "--out", tmp_path / "new")


def test_train_refuses_sections_that_are_not_there(her2st_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    assert "'C9'" in refused("train", her2st_dataset, "--out", out, "--hold-out", "C9")
    assert "held out" in refused("train", her2st_dataset, "--out", out, "--hold-out", "C2, C3")
    assert not out.exists()


def test_train_hands_on_its_options_and_reports(
    her2st_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_stem.model import load_model
    from napari_stem.training import fit

    asked: list[fit.TrainingOptions] = []

    def train(_dataset: Any, _out: Path, options: fit.TrainingOptions, *_: Any, **__: Any) -> Any:
        asked.append(options)
        return load_model()

    monkeypatch.setattr(fit, "train", train)
    command = ("train", her2st_dataset, "--out", tmp_path / "m", "--hold-out", "C3", "--steps", "9")
    said = ok(*command, "--seed", "4", "--device", "cpu")
    (options,) = asked
    assert (options.hold_out, options.steps, options.seed) == (("C3",), 9, 4)
    assert (
        "Held-out section C5; errors in log2(count + 1)" in said
    )  # the packaged model's own report
    assert "ridge" in said
    told = json.loads(ok(*command, "--json"))
    assert "C5" in told["metrics"]
    assert told["unit"] == "log2(count + 1)"


def test_train_says_before_it_begins_what_choosing_the_steps_costs(
    her2st_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_stem.model import load_model
    from napari_stem.training import fit

    monkeypatch.setattr(fit, "train", lambda *_, **__: load_model())
    command = ("train", her2st_dataset, "--out", tmp_path / "m", "--device", "cpu")
    published = ("--objective", "published", "--size", "full")
    two = run(*command, *published).stderr
    assert "3 trainings of up to 200,000 steps" in two
    one = run(*command, *published, "--hold-out", "C2").stderr  # cut into four strips
    assert "5 trainings of up to 200,000 steps" in one
    for told in (("--steps", "9"), ("--minutes", "1")):
        assert "trainings" not in run(*command, *published, *told).stderr
    assert "trainings" not in run(*command).stderr


def test_interrupted_training_is_130(
    her2st_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_stem.training import fit

    def train(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "train", train)
    result = run("train", her2st_dataset, "--out", tmp_path / "m", "--device", "cpu")
    assert result.exit_code == 130
    assert "no model was written" in result.stderr


# demo


def test_demo_in_a_window_says_what_the_model_is_worth(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_stem.cli import demo

    opened: list[bool] = []
    viewer = types.ModuleType("napari_stem.widgets.dock")
    monkeypatch.setattr(viewer, "show_demo", lambda: opened.append(True), raising=False)
    monkeypatch.setitem(sys.modules, "napari_stem.widgets.dock", viewer)
    monkeypatch.setattr(demo, "why_no_window", lambda: None)
    said = ok("demo")
    assert opened == [True]
    assert "pcc_50" in said
    assert "ridge" in said
    assert "errors in log2(count + 1)" in said


@pytest.mark.slow
def test_demo_writes_map_table_and_honest_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every fifth spot, to be quick."""
    from napari_stem import prediction_job

    choose = prediction_job.choose_spots
    monkeypatch.setattr(
        prediction_job,
        "choose_spots",
        lambda *a, **k: (s := choose(*a, **k)).take(np.arange(0, len(s), 5)),
    )
    told = json.loads(ok("demo", "--headless", "--out", tmp_path / "demo", "--json"))
    assert Path(told["png"]).read_bytes().startswith(b"\x89PNG")
    table = anndata.read_h5ad(told["h5ad"])
    assert table.shape == (told["n_spots"], told["n_genes"])
    assert table.obs["done"].all()
    truth = sample_path().parents[1] / "st" / "C5.h5ad"
    measured = tmp_path / "demo" / "measured-spots.zarr"
    assert json.loads(ok("evaluate", measured, "--truth", truth, "--json")) == told["metrics"]
    assert told["metrics"]["pcc_50"] > 0.5
    assert 0.8 < told["metrics"]["coverage"]["90"] < 1


def test_an_interrupt_while_libraries_are_imported_is_130(tmp_path: Path) -> None:
    project = tomllib.loads((DATA.parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    module, _, function = project["scripts"]["napari-stem"].partition(":")
    (tmp_path / "interrupted.py").write_text(
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer':\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        f"from {module} import {function}\n"
        f"sys.exit({function}())\n"
    )
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")


def test_an_interrupt_within_an_exec_is_130_too(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(
        "import runpy, signal, sys, napari_stem.slide as slide\n"
        # a shell has what it runs in the background ignore it
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        # it may come a moment later, but within the exec
        "text = 'import signal; signal.raise_signal(signal.SIGINT)\\nwhile True: pass'\n"
        "slide.describe = lambda *_, **__: exec(text)\n"
        "sys.argv = ['napari-stem', 'info', 'slide.svs']\n"
        "runpy.run_module('napari_stem', run_name='__main__')\n"
    )
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")
