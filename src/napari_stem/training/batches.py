"""The batch of one training step, the same whoever asks: drawn by (seed, step), not by what came before.

A run that is killed and resumed therefore sees the same spots and noise as one that was not, and so do several
processes that share a batch, or one that takes it in parts for want of memory.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from napari_stem.diffusion.objectives import Network, edm_loss, published_loss
from napari_stem.diffusion.schedule import LinearSchedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_stem.training.options import FitSettings


P_MEAN, P_STD = -0.4, 1.2  # of ln sigma, as training draws it (Karras et al. 2022)
_chain = cache(LinearSchedule.published)


def _as_it_is(embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    return embedding


@dataclass(frozen=True)
class TrainingData:
    """What a denoiser is trained on."""

    target: NDArray[np.float32]  # (n, genes) what it shall generate
    # (n, W) what goes with each spot, or (n, T, W): one of T ways to see it, drawn anew each time
    embedding: NDArray[np.float32] | NDArray[np.float16]
    # (b, W) -> (b, C): what the denoiser is told of a batch
    condition_of: Callable[[NDArray[np.float32]], NDArray[np.float32]] = _as_it_is


class Batch(NamedTuple):
    """Some rows of a step's batch."""

    # clean, noise: (b, genes)
    clean: Tensor
    noise: Tensor
    condition: Tensor  # (b, C)
    level: Tensor  # (b,) noise level: sigma (``edm``), or the chain's step, int64 (``published``)


def generator_of(seed: int, step: int, purpose: str) -> torch.Generator:
    """Make the generator of one step and purpose, on the CPU, so that every device gets the same."""
    digest = hashlib.blake2b(f"{seed}/{step}/{purpose}".encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def draw_batch(data: TrainingData, settings: FitSettings, step: int, rows: slice) -> Batch:
    """Draw a step's batch (spots with replacement) and take some rows of it, on the device."""
    size, generator = settings.batch, generator_of(settings.seed, step, "batch")
    index = torch.randint(len(data.target), (size,), generator=generator)
    n_ways = data.embedding.shape[1] if data.embedding.ndim == 3 else 1
    way = torch.randint(n_ways, (size,), generator=generator)
    noise = torch.randn((size, data.target.shape[1]), generator=generator)
    if settings.objective == "published":
        level = torch.randint(len(_chain()), (size,), generator=generator)
    else:
        level = (P_MEAN + P_STD * torch.randn(size, generator=generator)).exp()
    chosen, which = index[rows].numpy(), way[rows].numpy()
    seen = data.embedding[chosen, which] if data.embedding.ndim == 3 else data.embedding[chosen]
    condition = torch.from_numpy(data.condition_of(seen.astype(np.float32)))
    if settings.condition_noise:
        blur = torch.randn((size, condition.shape[1]), generator=generator)
        condition = condition + settings.condition_noise * blur[rows]
    clean = torch.from_numpy(data.target[chosen])
    return Batch(*(v.to(settings.device) for v in (clean, noise[rows], condition, level[rows])))


def loss_sums(network: Network, batch: Batch, settings: FitSettings) -> Tensor:
    """(3,) sums over the rows: loss, mean squared error, variational bound (0 for ``edm``)."""
    if settings.objective == "published":
        terms = published_loss(
            network,
            batch.clean,
            batch.condition,
            step=batch.level,
            noise=batch.noise,
            schedule=_chain(),
        )
        mse, vb = terms.mse.sum(), terms.vb.sum()
        return torch.stack([mse + vb, mse, vb])
    loss = edm_loss(network, batch.clean, batch.condition, batch.level, batch.noise).sum()
    return torch.stack([loss, loss, torch.zeros_like(loss)])


@dataclass
class Rows:
    """Which rows of which step's batch pass through the network just now."""

    seed: int
    batch: int
    step: int = 0
    first: int = 0


class RowDropout(nn.Module):
    """Dropout whose mask belongs to a row of the step's batch, however that batch is split."""

    def __init__(self, share: float, place: int, rows: Rows) -> None:
        super().__init__()
        self.share, self.place, self.rows = share, place, rows

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # it would be compiled for every step
    def forward(self, x: Tensor) -> Tensor:
        """(b, ...) -> the same."""
        if not self.training:
            return x
        rows = self.rows
        generator = generator_of(rows.seed, rows.step, f"dropout {self.place}")
        kept = torch.empty(rows.batch, *x.shape[1:]).bernoulli_(1 - self.share, generator=generator)
        own = kept[rows.first : rows.first + len(x)].to(x)
        return x * own / (1 - self.share)


def drop_by_rows(network: nn.Module, rows: Rows) -> None:
    """Replace a network's dropout layers by `RowDropout`."""
    found = [
        (parent, name, layer.p)
        for parent in network.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, nn.Dropout) and layer.p > 0
    ]
    for place, (parent, name, share) in enumerate(found):
        setattr(parent, name, RowDropout(share, place, rows))
