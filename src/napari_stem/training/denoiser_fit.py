"""Train a denoiser, drawing at times for sections it has not seen; Ctrl-C stops it between two steps."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_stem.progress import silent, stop_on_signals
from napari_stem.training.checkpoints import Checkpoints, StageState
from napari_stem.training.logs import Logs
from napari_stem.training.team import Team
from napari_stem.training.trainee import Trainee

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from napari_stem.progress import Progress
    from napari_stem.training.batches import TrainingData
    from napari_stem.training.logs import Row
    from napari_stem.training.options import FitSettings

    EvalCallback = Callable[[nn.Module], NDArray[np.float32]]


class TrainingStopped(KeyboardInterrupt):
    """Training was stopped by the user, and its state is kept in a checkpoint."""


@dataclass(frozen=True)
class TrainingRun:
    """Shared by all denoisers of one training; as it stands, one process that keeps nothing."""

    team: Team = field(default_factory=Team)
    checkpoints: Checkpoints = field(
        default_factory=Checkpoints
    )  # kept by the team's first, as are logs
    logs: Logs = field(default_factory=Logs)
    tell: Progress = silent  # may raise to cancel


_LOG_ROWS, _MOST_STEPS_A_ROW = 500, 50  # rows of one denoiser: about so many, or more
_REPORT_SECONDS = 0.5


@dataclass(frozen=True)
class FittedDenoiser:
    """What a training gives.

    Attributes
    ----------
    network
        Averaged over the steps, in evaluation mode.
    steps
        Steps made.
    looks
        Step -> what `eval_callback` returned; empty but in the first of several processes.
    """

    network: nn.Module
    steps: int
    looks: dict[int, NDArray[np.float32]]


def fit_denoiser(
    data: TrainingData,
    settings: FitSettings,
    eval_callback: EvalCallback | None = None,
    run: TrainingRun | None = None,
    *,
    stage: str = "denoiser",
    what: str = "Training",
) -> FittedDenoiser:
    """Train one denoiser.

    Parameters
    ----------
    data, settings
        What on, and how.
    eval_callback
        Given the averaged network every ``eval_every`` steps and at the end; returns draws to be kept.
    run
        Who takes part, where checkpoints and logs go; goes on from the checkpoint of that stage.
    stage, what
        Name of its files, and what progress is told.

    Raises
    ------
    TrainingStopped
        By Ctrl-C or SIGTERM, after the step in progress; a checkpoint is kept. Without checkpoints a plain
        KeyboardInterrupt.
    ModelError
        Not even one spot fits the memory.
    """
    fit = _Fit(data, settings, eval_callback, run or TrainingRun(), stage, what)
    fit.go()
    return FittedDenoiser(fit.trainee.averaged, fit.state.step, fit.state.looks)


class _Fit:
    """The loop and what it keeps between two steps."""

    def __init__(
        self,
        data: TrainingData,
        settings: FitSettings,
        eval_callback: EvalCallback | None,
        run: TrainingRun,
        stage: str,
        what: str,
    ) -> None:
        self._settings, self._run, self._stage, self._what = settings, run, stage, what
        self._eval_callback = eval_callback if run.team.is_first else None
        self.state: StageState = run.team.share(lambda: run.checkpoints.load(stage))
        self.trainee = Trainee(data, settings, run.team)
        if self.state.tensors:
            self.trainee.restore(self.state.tensors)
            self.state.tensors = {}
        self._begin = time.monotonic() - self.state.seconds
        self._last_report = -_REPORT_SECONDS

    def go(self) -> None:
        """Make the steps that are left."""
        self._tell()
        if self.state.is_finished:
            return
        logs = self._run.logs
        with (
            stop_on_signals(signal.SIGINT, signal.SIGTERM) as interrupt,
            logs.open(self._stage, self.state.step) as write,
        ):
            meter = _Meter(write, self._settings, self.state.step)
            while not self.state.is_finished:
                late, stopped = self._make_step(meter, stopped=interrupt.is_set())
                is_last = late or self.state.step == self._settings.steps
                self._look(is_last=is_last)
                self._keep(is_last=is_last, stopped=stopped)

    def _make_step(self, meter: _Meter, *, stopped: bool) -> tuple[bool, bool]:
        """Make a step; tell whether the time is up, and whether it was stopped."""
        state, limit = self.state, self._settings.seconds
        is_late = limit is not None and time.monotonic() - self._begin > limit
        means, flags = self.trainee.step(state.step + 1, (is_late, stopped))
        state.step += 1
        state.seconds = time.monotonic() - self._begin
        meter.add(state, means)
        return flags

    def _look(self, *, is_last: bool) -> None:
        step, every = self.state.step, self._settings.eval_every
        if self._eval_callback is not None and (is_last or step % every == 0):
            # In one order of memory, as a checkpoint gives it back: sums over it depend on that order.
            self.state.looks[step] = np.ascontiguousarray(
                self._eval_callback(self.trainee.averaged)
            )
            self.state.seconds = time.monotonic() - self._begin
        if is_last or time.monotonic() - self._last_report >= _REPORT_SECONDS:
            self._tell()

    def _tell(self) -> None:
        """Say how many steps are made, of those that there will be."""
        step, limit, seconds = self.state.step, self._settings.seconds, self.state.seconds
        total = self._settings.steps
        if self.state.is_finished:
            total = step
        elif limit is not None and step:  # the clock may strike first
            total = min(total, max(step, round(step * limit / max(seconds, 1e-9))))
        self._run.tell(self._what, step, total)
        self._last_report = time.monotonic()

    def _keep(self, *, is_last: bool, stopped: bool) -> None:
        checkpoints, state = self._run.checkpoints, self.state
        if is_last:
            state.is_finished = True
            checkpoints.save(self._stage, replace(state, tensors=self.trainee.result()))
        elif stopped or checkpoints.is_due():
            checkpoints.save(self._stage, replace(state, tensors=self.trainee.state()))
        if stopped:
            if checkpoints.folder is None:
                raise KeyboardInterrupt
            raise TrainingStopped(f"{self._what}: stopped at step {state.step}")


class _Meter:
    """Adds up losses on the device and writes a row of the log now and then."""

    def __init__(self, write: Callable[[Row], None], settings: FitSettings, step: int) -> None:
        self._write, self._settings = write, settings
        self._every = min(max(1, settings.steps // _LOG_ROWS), _MOST_STEPS_A_ROW)
        self._since, self._sums = step, torch.zeros(3, device=settings.device)
        self._begin = time.monotonic()

    def add(self, state: StageState, means: Tensor) -> None:
        """Count one step."""
        self._sums += means
        if state.step % self._every and state.step != self._settings.steps:
            return
        n_steps = state.step - self._since
        mean = dict(zip(("loss", "mse", "vb"), (self._sums / n_steps).tolist(), strict=True))
        now = time.monotonic()
        speed = n_steps * self._settings.batch / max(now - self._begin, 1e-9)
        if self._settings.objective == "edm":
            mean["vb"] = None
        rest = {"lr": self._settings.learning_rate, "spots_per_second": round(speed, 1)}
        self._write({"step": state.step, "seconds": round(state.seconds, 3), **mean, **rest})
        self._sums.zero_()
        self._since, self._begin = state.step, now
