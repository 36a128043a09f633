"""Slide and spots -> embeddings, through the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.encoders.cache import EmbeddingCache, rounded

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_stem.encoders.base import Encoder
    from napari_stem.geometry import Spots
    from napari_stem.slide.base import Slide

_SPOTS_PER_BATCH = 8


class Embedder:
    """Embeds spots of one slide with one encoder; what was embedded before comes from the cache."""

    def __init__(self, slide: Slide, encoder: Encoder) -> None:
        self._slide = slide
        self._encoder = encoder
        self._cache = EmbeddingCache(slide, encoder)

    def embed(self, spots: Spots, step: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """Embed spots.

        Parameters
        ----------
        spots
            n spots.
        step
            Told after every batch how many spots of these are embedded; may raise to cancel.

        Returns
        -------
        (n, width) float32.
        """
        from napari_stem.slide.patches import PatchReader

        found, known = self._cache.get(spots)
        missing = np.flatnonzero(~known)
        reader = PatchReader(self._slide, spots, self._encoder.patch)
        for start in range(0, len(missing), _SPOTS_PER_BATCH):
            index = missing[start : start + _SPOTS_PER_BATCH]
            found[index] = rounded(self._encoder.encode(reader.read(index)))
            self._cache.put(spots.take(index), found[index])
            if step is not None:
                step(len(spots) - len(missing) + start + len(index))
        return found
