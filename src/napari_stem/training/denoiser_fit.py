"""Train a denoiser, drawing at times for sections it has not seen; Ctrl-C stops it between two steps.

A step is made in as many parts as the memory asks for.
"""

from __future__ import annotations

import copy
import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_stem.device import halved, is_out_of_memory
from napari_stem.diffusion.denoiser import build_denoiser
from napari_stem.io import under
from napari_stem.progress import Progress, silent, stop_on_signals
from napari_stem.texts import reason_of
from napari_stem.training.batches import (
    Batch,
    Rows,
    TrainingData,
    draw_batch,
    drop_by_rows,
    loss_sums,
)
from napari_stem.training.checkpoints import Checkpoints, Logs, Row, StageState
from napari_stem.training.team import Team

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from napari_stem.training.options import FitSettings

    EvalCallback = Callable[[nn.Module], NDArray[np.float32]]


logger = logging.getLogger(__name__)
_LOG_ROWS, _MOST_STEPS_A_ROW = 500, 50  # rows of one denoiser: about so many, or more
_REPORT_SECONDS = 0.5
_REMEDY = "train a smaller network (--size small) or fewer genes"


class TrainingStopped(KeyboardInterrupt):
    """Training was stopped by the user, and its state is kept in a checkpoint."""


@dataclass(frozen=True)
class TrainingRun:
    """Shared by all denoisers of one training; as it stands, one process that keeps nothing."""

    team: Team = field(default_factory=Team)
    # kept by the team's first
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    logs: Logs = field(default_factory=Logs)
    tell: Progress = silent  # may raise to cancel


@dataclass(frozen=True)
class FittedDenoiser:
    """What a training gives."""

    network: nn.Module  # averaged over the steps, in evaluation mode
    steps: int  # steps made
    # step -> what `eval_callback` returned; empty but in the first of several processes
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
    run = run or TrainingRun()
    state: StageState = run.team.share(lambda: run.checkpoints.load(stage))
    trainee = Trainee(data, settings, run.team)
    trainee.restore(state.tensors)
    state.tensors = {}
    begin, limit = time.monotonic() - state.seconds, settings.seconds

    def tell() -> float:
        """Say how many steps are made, of those that there will be; gives the time."""
        total = state.step if state.is_finished else settings.steps
        if limit is not None and state.step and not state.is_finished:  # the clock may strike first
            at_pace = round(state.step * limit / max(state.seconds, 1e-9))
            total = min(total, max(state.step, at_pace))
        run.tell(what, state.step, total)
        return time.monotonic()

    told = tell()
    if state.is_finished:
        return FittedDenoiser(trainee.averaged, state.step, state.looks)
    with stop_on_signals() as interrupt, run.logs.open(stage, state.step) as write:
        meter = _Meter(write, settings, state.step)
        while not state.is_finished:
            is_late = limit is not None and time.monotonic() - begin > limit
            flags = (is_late, interrupt.is_set())
            means, (is_late, is_stopped) = trainee.step(state.step + 1, flags)
            state.step += 1
            state.seconds = time.monotonic() - begin
            meter.add(state, means)
            is_last = is_late or state.step == settings.steps
            is_seen = is_last or state.step % settings.eval_every == 0
            if is_seen and eval_callback is not None and run.team.is_first:
                # In one order of memory, as a checkpoint gives it back: sums over it depend on that order.
                state.looks[state.step] = np.ascontiguousarray(eval_callback(trainee.averaged))
                state.seconds = time.monotonic() - begin
            if is_last or time.monotonic() - told >= _REPORT_SECONDS:
                told = tell()
            state.is_finished = is_last
            if is_last or is_stopped or run.checkpoints.is_due():
                tensors = trainee.result() if is_last else trainee.state()
                run.checkpoints.save(stage, replace(state, tensors=tensors))
            if is_stopped:
                if run.checkpoints.folder is None:
                    raise KeyboardInterrupt
                raise TrainingStopped(f"{what}: stopped at step {state.step}")
    return FittedDenoiser(trainee.averaged, state.step, state.looks)


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


class Trainee:
    """Network, running average and optimiser of one denoiser."""

    def __init__(self, data: TrainingData, settings: FitSettings, team: Team) -> None:
        self._data, self._settings, self._team = data, settings, team
        with torch.random.fork_rng(devices=[]):  # initialised on the CPU: every device begins alike
            torch.manual_seed(settings.seed)
            network = build_denoiser(settings.denoiser)
        self._rows = Rows(settings.seed, settings.batch)
        # over its steps (EMA): what a training gives
        self.averaged = copy.deepcopy(network).to(settings.device).eval().requires_grad_(False)
        drop_by_rows(network, self._rows)
        self._network = network.to(settings.device).train()
        self._call = torch.compile(self._network) if settings.compile else self._network
        self._optimiser = torch.optim.AdamW(
            self._network.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        self._own = team.share_of(settings.batch)
        # spots whose activations are held at once; halved whenever the memory does not suffice
        self.n_at_once = max(1, self._own.stop - self._own.start)

    def step(self, step: int, flags: tuple[bool, bool]) -> tuple[Tensor, tuple[bool, bool]]:
        """Make the optimiser step of a number, from 1; ``flags`` are what this process wants others to know.

        Returns
        -------
        (3,) means over the batch (see `loss_sums`), and the flags that any process raised.
        """
        batch = draw_batch(self._data, self._settings, step, self._own)
        self._rows.step = step
        sums = self._gradients(batch)
        if self._team.size > 1:
            sums, flags = self._summed(sums, flags)
        self._optimiser.step()
        self._average(step)
        return sums / self._settings.batch, flags

    def _gradients(self, batch: Batch) -> Tensor:
        """Leave the gradients of this process's rows in the parameters; (3,) sums of their losses."""
        while True:
            self._optimiser.zero_grad()
            sums = torch.zeros(3, device=self._settings.device)
            try:
                for start in range(0, len(batch.clean), self.n_at_once):
                    part = Batch(*(values[start : start + self.n_at_once] for values in batch))
                    self._rows.first = self._own.start + start
                    own = loss_sums(self._evaluate, part, self._settings)
                    torch.autograd.backward(own[0] / self._settings.batch)
                    sums += own.detach()
            except RuntimeError as error:
                self._cope_with(error)
            else:
                return sums

    def _evaluate(self, x: Tensor, c_noise: Tensor, condition: Tensor) -> Tensor:
        """Call the network as the loss does: in bf16 or not, compiled or not, answering in float32."""
        kind, is_half = torch.device(self._settings.device).type, self._settings.precision == "bf16"
        with torch.autocast(kind, torch.bfloat16, enabled=is_half):
            out: Tensor = self._call(x, c_noise, condition)
        return out.float()

    def _cope_with(self, error: RuntimeError) -> None:
        """Take smaller parts if the memory was full, leave compiling if that failed, or give up."""
        if self._call is not self._network and not is_out_of_memory(error):
            reason = reason_of(error)
            logger.warning("torch.compile fails here (%s): training goes on without it.", reason)
            self._call = self._network
        else:  # gradients are summed to the same batch
            self.n_at_once = halved(error, self.n_at_once, _REMEDY)

    def _summed(self, sums: Tensor, flags: tuple[bool, bool]) -> tuple[Tensor, tuple[bool, bool]]:
        """Add up gradients, losses and flags over the processes, in one message."""
        parameters = list(self._network.parameters())
        for parameter in parameters:
            if parameter.grad is None:  # no row of a small batch was this process's own
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in parameters if p.grad is not None]
        raised = torch.tensor([float(flag) for flag in flags], device=sums.device)
        message = torch.cat([*(g.reshape(-1) for g in gradients), sums, raised])
        self._team.sum_in_place(message)
        parts = torch.split(message, [*(g.numel() for g in gradients), 3, 2])
        for gradient, part in zip(gradients, parts[:-2], strict=True):
            gradient.copy_(part.view_as(gradient))
        late, stopped = (value > 0 for value in parts[-1].tolist())
        return parts[-2], (late, stopped)

    @torch.no_grad()
    def _average(self, step: int) -> None:
        """Exponential moving average whose memory grows with the steps, up to the settings'."""
        share_old = min(self._settings.ema, (1 + step) / (10 + step))
        old: list[Tensor] = list(self.averaged.parameters())
        new: list[Tensor] = list(self._network.parameters())
        torch._foreach_lerp_(old, new, 1 - share_old)

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, by name, on the CPU."""
        tensors = {f"network.{k}": v for k, v in self._network.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.state_dict().items()}
        for number, moments in self._optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": v for name, v in moments.items()}
        return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}

    def result(self) -> dict[str, Tensor]:
        """Return the averaged network, as `state` names it."""
        return {k: v for k, v in self.state().items() if k.startswith("averaged.")}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up a `state`, or a `result`; nothing of nothing."""
        if not tensors:
            return
        self.averaged.load_state_dict(under("averaged.", tensors))
        network, moments = under("network.", tensors), under("optimiser.", tensors)
        if not network:
            return
        self._network.load_state_dict(network)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in moments.items():
            number, what = name.split(".", 1)
            state.setdefault(int(number), {})[what] = value
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": state, "param_groups": groups})
