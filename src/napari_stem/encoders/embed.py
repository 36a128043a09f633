"""Slide and spots -> embeddings, through the cache."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.encoders.cache import EmbeddingCache, rounded
from napari_stem.slide.patches import PatchReader, along_tiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_stem.encoders.base import Encoder
    from napari_stem.geometry import Spots
    from napari_stem.slide.base import Slide

logger = logging.getLogger(__name__)

N_TRANSFORMS = 8  # of a square: the dihedral group


def turned(patches: NDArray[np.uint8], transform: int) -> NDArray[np.uint8]:
    """Turn patches as one can turn a square.

    Parameters
    ----------
    patches
        (n, fields of view, side_px, side_px, 3).
    transform
        0 leaves them as they are; 1 to 3 are quarter turns counterclockwise; 4 mirrors left to right; 5 to 7
        are quarter turns of the mirrored patch.

    Returns
    -------
    The same shape, contiguous.
    """
    mirrored = patches[:, :, :, ::-1] if transform >= 4 else patches
    return np.ascontiguousarray(np.rot90(mirrored, transform % 4, axes=(2, 3)))


class Embedder:
    """Embeds spots of one slide with one encoder; what was embedded before comes from the cache."""

    def __init__(self, slide: Slide, encoder: Encoder) -> None:
        self._encoder = encoder
        self.field_of_view_um = max(encoder.patch.fields_of_view_um)  # the widest
        self._cache = EmbeddingCache(slide, encoder)
        self._patches = PatchReader(slide, encoder.patch)  # one: it keeps tiles for the next spots

    def embed(
        self, spots: Spots, step: Callable[[int], None] | None = None, transform: int = 0
    ) -> NDArray[np.float32]:
        """Embed spots.

        Parameters
        ----------
        spots
            n spots.
        step
            Told after every batch how many spots of these are embedded; may raise to cancel.
        transform
            How the patches are turned before the encoder sees them, 0 to 7; see `turned`.

        Returns
        -------
        (n, width) float32.
        """
        return self._embed(spots, (transform,), step)[:, 0].copy()

    def embed_turned(
        self, spots: Spots, step: Callable[[int], None] | None = None
    ) -> NDArray[np.float16]:
        """Embed all 8 transforms of each patch, which is read once.

        Parameters
        ----------
        spots, step
            As in `embed`; a spot counts as embedded once its 8 transforms are.

        Returns
        -------
        (n, 8, width) float16: ``[:, 0]`` is what `embed` gives.
        """
        return self._embed(spots, range(N_TRANSFORMS), step).astype(np.float16)

    def _embed(
        self,
        spots: Spots,
        transforms: range | tuple[int, ...],
        step: Callable[[int], None] | None,
    ) -> NDArray[np.float32]:
        """(n, transforms, width), from the cache or by looking."""
        cached = [self._cache.get(spots, transform) for transform in transforms]
        found = np.stack([embedding for embedding, _ in cached], axis=1)
        known = np.stack([whether for _, whether in cached], axis=1)  # (n, transforms)
        missing = np.flatnonzero(~known.all(axis=1))
        logger.debug("%d of %d spots must be embedded.", len(missing), len(spots))
        missing = missing[along_tiles(spots.take(missing))]
        at_once = self._encoder.spots_at_once
        batches = [missing[start : start + at_once] for start in range(0, len(missing), at_once)]
        n_done = len(spots) - len(missing)
        read = self._patches.read_ahead([spots.take(index) for index in batches])
        for index, patches in zip(batches, read, strict=True):
            for place, transform in enumerate(transforms):
                lacking = ~known[index, place]
                if not lacking.any():
                    continue
                new = rounded(self._encoder.encode(turned(patches[lacking], transform)))
                found[index[lacking], place] = new
                self._cache.put(spots.take(index[lacking]), new, transform)
            if step is not None:
                n_done += len(index)
                step(n_done)
        return found
