"""Undo and redo for the regions of one slide."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Shapes
    from numpy.typing import NDArray

STEPS = 50


@dataclass(frozen=True)
class Snapshot:
    """All shapes of a layer at one moment."""

    vertices: tuple[NDArray[np.float64], ...]
    kinds: tuple[str, ...]
    features: pd.DataFrame

    @classmethod
    def of(cls, layer: Shapes) -> Snapshot:
        """Copy a layer's shapes."""
        return cls(
            tuple(np.array(vertices) for vertices in layer.data),
            tuple(layer.shape_type),
            layer.features.reset_index(drop=True).copy(),
        )

    def is_same(self, other: Snapshot) -> bool:
        """Whether nothing differs."""
        return (
            self.kinds == other.kinds
            and all(map(np.array_equal, self.vertices, other.vertices))
            and self.features.to_dict("list") == other.features.to_dict("list")
        )

    def restore(self, layer: Shapes) -> None:
        """Put these shapes in place of those that are there."""
        layer.selected_data = set()
        layer.remove(list(range(layer.nshapes)))  # `data = []` would leave their features behind
        if self.vertices:
            layer.add(list(self.vertices), shape_type=list(self.kinds))
            layer.features = self.features.copy()

    def scaled(self, factors: NDArray[np.float64]) -> Snapshot:
        """Return the same shapes with coordinates (y, x) times these factors."""
        return replace(
            self, vertices=tuple((each * factors).astype(each.dtype) for each in self.vertices)
        )


class History:
    """What the regions were after each settled change."""

    def __init__(self, now: Snapshot) -> None:
        self._past: list[Snapshot] = []
        self._now = now
        self._future: list[Snapshot] = []
        self._step = ""  # what kind of step led to now

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to take back."""
        return bool(self._past)

    def note(self, now: Snapshot, step: str = "") -> None:
        """Remember a change; nothing happens where there was none.

        Parameters
        ----------
        now
            The regions.
        step
            Kind of change: those of one kind that follow one another are taken back together.
        """
        if now.is_same(self._now):
            return
        if not step or step != self._step:
            self._past = [*self._past, self._now][-STEPS:]
        self._now, self._step = now, step
        self._future.clear()

    def undo(self) -> Snapshot | None:
        """Return what was before the last change, or None."""
        if not self._past:
            return None
        self._future.append(self._now)
        self._now, self._step = self._past.pop(), ""
        return self._now

    def rescale(self, factors: NDArray[np.float64], now: Snapshot) -> None:
        """Multiply the coordinates (y, x) of every step, to go with the shapes as they are now."""
        self._past = [snapshot.scaled(factors) for snapshot in self._past]
        self._future = [snapshot.scaled(factors) for snapshot in self._future]
        self._now = now

    def redo(self) -> Snapshot | None:
        """Return what was before the last undo, or None."""
        if not self._future:
            return None
        self._past.append(self._now)
        self._now, self._step = self._future.pop(), ""
        return self._now
