"""Blocks of spots: their order, how they are embedded, drawn and written, and how far a prediction is.

`draw_blocks` gives every prediction its values: `PredictionJob.steps` writes them as they come, and
`napari_stem.cohort.work` in whole chunks.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_stem.device import blas, torch_device
from napari_stem.metrics import central_interval
from napari_stem.model.head import evenly
from napari_stem.progress import Poll, go_on, poll_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from numpy.typing import NDArray

    from napari_stem.encoders.base import EmbedsSpots
    from napari_stem.geometry import Spots
    from napari_stem.model.bundle import Model
    from napari_stem.results import Prediction
    from napari_stem.settings import SamplingSettings

_FIRST_BLOCK = 4
_BLOCKS_OF_PACE = 16
_MOST_UNWRITTEN = 256  # spots
COARSE = 4  # of so many spots in a row, and so many rows, one comes first
LEAST_COARSE = 256  # spots; fewer come soon enough
_VALUES_AT_ONCE = 8_000_000  # of spots, genes and samples: some 50 bytes each while they are drawn


@dataclass(frozen=True)
class PredictionProgress:
    """How far a prediction is."""

    stage: Literal["embedding", "sampling"]  # looking at the tissue, or drawing
    n_done: int  # spots finished
    n_spots: int  # all
    # at the pace of the last blocks of this run; None until a second one is finished
    seconds_left: float | None
    # ``n_done``, and what is done of the spots under way: their share of denoising steps
    work_done: float


def order_blocks(
    spots: Spots, done: NDArray[np.bool_], size: int, begin_at_um: tuple[float, float] | None
) -> list[NDArray[np.int64]]:
    """Blocks of spots that are not done, in the order in which they are predicted."""
    if begin_at_um is None:
        return split_blocks(np.flatnonzero(~done), size)
    away_um = np.hypot(*(spots.xy_um - begin_at_um).T)
    rank = np.full(len(spots), 2)
    if len(spots) >= LEAST_COARSE:
        rank[(spots.array_row % COARSE == 0) & (spots.array_col % COARSE == 0)] = 1
    rank[evenly(len(spots))] = 0  # embedded already, by `PredictionJob.domain_warning`
    order = np.lexsort((np.where(rank == 0, away_um, 0.0), rank))
    todo = [np.sort(order[places]) for places in split_blocks(np.flatnonzero(~done[order]), size)]
    return sorted(todo, key=lambda index: (rank[index].max(), away_um[index].min()))


class Unwritten:
    """Blocks that are finished and not on disk yet: each writing packs whole chunks anew.

    Those that end sooner than ``every_s`` after the last writing are written together with those to come.
    """

    def __init__(self, prediction: Prediction, every_s: float) -> None:
        self._prediction, self._every_s = prediction, every_s
        self._blocks: list[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]] = []
        self._written_s = -np.inf

    @property
    def n_spots(self) -> int:
        """How many spots they have."""
        return sum(len(index) for index, _ in self._blocks)

    def add(self, index: NDArray[np.int64], values: dict[str, NDArray[Any]]) -> None:
        """Take one: its spots, and what `draw_blocks` gave."""
        self._blocks.append((index, values))

    def is_due(self) -> bool:
        """Whether it is time to write."""
        waited_s = time.monotonic() - self._written_s
        return waited_s >= self._every_s or self.n_spots >= _MOST_UNWRITTEN

    def close(self) -> None:
        """Write what there is."""
        if not self._blocks:
            return
        blocks, self._blocks = self._blocks, []
        index, values = np.concatenate([i for i, _ in blocks]), join_blocks([v for _, v in blocks])
        order = np.argsort(index)
        self._prediction.write_block(index[order], **{k: v[order] for k, v in values.items()})
        self._written_s = time.monotonic()


def draw_blocks(
    prediction: Prediction,
    blocks: Sequence[NDArray[np.int64]],
    embedder: EmbedsSpots,
    model: Model,
    settings: SamplingSettings,
    poll: Poll = go_on,
    watch: Callable[[float], None] = go_on,
) -> Generator[tuple[NDArray[np.int64], dict[str, NDArray[Any]]], None, None]:
    """Embed and draw blocks of a prediction's spots, given by rows, one after another; write nothing.

    Yields the rows of each, and what `Prediction.write_block` takes of them. ``poll`` is called within blocks,
    also in another thread, and may raise to cancel; ``watch`` is told after every denoising step how many spots
    of the block the steps so far are worth. Closing the iterator ends what is under way.
    """
    parts = [prediction.spots.take(index) for index in blocks]
    with closing(embed_ahead(embedder, parts, settings.device, poll)) as embeddings:
        for index, part in zip(blocks, parts, strict=True):

            def callback(step: int, n_steps: int, _: Any, n_spots: int = len(index)) -> None:
                poll()
                watch(n_spots * step / n_steps)

            poll()
            embedding = next(embeddings)
            draws = model.sample(embedding, part, settings, callback, poll)
            q05, q95 = central_interval(draws, 0.9)
            values = {
                "ood_distance": model.head.distance(embedding),
                "mean": model.mean(embedding, draws, settings),
                "sd": draws.std(-1),  # mirrored pairs: their mean takes no degree of freedom
                "q05": q05,
                "q95": q95,
            }
            if prediction.n_kept_draws > 0:
                values["draws"] = draws.astype(np.float16)
            yield index, values


def embed_ahead(
    embedder: EmbedsSpots,
    parts: Sequence[Spots],
    device: str,
    poll: Poll = go_on,
) -> Generator[NDArray[np.float32], None, None]:
    """Embed spots part by part, the next one while its user works on the last: (n, width) each.

    Not beside the first, so that something is to be seen soon.

    ``poll`` is called while spots are looked at, in another thread, and may raise to cancel. Closing the
    iterator ends what is under way. Where ``device`` is Apple's MPS, nothing is done ahead.
    """
    # used by two threads it ends the process: pytorch#197805
    if torch_device(device).startswith("mps"):
        yield from (embedder.embed(part, poll) for part in parts)
        return
    has_ended = threading.Event()
    poll_end = poll_of(has_ended)

    def poll_both(*_: Any) -> None:
        poll_end()
        poll()

    # more BLAS threads wait for drawing in a loop, at the expense of the encoder
    with blas().limit(limits=1), ThreadPoolExecutor(1, "embedding") as pool:
        try:
            coming: list[Future[NDArray[np.float32]]] = []
            for number, part in enumerate(parts):
                now = coming.pop() if coming else pool.submit(embedder.embed, part, poll_both)
                embedding = now.result()
                if 0 < number < len(parts) - 1:
                    coming.append(pool.submit(embedder.embed, parts[number + 1], poll_both))
                yield embedding
        finally:
            has_ended.set()


def join_blocks(parts: Sequence[dict[str, NDArray[Any]]]) -> dict[str, Any]:
    """Join the values of several blocks, as if they were one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class Clock:
    """Time left, at the pace of the last blocks: a computer becomes slower, or others leave it.

    How long it took to begin, with the first block, says nothing of the rest.
    """

    def __init__(self, prediction: Prediction) -> None:
        self._prediction = prediction
        self._n_spots = len(prediction.done)
        self._n_before = int(prediction.done.sum())
        # of the last blocks: spots that are done, s
        self._ends: deque[tuple[int, float]] = deque(maxlen=_BLOCKS_OF_PACE + 1)

    def progress(
        self, stage: Literal["embedding", "sampling"], under_way: float = 0.0
    ) -> PredictionProgress:
        """How far the prediction is, and so many spots that are under way."""
        n_done, now, left = int(self._prediction.done.sum()), time.monotonic(), None
        if n_done > self._n_before and not under_way:
            self._ends.append((n_done, now))
        if len(self._ends) > 1:
            (n_first, first_s), (n_last, last_s) = self._ends[0], self._ends[-1]
            pace_s = (last_s - first_s) / (n_last - n_first)
            left = max(0.0, pace_s * (self._n_spots - n_last) - (now - last_s))
        elif n_done == self._n_spots:
            left = 0.0
        return PredictionProgress(stage, n_done, self._n_spots, left, n_done + under_way)


def spots_at_once(model: Model, settings: SamplingSettings) -> int:
    """How many spots a block has: those asked for, or fewer where genes and samples would fill the memory."""
    n_values = len(model.genes) * settings.n_draws
    return max(1, min(settings.spots_per_block, _VALUES_AT_ONCE // n_values))


def split_blocks(todo: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Divide ascending spots into runs of adjacent ones, at most ``size`` long.

    Their bounds are the same whatever is done already: matrix products of other spots together would round
    otherwise, and a run that goes on ends with the bits of one that was never stopped. The first is short, so
    that something is to be seen soon.
    """
    number = np.where(todo < min(size, _FIRST_BLOCK), -1, todo // size)
    cuts = np.flatnonzero((np.diff(todo) != 1) | (np.diff(number) != 0)) + 1
    return np.split(todo, cuts) if len(todo) else []
