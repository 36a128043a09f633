"""Decoded pieces of slides that are kept for viewers."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEEP_BYTES = 192 * 2**20


@dataclass(frozen=True)
class Block:
    """A piece of one level, as it is decoded and kept."""

    view: int
    level: int
    rows: tuple[int, int]
    columns: tuple[int, int]


class Kept:
    """The blocks used last, up to a number of bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._blocks: OrderedDict[Block, NDArray[np.uint8]] = OrderedDict()
        self._n_bytes = 0
        self._lock = threading.Lock()

    def get(self, block: Block) -> NDArray[np.uint8] | None:
        """Give a block, (h, w, 3), if it is kept."""
        with self._lock:
            if block in self._blocks:
                self._blocks.move_to_end(block)
            return self._blocks.get(block)

    def put(self, block: Block, pixels: NDArray[np.uint8]) -> None:
        """Keep a block, and forget those used longest ago."""
        with self._lock:
            if block not in self._blocks:
                self._n_bytes += pixels.nbytes
            self._blocks[block] = pixels
            while self._n_bytes > self._limit_bytes and len(self._blocks) > 1:
                self._n_bytes -= self._blocks.popitem(last=False)[1].nbytes


@cache
def kept_blocks() -> Kept:
    """Blocks of all slides in this process."""
    return Kept(KEEP_BYTES)
