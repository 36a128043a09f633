"""A network evaluated on some rows at a time: it stays in the processor's caches, and can be stopped soon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable


class RowSlices(nn.Module):
    """Gives what the network gives; rows know nothing of each other.

    Parameters
    ----------
    network
        Called as ``network(x, c_noise, condition)``, rows first in all three.
    rows_at_once
        Rows per evaluation, 1 or more.
    poll
        Called before each evaluation, if given; may raise to stop.
    """

    def __init__(
        self, network: nn.Module, rows_at_once: int, poll: Callable[[], None] | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.rows_at_once = rows_at_once
        self._poll = poll

    def forward(self, x: Tensor, c_noise: Tensor, condition: Tensor) -> Tensor:
        """(n, G), (n,), (n, C) -> (n, ...)."""
        parts = []
        for start in range(0, len(x), self.rows_at_once):
            if self._poll is not None:
                self._poll()
            rows = slice(start, start + self.rows_at_once)
            parts.append(self.network(x[rows], c_noise[rows], condition[rows]))
        return torch.cat(parts)
