"""Spares napari's collection of garbage the objects that came with large libraries.

napari collects all garbage whenever a layer is removed, so that what the graphics card held is given back at
once. With torch and its like loaded, a million objects are looked through for it, and the window stands still
for half a second to several. `gc.freeze` moves all objects that there are out of every later collection,
without looking at them; layers made afterwards are still collected as napari means it. What was frozen and is
thrown away later (a slide) is found once `thaw` has been called.
"""

from __future__ import annotations

import gc
import sys
from dataclasses import dataclass

MANY_MODULES = 150  # so many new ones since the last time: a large library was loaded


@dataclass
class _Frozen:
    """What there was when it was frozen last, for the whole process as collection is."""

    n_modules: int = 0  # 0: nothing is frozen


_frozen = _Frozen()


def spare_libraries() -> None:
    """Leave out of later collections what there is by now, where a large library was loaded."""
    if len(sys.modules) - _frozen.n_modules > MANY_MODULES:
        _frozen.n_modules = len(sys.modules)
        gc.freeze()


def thaw() -> None:
    """Let the next collection look at everything again."""
    _frozen.n_modules = 0
    gc.unfreeze()
