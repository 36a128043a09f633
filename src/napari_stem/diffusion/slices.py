"""A network evaluated on some rows at a time: it stays in caches or memory, and can be stopped soon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_stem.out_of_memory import in_parts

if TYPE_CHECKING:
    from collections.abc import Callable

_REMEDY = "choose another device (--device cpu) or a model of fewer genes"


class RowSlices(nn.Module):
    """Gives what the network gives; rows know nothing of each other.

    Parameters
    ----------
    network
        Called as ``network(x, c_noise, condition)``, rows first in all three.
    rows_at_once
        Rows per evaluation, 1 or more; halved whenever the memory does not suffice.
    poll
        Called before each evaluation, if given; may raise to stop.
    is_half
        Whether matrices are multiplied in bf16 (autocast).
    pads
        Whether the last part is filled up with zeros, so that all evaluations are of one shape.
    """

    def __init__(
        self,
        network: nn.Module,
        rows_at_once: int,
        poll: Callable[[], None] | None = None,
        *,
        is_half: bool = False,
        pads: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.rows_at_once = rows_at_once
        self._poll, self._is_half, self._pads = poll, is_half, pads

    def forward(self, x: Tensor, c_noise: Tensor, condition: Tensor) -> Tensor:
        """(n, G), (n,), (n, C) -> (n, ...)."""

        def evaluate(rows: slice) -> Tensor:
            if self._poll is not None:
                self._poll()
            given = [x[rows], c_noise[rows], condition[rows]]
            n = len(given[0])
            if self._pads:
                lacking = rows.stop - rows.start - n
                given = [functional.pad(v, (0, 0) * (v.ndim - 1) + (0, lacking)) for v in given]
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self._is_half):
                out: Tensor = self.network(*given)
            return out[:n]

        parts, self.rows_at_once = in_parts(evaluate, len(x), self.rows_at_once, _REMEDY)
        return torch.cat(parts)
