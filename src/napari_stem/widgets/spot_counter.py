"""How many spots regions hold, fast enough to follow the pen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import SpotError
from napari_stem.geometry import inside, lattice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.geometry import Mpp, Region, Spots
    from napari_stem.slide.base import Slide

ESTIMATE_ABOVE = 200_000  # spots on the whole slide: beyond, the area alone says how many


class SpotCounter:
    """Counts the lattice's spots in regions, keeping the last lattice."""

    def __init__(self) -> None:
        self._key: tuple[str, Mpp, float] | None = None
        self._lattice: Spots | None = None

    def count(self, slide: Slide, regions: Sequence[Region], pitch_um: float) -> int:
        """Count the spots of a run; near enough on slides that hold very many.

        Parameters
        ----------
        slide, regions, pitch_um
            What a run would be asked for.

        Returns
        -------
        0 where the pitch is larger than the slide.
        """
        mpp = slide.require_mpp()
        pitch_px2 = pitch_um**2 / (mpp.x_um * mpp.y_um)
        if slide.size.height_px * slide.size.width_px / pitch_px2 > ESTIMATE_ABOVE:
            return int(sum(region.polygon.area for region in regions) / pitch_px2)
        key = (slide.fingerprint, mpp, pitch_um)
        if key != self._key:
            try:
                self._lattice = lattice(slide.size, mpp, pitch_um)
            except SpotError:
                self._lattice = None
            self._key = key
        return 0 if self._lattice is None else int(np.count_nonzero(inside(self._lattice, regions)))
