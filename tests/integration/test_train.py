"""Training as users meet it: killed and resumed, interrupted, with several processes."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
import torch
from typer.testing import CliRunner

from napari_stem.cli import app
from napari_stem.errors import DatasetError, OutputError
from napari_stem.model.bundle import load_folder
from napari_stem.spatial.dataset import Dataset
from napari_stem.training.fit import TrainingOptions, train

if TYPE_CHECKING:
    from pathlib import Path


class Killed(BaseException):
    """Ends a training where it stands; `test_kills` does so with SIGKILL."""


@pytest.fixture(scope="module")
def panel(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five genes in a file: nothing is left to chance or threads when choosing them."""
    path = tmp_path_factory.mktemp("panel") / "genes.txt"
    genes = Dataset(tiny_dataset).section("C2").counts.var_names[:5]
    path.write_text("\n".join(genes))
    return path


def options(panel: Path, **more: Any) -> dict[str, Any]:
    return {"genes": str(panel), "steps": 8, "batch": 16, "hold_out": ("C3",), "name": "m", **more}


def test_a_killed_training_resumes_to_the_same_model(
    tiny_dataset: Path, panel: Path, tmp_path: Path
) -> None:
    """Ended in the second of two folds; every weight, choice and figure is that of an unbroken run."""
    dataset, asked = Dataset(tiny_dataset), options(panel, checkpoint_minutes=0.0, hold_out=())
    whole = train(dataset, tmp_path / "whole", TrainingOptions(**asked))

    def end(what: str, done: int, _total: int) -> None:
        if what.startswith("Leaving out C3") and done > 3:
            raise Killed

    with pytest.raises(Killed):
        train(dataset, tmp_path / "broken", TrainingOptions(**asked), end)
    assert not (tmp_path / "broken" / "config.json").exists()
    assert (tmp_path / "broken" / "checkpoints" / "left-out-2.safetensors").is_file()
    told: list[tuple[str, int, int]] = []
    resumed = train(
        dataset,
        tmp_path / "broken",
        TrainingOptions(**asked, resume=True),
        lambda *step: told.append(step),
    )
    assert resumed.weights_hash == whole.weights_hash
    assert resumed.card == whole.card
    first = {what: done for what, done, _ in reversed(told)}
    assert first["Leaving out C2 (1 of 2)"] == 8  # finished before
    assert 3 <= first["Leaving out C3 (2 of 2)"] <= 8
    assert not (tmp_path / "broken" / "checkpoints").exists()
    logs = {"left-out-1.csv", "left-out-2.csv"}
    if resumed.card["training_steps"]:  # the correction was kept, and trained on all
        logs.add("all.csv")
    assert {p.name for p in (tmp_path / "broken" / "logs").iterdir()} == logs


def test_two_processes_train_the_published_model_with_one_command(
    tiny_dataset: Path, panel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """As one process does it; only one of them speaks, and only in JSON."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out = ("--out", tmp_path / "m", "--genes", panel, "--hold-out", "C3", "--device", "cpu")
    how = ("--objective", "published", "--steps", 6, "--batch", 16, "--no-augment")
    words = ("train", tiny_dataset, *out, *how, "--processes", 2, "--json")
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["n_genes"], said["sections"], list(said["metrics"])) == (5, ["C2"], ["C3"])
    by_others = capfd.readouterr()
    assert by_others.out == ""
    assert "Leaving out" not in done.stderr + by_others.err
    together = load_folder(tmp_path / "m")
    alone = train(
        Dataset(tiny_dataset),
        tmp_path / "alone",
        TrainingOptions(
            **options(panel, steps=6, batch=16, objective="published", augment=False, log="none")
        ),
    )
    for one, other in zip(together.network.parameters(), alone.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)  # stored in half precision
    assert not together.config.calibrated
    assert not (tmp_path / "alone" / "logs").exists()


def test_ctrl_c_is_130_and_says_how_to_go_on(
    tiny_dataset: Path, panel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_stem.training import denoiser_fit

    out = ("--out", tmp_path / "m", "--genes", panel, "--hold-out", "C3", "--device", "cpu")
    how = ("--objective", "published", "--steps", 8, "--no-augment")
    words = [*map(str, ("train", tiny_dataset, *out, *how))]
    draw = denoiser_fit.draw_batch

    def interrupt(data: Any, settings: Any, step: int, rows: slice) -> Any:
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return draw(data, settings, step, rows)

    def run(*more: str) -> Any:
        return CliRunner().invoke(app, [*words, *more])

    with monkeypatch.context() as patch:
        patch.setattr(denoiser_fit, "draw_batch", interrupt)
        stopped = run()
    assert stopped.exit_code == 130
    assert "stopped at step 4; the same command with --resume goes on" in stopped.stderr
    refused = run()
    assert refused.exit_code == 1
    assert "unfinished training" in refused.stderr
    assert run("--resume", "--overwrite").exit_code == 2
    other = run("--resume", "--seed", "1")
    assert other.exit_code == 1
    assert "seed 0, now 1" in other.stderr
    assert run("--resume", "--keep-checkpoints").exit_code == 0
    assert load_folder(tmp_path / "m").card["training_steps"] == 8
    assert (tmp_path / "m" / "checkpoints").is_dir()


def test_paths_do_and_a_model_is_not_replaced_unasked(small_dataset, small_model, tmp_path) -> None:
    with pytest.raises(OutputError, match="holds a model already"):
        train(str(small_dataset), str(small_model), progress=False)
    with pytest.raises(OutputError, match=r"finished; .* --overwrite in place of --resume"):
        train(small_dataset, small_model, TrainingOptions(resume=True), progress=False)
    with pytest.raises(DatasetError, match="no data set folder"):
        train(small_dataset / "nowhere", tmp_path / "m", progress=False)
