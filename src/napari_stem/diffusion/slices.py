"""A network evaluated on some rows at a time: it stays in caches or memory, and can be stopped soon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_stem.device import in_parts
from napari_stem.diffusion.denoiser import StemTransformer

if TYPE_CHECKING:
    from collections.abc import Callable

    Poll = Callable[[], None]

_TOKENS_AT_ONCE, _TOKENS_ON_GPU = 2048, 1 << 16
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
        poll: Poll | None = None,
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


def multiplies_bf16(device: str) -> bool:
    """Whether a device is a CUDA one that has bf16 in its arithmetic, not only as a format."""
    is_cuda = torch.device(device).type == "cuda"
    return is_cuda and torch.cuda.is_bf16_supported(including_emulation=False)


def stoppable(network: nn.Module, device: str, poll: Poll | None = None) -> nn.Module:
    """Evaluate a transformer in parts that suit the device, with a look at ``poll`` before each.

    A step of the published network for 16 spots and 20 draws takes a CPU a minute, and half as long
    again in one part. On CUDA the parts are large, and in bf16 where the device multiplies it; they are of one
    shape, as another one may be summed in another order, which bf16 would show in a spot's numbers.
    """
    if not isinstance(network, StemTransformer):
        return network
    kind = torch.device(device).type
    tokens = _TOKENS_AT_ONCE if kind == "cpu" else _TOKENS_ON_GPU
    rows, is_half = max(1, tokens // network.config.n_genes), multiplies_bf16(device)
    return RowSlices(network, rows, poll, is_half=is_half, pads=kind == "cuda")
