"""``benchmark`` from the command line, on real spots of two sections."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from napari_stem.cli import app
from napari_stem.evaluation import baselines, figures, msi
from napari_stem.evaluation.benchmark import Benchmark
from napari_stem.geometry import PatchSpec
from napari_stem.results.empty import FORMAT
from napari_stem.settings import SamplingSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

QUICK = ("--genes", "hvg:12", "--device", "cpu")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["benchmark", *(str(a) for a in arguments)])


def ok(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, (result.stderr, result.exception)
    return result.stdout


def refused(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exit_code == 1, (result.stderr, result.exception)
    assert result.stdout == ""
    return result.stderr.strip().splitlines()[-1]


class MeanColour:
    """An encoder that takes no time: colours of each field of view, and how they vary."""

    name, version, width = "colour", "1", 12
    patch = PatchSpec((150.0, 300.0), 32)
    spots_at_once = 8

    def encode(self, patches: np.ndarray) -> np.ndarray:
        pixels = patches.reshape(len(patches), 2, -1, 3).astype(np.float32)
        return np.concatenate([pixels.mean(2), pixels.std(2)], axis=2).reshape(len(patches), -1)


@pytest.fixture(scope="module", autouse=True)
def _quick_encoder() -> Iterator[None]:
    """In this process; the command that is interrupted runs in another, with the bundled one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_stem.encoders.registry.load_encoder", lambda *_: MeanColour())
        patch.setattr(msi, "N_TREES", 20)
        patch.setattr(figures, "DPI", 60)
        patch.setattr(figures, "BACKGROUND_PX", 200)
        patch.setattr(baselines, "OURS", SamplingSettings(n_draws=10, n_steps=4))
        yield


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that look at none: drawing takes longer than ridge."""
    monkeypatch.setattr(figures, "draw_figures", lambda *_: [])


@pytest.fixture(scope="module")
def loso(small_dataset: Path, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("loso") / "results"
    names = "ridge,hest-ridge,hest-ridge-centred,knn"
    said = ok("loso", small_dataset, "--out", out, "--predictors", names, "--json", *QUICK)
    return out, json.loads(said)


def test_every_section_is_tested_by_every_predictor(loso: tuple[Path, dict[str, Any]]) -> None:
    out, results = loso
    names = ("ridge", "hest-ridge", "hest-ridge-centred", "knn")
    assert {(r["section"], r["predictor"]) for r in results["runs"]} == {
        (s, p) for s in ("C2", "C3") for p in names
    }
    assert results["complete"]
    assert results["failures"] == []
    assert results["unit"] == "log2(count + 1)"
    assert set(results["predictors"]) == set(names)
    assert all(p["fitted_in"] == results["unit"] for p in results["predictors"].values())
    for fold in results["folds"]:
        assert len(fold["panel"]) == 12
        assert not set(fold["train"]) & set(fold["test"])
    pcc = {name: results["aggregates"][name]["pcc_mean"] for name in names}
    assert all(v["n"] == 2 and v["min"] <= v["mean"] <= v["max"] for v in pcc.values())
    assert pcc["ridge"]["mean"] > 0.2  # real tissue, a section not seen
    assert pcc["hest-ridge"]["mean"] == pytest.approx(pcc["hest-ridge-centred"]["mean"], abs=0.05)
    assert results["aggregates"]["knn"]["crps"]["mean"] > 0
    assert results["aggregates"]["ridge"]["crps"] is None
    stored = json.loads((out / "results.json").read_text())
    assert stored == {k: v for k, v in results.items() if k != "figures"}


def test_panels_do_not_know_their_test_section(
    loso: tuple[Path, dict[str, Any]], small_dataset: Path
) -> None:
    from napari_stem.spatial.dataset import Dataset
    from napari_stem.spatial.panels import top_hvg

    dataset = Dataset(small_dataset)
    for fold in loso[1]["folds"]:
        (train,) = fold["train"]
        assert fold["panel"] == list(top_hvg([dataset.section(train).counts], 12))


def test_tables_are_tidy(loso: tuple[Path, dict[str, Any]]) -> None:
    out, results = loso
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    (found,) = (
        float(r["value"])
        for r in rows
        if (r["section"], r["predictor"], r["metric"]) == ("C3", "knn", "coverage 90")
    )
    (run_,) = (r for r in results["runs"] if (r["section"], r["predictor"]) == ("C3", "knn"))
    assert found == run_["coverage"]["90"]
    with (out / "genes.csv").open() as file:
        genes = [
            r for r in csv.DictReader(file) if (r["section"], r["predictor"]) == ("C2", "ridge")
        ]
    (run_,) = (r for r in results["runs"] if (r["section"], r["predictor"]) == ("C2", "ridge"))
    assert np.mean([float(r["pcc"]) for r in genes]) == pytest.approx(run_["pcc_mean"], abs=1e-5)


def test_figures_are_drawn(loso: tuple[Path, dict[str, Any]]) -> None:
    out, results = loso
    names = sorted(p.name for p in (out / "figures").iterdir())
    assert names == [
        "gene_pcc.png",
        "gene_variation_C2.png",
        "gene_variation_C3.png",
        "maps_C2.png",
        "maps_C3.png",
        "reliability.png",
    ]
    assert len(results["figures"]) == len(names)
    for name in names:
        image = Image.open(out / "figures" / name).convert("RGB")
        assert image.width > 400
        assert len(image.getcolors(1 << 24)) > 50


@pytest.mark.usefixtures("no_figures")
def test_the_same_command_does_nothing_twice_and_another_predictor_joins(
    loso: tuple[Path, dict[str, Any]], small_dataset: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(loso[0], tmp_path / "results")
    written = {p: p.stat().st_mtime_ns for p in out.rglob("*.npz")}
    shown = loso[1]["folds"][0]["panel"][0]
    damaged = out / "runs" / "C2" / "knn.npz"
    damaged.write_bytes(b"PK")
    said = ok(
        "loso", small_dataset, "--out", out, "--predictors", "ridge,ours,knn", "--steps", "1",
        "--show-genes", shown, "--json", *QUICK, "--sections", "C2,C3",
    )  # fmt: skip
    results = json.loads(said)
    changed = {p for p, time_ns in written.items() if p.stat().st_mtime_ns != time_ns}
    assert changed == {damaged}  # and it was mended
    added = {p.name for p in out.rglob("*.npz")} - {p.name for p in written}
    assert added == {"ours-seed0.npz"}
    assert set(results["aggregates"]) == {*loso[1]["aggregates"], "ours"}
    ours = results["aggregates"]["ours"]
    assert ours["pcc_mean"]["mean"] > 0.1
    assert 0.3 < ours["coverage 90"]["mean"] <= 1
    before = {k: loso[1]["aggregates"][k]["mse"] for k in ("ridge", "knn")}
    assert {k: results["aggregates"][k]["mse"] for k in before} == before
    sentence = refused(
        "loso", small_dataset, "--out", out, "--predictors", "ours", "--steps", "2", *QUICK
    )
    assert "other settings" in sentence


@pytest.mark.usefixtures("no_figures")
def test_results_of_two_benchmarks_are_not_mixed(
    loso: tuple[Path, dict[str, Any]], small_dataset: Path, tmp_path: Path
) -> None:
    out = loso[0]
    again = ("loso", small_dataset, "--out", out, "--predictors", "ridge", "--device", "cpu")
    sentence = refused(*again, "--genes", "hvg:9")
    assert "results that differ in genes; choose" in sentence
    assert "--overwrite" in sentence
    assert "differ in normalisation" in refused(*again, *QUICK, "--normalisation", "log1p_cp10k")
    (tmp_path / "precious").touch()
    assert "other things" in refused("loso", small_dataset, "--out", tmp_path, *QUICK)
    fresh = shutil.copytree(out, tmp_path / "results")
    said = ok(
        "loso", small_dataset, "--out", fresh, "--predictors", "ridge", "--genes", "hvg:9",
        "--overwrite", "--json",
    )  # fmt: skip
    assert set(json.loads(said)["aggregates"]) == {"ridge"}
    assert {p.name for p in fresh.rglob("*.npz")} == {"ridge.npz"}


@pytest.mark.usefixtures("no_figures")
def test_one_failing_predictor_does_not_lose_the_others(
    small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("no neighbours today")

    monkeypatch.setattr(baselines, "fit_knn", fail)
    out = ("--out", tmp_path / "results")
    result = run("loso", small_dataset, *out, "--predictors", "knn,ridge", "--json", "-q", *QUICK)
    assert result.exit_code == 0, result.stderr
    results = json.loads(result.stdout)
    assert set(results["aggregates"]) == {"ridge"}
    assert not results["complete"]
    assert [(f["fold"], f["predictor"]) for f in results["failures"]] == [
        ("C2", "knn"),
        ("C3", "knn"),
    ]
    assert "knn failed on C2: ValueError: no neighbours today" in result.stderr
    alone = ("--out", tmp_path / "alone", "--predictors", "knn")
    assert "no neighbours today" in refused("loso", small_dataset, *alone, *QUICK)


@pytest.mark.usefixtures("no_figures")
def test_published_and_hest_bench(small_dataset: Path, tmp_path: Path) -> None:
    said = ok(
        "published", small_dataset, "--hold-out", "C3", "--out", tmp_path / "p", "--steps", "1",
        "--predictors", "published,ridge", "--published-steps", "2", "--seeds", "0,1", "--json",
        *QUICK,
    )  # fmt: skip
    results = json.loads(said)
    assert {(r["predictor"], r["seed"]) for r in results["runs"]} == {
        ("published", 0),
        ("published", 1),
        ("ridge", None),
    }
    assert results["aggregates"]["published"]["pcc_mean"]["n"] == 2
    assert [f["test"] for f in results["folds"]] == [["C3"]]
    assert results["predictors"]["published"]["settings"]["n_steps"] == 2

    hest = tmp_path / "h"
    text = ok("hest-bench", small_dataset, "--out", hest, "--predictors", "hest-ridge", *QUICK)
    assert "hest_pearson" in text
    stored = json.loads((hest / "results.json").read_text())
    assert stored["unit"] == "ln(count + 1)"
    assert "there is one patient" in stored["notes"][0]
    own, plain = stored["own"]["hest-ridge"], stored["aggregates"]["hest-ridge"]
    assert own["hest_pearson"] == pytest.approx(plain["pcc_mean"]["mean"])  # a section a fold


def test_interrupt_keeps_what_is_finished_and_says_how_to_go_on(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results"
    command = [sys.executable, "-m", "napari_stem", "benchmark", "loso", str(tiny_dataset)]
    command += ["--out", str(out), "--predictors", "ridge,ours", "--steps", "1000000", *QUICK]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    first = out / "runs" / "C2" / "ridge.npz"
    while running.poll() is None and not first.is_file():
        time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    _, stderr = running.communicate(timeout=300)
    assert running.returncode == 130, stderr
    assert "1 of 4 runs are finished" in stderr
    assert "Traceback" not in stderr
    stored = json.loads((out / "results.json").read_text())
    assert [(r["fold"], r["predictor"]) for r in stored["runs"]] == [("C2", "ridge")]
    assert not stored["complete"]


def test_an_interrupt_that_a_library_swallows_ends_it_all_the_same(
    small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swallow(_benchmark, on_run) -> None:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        on_run(0, 4, None, "C2: ridge")
        pytest.fail("it went on")

    monkeypatch.setattr(Benchmark, "run_all", swallow)
    result = run("loso", small_dataset, "--out", tmp_path / "r", *QUICK)
    assert result.exit_code == 130
    assert "0 of" in result.stderr


def test_requests_that_do_not_fit(small_dataset: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "r")
    assert "--hold-out" in refused("published", small_dataset, *out, *QUICK)
    assert "'C9'" in refused("loso", small_dataset, *out, "--sections", "C2,C9", *QUICK)
    assert "'forest'" in refused("loso", small_dataset, *out, "--predictors", "forest", *QUICK)
    shown = ("--show-genes", "CD42", "--predictors", "ridge")
    assert "'CD42'" in refused("loso", small_dataset, *out, *shown, *QUICK)
    assert "3 sections" in refused("hmhvg200-5split", small_dataset, *out, *QUICK)
    assert not (tmp_path / "r").exists()
    assert run("loso", small_dataset, *out, "--minutes", "1", "--steps", "1").exit_code == 2
    assert run("loso", small_dataset, *out, "--hold-out", "C2").exit_code == 2
    assert run("msi", small_dataset, *out).exit_code == 2
    assert run("loso", small_dataset, *out, "--seeds", "one").exit_code == 2
    assert run("nonesuch", small_dataset, *out).exit_code == 2


def test_msi_from_the_command_line(tmp_path: Path) -> None:
    import pandas as pd

    rng = np.random.default_rng(0)
    rows = ["slide,patient,msi"]
    for i in range(8):
        values = rng.normal(3 + i % 2, 0.1, size=(5, 3)).astype(np.float32)
        table = anndata.AnnData(values, var=pd.DataFrame(index=["A", "B", "C"]))
        table.obs["done"] = True
        table.layers.update(dict.fromkeys(("sd", "q05", "q95"), values))
        about = {"format": FORMAT, "unit": "log2(count + 1)", "mpp": [0.5, 0.5]}
        about |= {"pitch_um": 200.0, "spot_diameter_um": 100.0}
        table.uns["napari_stem"] = {**about, "json": json.dumps(about)}
        table.write_h5ad(tmp_path / f"s{i}.h5ad")
        rows.append(f"s{i},p{i},{'MSI-H' if i % 2 else 'MSS'}")
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(rows))
    command = ("msi", tmp_path, "--labels", labels, "--out", tmp_path / "r")
    results = json.loads(ok(*command, "--json"))
    assert results["auroc"] == 1
    assert results == json.loads((tmp_path / "r" / "results.json").read_text())
    assert "AUROC 1.000" in ok(*command)
    labels.unlink()
    assert "labels.csv" in refused(*command)
