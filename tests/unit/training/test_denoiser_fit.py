"""The training loop: the same weights, however it is cut up, stopped or sped up."""

from __future__ import annotations

import csv
import logging
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_stem import errors
from napari_stem.errors import ModelError, OutputError
from napari_stem.training import denoiser_fit
from napari_stem.training.batches import P_MEAN, P_STD, TrainingData, draw_batch
from napari_stem.training.checkpoints import COLUMNS, Checkpoints, Logs
from napari_stem.training.denoiser_fit import TrainingRun, TrainingStopped, fit_denoiser
from napari_stem.training.options import resolved_precision
from napari_stem.training.team import Team

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from napari_stem.training.options import FitSettings


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in network.parameters()])


def draws(network: nn.Module) -> np.ndarray:
    """Stands in for what is drawn at left-out spots."""
    return weights(network)[:3].numpy().copy()


def kept(folder: Path, tell: Callable[..., None] | None = None) -> TrainingRun:
    checkpoints = Checkpoints(folder, every_minutes=0)
    checkpoints.begin({"seed": 0}, resume=True)
    return TrainingRun(checkpoints=checkpoints, **({"tell": tell} if tell else {}))


# batches


def test_a_batch_depends_on_seed_and_step_alone(data, settings) -> None:
    whole, again = (draw_batch(data, settings, 7, slice(0, 12)) for _ in range(2))
    torch.testing.assert_close(again.noise, whole.noise, rtol=0, atol=0)
    part = draw_batch(data, settings, 7, slice(4, 9))
    torch.testing.assert_close(part.condition, whole.condition[4:9], rtol=0, atol=0)
    torch.testing.assert_close(part.level, whole.level[4:9], rtol=0, atol=0)
    for other in (
        draw_batch(data, settings, 8, slice(0, 12)),
        draw_batch(data, replace(settings, seed=1), 7, slice(0, 12)),
    ):
        assert not torch.equal(other.noise, whole.noise)
        assert not torch.equal(other.clean, whole.clean)


def test_every_turn_of_every_spot_comes_up_with_the_spots_own_values(settings) -> None:
    """Spot s seen in way w is told as 8 s + w; its values are s."""
    ways = np.arange(5 * 8, dtype=np.float32).reshape(5, 8, 1)
    target = np.repeat(np.arange(5, dtype=np.float32)[:, None], 6, axis=1)
    settings = replace(settings, batch=2000, condition_noise=0.0)
    batch = draw_batch(TrainingData(target, ways), settings, 1, slice(0, 2000))
    told = batch.condition[:, 0]
    assert sorted(set(told.tolist())) == list(range(40))
    assert torch.equal(told // 8, batch.clean[:, 0])


@pytest.mark.parametrize("settings", ["edm"], indirect=True)
def test_training_noise_levels_are_lognormal(data, settings) -> None:
    levels = draw_batch(data, replace(settings, batch=50_000), 1, slice(0, 50_000)).level
    assert float(levels.log().mean()) == pytest.approx(P_MEAN, abs=0.02)
    assert float(levels.log().std()) == pytest.approx(P_STD, rel=0.02)


# memory


class Limited(torch.nn.Module):
    """A network on a device that holds so many spots at once."""

    def __init__(self, network: nn.Module, limit: int) -> None:
        super().__init__()
        self.network, self.limit = network, limit

    def forward(self, x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        if len(x) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.network(x, *rest)


def test_out_of_memory_takes_smaller_parts_to_the_same_end(
    data, settings, monkeypatch, caplog
) -> None:
    whole = fit_denoiser(data, settings)
    build = denoiser_fit.build_denoiser
    monkeypatch.setattr(denoiser_fit, "build_denoiser", lambda config: Limited(build(config), 4))
    with caplog.at_level(logging.WARNING, logger="napari_stem"):
        parts = fit_denoiser(data, settings)
    torch.testing.assert_close(weights(parts.network), weights(whole.network), rtol=0, atol=1e-6)
    said = [record.getMessage() for record in caplog.records]
    assert [text.split(":")[0] for text in said] == [
        "Out of memory with 12 at once",
        "Out of memory with 6 at once",
    ]
    assert "going on with 3" in said[1]


def test_not_even_one_spot_is_one_sentence(data, settings, monkeypatch) -> None:
    build = denoiser_fit.build_denoiser
    monkeypatch.setattr(denoiser_fit, "build_denoiser", lambda config: Limited(build(config), 0))
    with pytest.raises(ModelError, match="Not even one spot"):
        fit_denoiser(data, settings)


def test_other_failures_are_not_taken_for_a_full_memory(data, settings, monkeypatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(denoiser_fit, "loss_sums", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        fit_denoiser(data, settings)


# speed


def test_bf16_trains_to_a_similar_loss(data, settings, tmp_path) -> None:
    losses = {}
    for precision in ("float32", "bf16"):
        run = TrainingRun(logs=Logs(tmp_path / precision))
        network = fit_denoiser(data, replace(settings, precision=precision), run=run).network
        assert torch.isfinite(weights(network)).all()
        assert next(network.parameters()).dtype == torch.float32
        losses[precision] = [float(row["loss"]) for row in rows(tmp_path / precision)]
    np.testing.assert_allclose(losses["bf16"], losses["float32"], rtol=0.02)
    assert losses["bf16"] != losses["float32"]  # it did compute otherwise


def test_auto_is_bf16_only_where_cuda_has_it(monkeypatch) -> None:
    assert resolved_precision("auto", "cpu") == "float32"
    assert resolved_precision("bf16", "cpu") == "bf16"
    for has in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has, **_: has)
        assert resolved_precision("auto", "cuda:1") == ("bf16" if has else "float32")


def test_a_failing_compiler_is_done_without(data, settings, monkeypatch, caplog) -> None:
    def compile_to_nothing(_network: nn.Module) -> Callable[..., None]:
        def fail(*_: torch.Tensor) -> None:
            raise RuntimeError("no C++ compiler found")

        return fail

    plain = fit_denoiser(data, settings)
    monkeypatch.setattr(torch, "compile", compile_to_nothing)
    with caplog.at_level(logging.WARNING, logger="napari_stem"):
        network = fit_denoiser(data, replace(settings, compile=True)).network
    assert torch.equal(weights(network), weights(plain.network))
    assert [r.getMessage() for r in caplog.records] == [
        "torch.compile fails here (no C++ compiler found): training goes on without it."
    ]


# average


def test_the_average_begins_short_and_grows_to_the_settings_memory(data, settings) -> None:
    def after(ema: float, n_steps: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        learner = denoiser_fit.Trainee(data, replace(settings, ema=ema), Team())
        path = []
        for step in range(1, n_steps + 1):
            learner.step(step, (False, False))
            state = learner.state()
            names = [k.removeprefix("averaged.") for k in state if k.startswith("averaged.")]
            path.append(torch.cat([state[f"network.{n}"].reshape(-1) for n in names]))
        return torch.cat([state[f"averaged.{n}"].reshape(-1) for n in names]), path

    start = weights(denoiser_fit.Trainee(data, settings, Team()).averaged)
    averaged, (first, second) = after(0.9999, 2)
    expected = 0.25 * (2 / 11 * start + 9 / 11 * first) + 0.75 * second
    torch.testing.assert_close(averaged, expected, rtol=1e-5, atol=1e-7)
    averaged, (*_, last) = after(0.0, 3)
    torch.testing.assert_close(averaged, last, rtol=0, atol=0)


# stopping and going on


def test_ctrl_c_keeps_a_checkpoint_and_the_end_is_the_same(data, settings, tmp_path) -> None:
    whole = fit_denoiser(data, settings, draws)

    def interrupt(network: nn.Module) -> np.ndarray:
        if not list(tmp_path.glob("c/denoiser/*.npy")):  # once, at the first look
            os.kill(os.getpid(), signal.SIGINT)
        return draws(network)

    with pytest.raises(TrainingStopped, match="Training: stopped at step 6"):
        fit_denoiser(data, settings, interrupt, kept(tmp_path / "c"))
    told: list[int] = []
    run = kept(tmp_path / "c", lambda _what, done, _total: told.append(done))
    resumed = fit_denoiser(data, settings, draws, run)
    assert told[0] == 6
    assert torch.equal(weights(resumed.network), weights(whole.network))
    assert resumed.looks.keys() == whole.looks.keys() == {5, 10, 15, 20}
    for step, seen in whole.looks.items():
        np.testing.assert_array_equal(resumed.looks[step], seen)


def test_what_is_finished_is_not_done_again(data, settings, tmp_path, monkeypatch) -> None:
    first = fit_denoiser(data, settings, draws, kept(tmp_path))
    monkeypatch.setattr(denoiser_fit, "draw_batch", lambda *_: pytest.fail("trained again"))
    again = fit_denoiser(data, settings, draws, kept(tmp_path))
    assert torch.equal(weights(again.network), weights(first.network))
    assert (again.steps, again.looks.keys()) == (20, first.looks.keys())


def test_without_checkpoints_ctrl_c_is_a_plain_interrupt(data, settings) -> None:
    def interrupt(network: nn.Module) -> np.ndarray:
        os.kill(os.getpid(), signal.SIGINT)
        return draws(network)

    with pytest.raises(KeyboardInterrupt) as caught:
        fit_denoiser(data, settings, interrupt)
    assert not isinstance(caught.value, TrainingStopped)


def test_a_time_limit_counts_earlier_runs(data, settings, tmp_path) -> None:
    def interrupt(network: nn.Module) -> np.ndarray:
        os.kill(os.getpid(), signal.SIGINT)
        return draws(network)

    with pytest.raises(TrainingStopped):
        fit_denoiser(data, settings, interrupt, kept(tmp_path))
    short = replace(settings, seconds=1e-9)  # used up by the first run
    assert fit_denoiser(data, short, draws, kept(tmp_path)).steps == 7


@pytest.mark.parametrize(
    ("about", "words"),
    [({"seed": 1}, "seed 0, now 1"), ({"seed": 0, "data": "x"}, "the data")],
)
def test_checkpoints_of_another_training_are_refused(tmp_path, about, words) -> None:
    Checkpoints(tmp_path / "c").begin({"seed": 0}, resume=False)
    with pytest.raises(ModelError, match=words):
        Checkpoints(tmp_path / "c").begin(about, resume=True)
    Checkpoints(tmp_path / "c").begin(about, resume=False)  # anew
    Checkpoints(tmp_path / "c").begin(about, resume=True)


def test_a_damaged_checkpoint_is_named(data, settings, tmp_path) -> None:
    fit_denoiser(data, settings, draws, kept(tmp_path))
    file = tmp_path / "denoiser.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"denoiser\.safetensors cannot be read"):
        fit_denoiser(data, settings, draws, kept(tmp_path))


# logs


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "denoiser.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_csv_tells_of_every_step_once_also_after_a_resume(data, settings, tmp_path) -> None:
    def interrupt(network: nn.Module) -> np.ndarray:
        os.kill(os.getpid(), signal.SIGINT)
        return draws(network)

    log = Logs(tmp_path / "logs")
    with pytest.raises(TrainingStopped):
        fit_denoiser(data, settings, interrupt, replace(kept(tmp_path / "c"), logs=log))
    fit_denoiser(data, settings, draws, replace(kept(tmp_path / "c"), logs=log))
    table = rows(tmp_path / "logs")
    assert tuple(table[0]) == COLUMNS
    assert [int(row["step"]) for row in table] == list(range(1, 21))
    seconds = [float(row["seconds"]) for row in table]
    assert seconds == sorted(seconds)
    for row in table:
        total = float(row["mse"]) + (float(row["vb"]) if row["vb"] else 0)
        assert float(row["loss"]) == pytest.approx(total, rel=1e-5)
    assert all(bool(row["vb"]) == (settings.objective == "published") for row in table)


@pytest.mark.parametrize("settings", ["published"], indirect=True)
def test_tensorboard_gets_the_same_figures(data, settings: FitSettings, tmp_path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = TrainingRun(logs=Logs(tmp_path, "tensorboard"))
    fit_denoiser(data, settings, draws, run)
    events = EventAccumulator(str(tmp_path / "denoiser"))
    events.Reload()
    assert {"loss", "mse", "vb", "lr"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("loss")] == list(range(1, 21))


def test_tensorboard_that_is_not_installed_is_said_beforehand(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(errors, "find_spec", lambda _name: None)
    with pytest.raises(OutputError, match=r"napari-stem\[tensorboard\]"):
        Logs(tmp_path, "tensorboard")
