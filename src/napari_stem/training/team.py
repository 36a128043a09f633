"""The processes that train one model together, on one machine or many; mostly there is only one.

Each draws the whole batch and works on its share; gradients are summed once a step. That keeps the outcome
independent of the number of processes, and lets a process that runs out of memory repeat its share without the
others noticing.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from napari_stem.errors import StemError, require_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

_T = TypeVar("_T")
# torchrun (which accelerate uses on GPUs) and the MPI launchers, in the order in which accelerate looks.
_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
ACCELERATE = ("accelerate", "accelerate", "Training in several processes")
_PATIENCE = timedelta(days=1)  # while one process embeds a data set, or draws for left-out sections


def is_launched() -> bool:
    """Whether a launcher (accelerate, torchrun, Slurm through either) started this as one of several."""
    return any(int(os.environ.get(name, "1")) > 1 for name in _SIZES)


@dataclass(frozen=True)
class Team:
    """One process among those that train together."""

    device: str = "cpu"  # where this process works
    # size, rank: how many there are, and which this is; the first (0) writes, logs and reports
    size: int = 1
    rank: int = 0

    @classmethod
    def gathered(cls, device: str) -> Team:
        """Join the processes of this launch; ``device`` is what the user asked for."""
        if not is_launched():
            return cls(device)
        require_extra(*ACCELERATE, StemError)
        state = _state(cpu=device == "cpu")
        # accelerate numbers processors too
        where = "cpu" if state.device.type == "cpu" else str(state.device)
        return cls(where, state.num_processes, state.process_index)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes, logs and reports."""
        return self.rank == 0

    def share_of(self, batch: int) -> slice:
        """Rows of a batch that are this process's own."""
        return slice(batch * self.rank // self.size, batch * (self.rank + 1) // self.size)

    def sum_in_place(self, tensor: Tensor) -> None:
        """Add up a tensor over all processes, of which there are several."""
        import torch

        torch.distributed.all_reduce(tensor)

    def share(self, compute: Callable[[], _T]) -> _T:
        """Let the first process compute something and tell the others; a StemError reaches all."""
        if self.size == 1:
            return compute()
        from accelerate.utils import broadcast_object_list

        shared: list[Any] = [None, None]
        if self.is_first:
            try:
                shared[0] = compute()
            except StemError as error:
                shared[1] = error
        broadcast_object_list(shared)
        if shared[1] is not None:
            raise shared[1]
        result: _T = shared[0]
        return result

    @contextmanager
    def first_here(self) -> Iterator[None]:
        """Let the first process of each machine do something (fill a cache) before the others do it."""
        if self.size == 1:
            yield
            return
        with _state(cpu=self.device == "cpu").local_main_process_first():
            yield


def _state(*, cpu: bool) -> Any:
    from accelerate import PartialState

    return PartialState(cpu=cpu, timeout=_PATIENCE)
