"""A denoiser in training: one step of it, in as many parts as the memory asks for, and its state."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_stem.device import halved, is_out_of_memory
from napari_stem.diffusion.denoiser import build_denoiser
from napari_stem.model.bundle import under
from napari_stem.texts import reason_of
from napari_stem.training.batches import Batch, Rows, draw_batch, drop_by_rows, loss_sums

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_stem.training.batches import TrainingData
    from napari_stem.training.options import FitSettings
    from napari_stem.training.team import Team

_log = logging.getLogger(__name__)
_REMEDY = "train a smaller network (--size small) or fewer genes"


class Trainee:
    """Network, running average and optimiser of one denoiser.

    Attributes
    ----------
    averaged
        The network averaged over its steps (EMA): what a training gives.
    n_at_once
        Spots whose activations are held at once; halved whenever the memory does not suffice.
    """

    def __init__(self, data: TrainingData, settings: FitSettings, team: Team) -> None:
        self._data, self._settings, self._team = data, settings, team
        with torch.random.fork_rng(devices=[]):  # initialised on the CPU: every device begins alike
            torch.manual_seed(settings.seed)
            network = build_denoiser(settings.denoiser)
        self._rows = Rows(settings.seed, settings.batch)
        self.averaged = copy.deepcopy(network).to(settings.device).eval().requires_grad_(False)
        drop_by_rows(network, self._rows)
        self._network = network.to(settings.device).train()
        self._call = torch.compile(self._network) if settings.compile else self._network
        self._optimiser = torch.optim.AdamW(
            self._network.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        own = team.share_of(settings.batch)
        self.n_at_once = max(1, own.stop - own.start)

    def step(self, step: int, flags: tuple[bool, bool]) -> tuple[Tensor, tuple[bool, bool]]:
        """Make the optimiser step of a number, from 1; ``flags`` are what this process wants others to know.

        Returns
        -------
        (3,) means over the batch (see `loss_sums`), and the flags that any process raised.
        """
        batch = draw_batch(
            self._data, self._settings, step, self._team.share_of(self._settings.batch)
        )
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
            try:
                sums = self._accumulate(batch)
            except RuntimeError as error:
                self._cope_with(error)
            else:
                return sums

    def _accumulate(self, batch: Batch) -> Tensor:
        sums = torch.zeros(3, device=self._settings.device)
        for start in range(0, len(batch), self.n_at_once):
            part = batch.part(start, min(start + self.n_at_once, len(batch)))
            self._rows.first = part.first
            own = loss_sums(self._evaluate, part, self._settings)
            torch.autograd.backward(own[0] / self._settings.batch)
            sums += own.detach()
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
            _log.warning("torch.compile fails here (%s): training goes on without it.", reason)
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
        """Take up a `state`, or a `result`."""
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
