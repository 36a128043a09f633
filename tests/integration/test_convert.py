"""``convert`` from end to end: a published checkpoint becomes a model that ``predict`` takes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from napari_stem.cli import app
from napari_stem.diffusion.denoiser import DenoiserConfig, build_denoiser
from napari_stem.model import load_model
from napari_stem.sample_data import sample_path

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

GENES = ("ERBB2", "CD24", "SCD", "KRT19", "COL1A1")
WIDTH = 1053  # of the bundled encoder, three patches
THREE_PATCHES = ("--patch-um", "150,300,600")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def ok(*arguments: str | Path) -> Result:
    result = run(*arguments)
    assert result.exit_code == 0, (result.stderr, result.exception)
    return result


def refused(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exit_code == 1, (result.stderr, result.exception)
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    return line


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint of random weights in the published form, and its gene list."""
    folder = tmp_path_factory.mktemp("published")
    small = replace(DenoiserConfig.published(len(GENES), WIDTH), hidden=48, depth=2, heads=4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = {
            key: 0.05 * torch.randn(value.shape)
            for key, value in build_denoiser(small).state_dict().items()
        }
    content = {"model": weights, "ema": weights, "opt": {"state": {}, "param_groups": []}}
    torch.save(content, folder / "0300000.pt")
    (folder / "genes.txt").write_text("\n".join(GENES) + "\n")
    return folder


def command(source: Path, out: Path, *more: str) -> tuple[str | Path, ...]:
    return (
        "convert", source / "0300000.pt", "--genes", source / "genes.txt", "--encoder", "bundled",
        "--heads", "4", "--out", out, *more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def converted(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, str]:
    """Model folder, what ``--json`` said, and what stderr did."""
    out = tmp_path_factory.mktemp("converted") / "stem"
    result = ok(*command(source, out, *THREE_PATCHES, "--pitch", "200", "--json"))
    return out, json.loads(result.stdout), result.stderr


def test_what_it_says(converted: tuple[Path, Any, str]) -> None:
    out, told, aloud = converted
    assert (told["out"], told["name"], told["n_genes"]) == (str(out), "stem", len(GENES))
    assert (told["weights"], told["dropped"]) == ("ema", ["model", "opt"])
    assert (told["unit"], told["calibrated"], told["domain"]) == (
        "log2(count + 1)",
        False,
        "unknown",
    )
    assert told["fields_of_view_um"] == [150, 300, 600]
    assert "the optimiser's state" in aloud
    assert "Assumed: patches" not in aloud  # they were stated
    model = load_model(out)
    assert (model.genes, model.pitch_um) == (GENES, 200)


def test_the_folder_that_one_is_in_may_become_the_model(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = json.loads(
        ok(*command(source, tmp_path.relative_to(tmp_path), *THREE_PATCHES, "--json")).stdout
    )
    assert told["name"] == load_model(tmp_path).name == tmp_path.name


def test_it_predicts_on_the_sample(converted: tuple[Path, Any, str], tmp_path: Path) -> None:
    spots, out = tmp_path / "spots.csv", tmp_path / "p.h5ad"
    spots.write_text("x_px,y_px,name\n1500,1500,a\n1800,1500,b\n1500,1800,c\n")
    result = ok(
        "predict", sample_path(), "--model", converted[0], "--spots", spots, "--out", out, "--device", "cpu",
        "--sampler", "ancestral", "--steps", "20", "--draws", "4", "--json",
    )  # fmt: skip
    told = json.loads(result.stdout)
    assert told["n_unlike_training"] is None
    assert (told["calibrated"], told["domain"]) == (False, "unknown")
    assert "cannot tell whether spots look unlike its training data" in result.stderr
    assert "NOT calibrated" in result.stderr
    table = anndata.read_h5ad(out)
    assert list(table.var_names) == list(GENES)
    values = np.asarray(table.X)
    assert np.isfinite(values).all()
    assert np.ptp(values, axis=0).min() > 0  # each spot is told what it looks like
    assert set(table.obs["ood"]) == {"unknown"}
    assert table.obs["ood_distance"].isna().all()
    made = table.uns["napari_stem"]
    assert (made["domain"], made["sampler"], int(made["steps"])) == ("unknown", "ancestral", 20)
    assert not made["calibrated"]


def test_assumptions_are_said_aloud(source: Path, tmp_path: Path) -> None:
    said = refused(*command(source, tmp_path / "m"))
    assert "1053 wide" in said
    assert "351 from one patch" in said
    result = ok(*command(source, tmp_path / "m", *THREE_PATCHES))
    assert "spots 150 um apart" in result.stderr
    assert "not calibrated" in result.stdout


def test_default_patch_is_said(tmp_path: Path) -> None:
    small = replace(DenoiserConfig.published(2, 351), depth=1)
    torch.save(build_denoiser(small).state_dict(), tmp_path / "bare.pt")
    (tmp_path / "genes.txt").write_text("A\nB\n")
    result = ok(
        "convert", tmp_path / "bare.pt", "--genes", tmp_path / "genes.txt", "--encoder", "bundled",
        "--out", tmp_path / "m",
    )  # fmt: skip
    assert "patches of 112 um (224 px at 0.5 um per pixel)" in result.stderr
    assert "6 attention heads" in result.stderr
    assert "Left out" not in result.stderr
    assert load_model(tmp_path / "m").config.fields_of_view_um == (112.0,)


def test_what_does_not_fit_is_named(source: Path, converted, tmp_path: Path) -> None:
    genes = tmp_path / "genes.txt"
    genes.write_text("\n".join(GENES[:-1]))
    arguments = [*command(source, tmp_path / "m", *THREE_PATCHES)]
    arguments[3] = genes
    assert f"predicts 5 genes, {genes} names 4" in refused(*arguments)
    genes.write_text("\n".join([*GENES[:-1], GENES[0]]))
    assert "ERBB2 more than once" in refused(*arguments)
    assert not (tmp_path / "m").exists()
    out, before = converted[0], (converted[0] / "config.json").read_bytes()
    assert "--overwrite" in refused(*command(source, out, *THREE_PATCHES))
    assert (out / "config.json").read_bytes() == before
    (tmp_path / "other.txt").write_text("mine")
    assert "holds other things" in refused(*command(source, tmp_path, *THREE_PATCHES))
    assert run(*command(source, tmp_path / "m", "--patch-um", "wide")).exit_code == 2


def test_a_sampler_that_does_not_fit_is_refused_before_the_work(tmp_path: Path) -> None:
    out = tmp_path / "p.h5ad"
    assert "'ddim' does not fit" in refused(
        "predict", sample_path(), "--out", out, "--sampler", "ddim"
    )
    assert not list(tmp_path.iterdir())
    assert run("predict", sample_path(), "--out", out, "--steps", "1001").exit_code == 2
