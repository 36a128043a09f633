"""Patches: squares of tissue of an exact size in um round each spot, at any pixel size.

Apart from the way pixels are displayed: tiles are decoded as they are stored (``tile_source``), in
threads, each once for all patches that show a part of it (``patch_plan``).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.slide.patch_plan import Cut, batches, cuts_of, level_for, view_of
from napari_stem.slide.tile_source import KEEP_BYTES, TileKey, TileSource, share

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from napari_stem.encoders.base import PatchSpec
    from napari_stem.geometry import Spots
    from napari_stem.slide.base import Slide

MAX_WORKERS = 8
WHITE = 255


class PatchReader:
    """Reads the patches round spots.

    A patch is the square of ``fov_um`` centred at the spot, to a fraction of a pixel, resampled to
    ``side_px`` with a triangle filter as wide as two of the patch's pixels, from the coarsest level
    that is still at least as fine as the patch, never from a coarser one. What lies off the slide is
    white. A patch depends on its spot alone, not on the spots read with it.

    Parameters
    ----------
    slide
        Open, with a known pixel size.
    spots
        Centres in level-0 px.
    spec
        Fields of view in um and side in px.
    max_workers
        Threads that decode and resample; by default one per processor, up to 8.
    keep_bytes
        How many bytes of decoded tiles are kept for the patches to come.

    Raises
    ------
    MissingMppError
        The slide's pixel size is unknown.
    """

    def __init__(
        self,
        slide: Slide,
        spots: Spots,
        spec: PatchSpec,
        *,
        max_workers: int | None = None,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        slide.require_mpp()
        self.slide = slide
        self.spots = spots
        self.spec = spec
        self.max_workers = max_workers or min(MAX_WORKERS, os.cpu_count() or 1)
        self._tiles = TileSource(slide, self.max_workers, keep_bytes)
        levels = [level_for(slide, fov_um, spec.side_px) for fov_um in spec.fields_of_view_um]
        self._views = [
            view_of(slide, level, self._tiles.tile(level), fov_um, spec.side_px)
            for level, fov_um in zip(levels, spec.fields_of_view_um, strict=True)
        ]

    def read(self, index: ArrayLike | slice) -> NDArray[np.uint8]:
        """Read the patches of the chosen spots.

        Parameters
        ----------
        index
            Which spots: integers, a mask or a slice; the order is kept. Many at once, or neighbours
            one after the other, are quickest.

        Returns
        -------
        (n, fields of view, side_px, side_px, 3) uint8 RGB.

        Raises
        ------
        SlideError
            The slide is damaged there.
        """
        if not isinstance(index, slice):
            index = np.asarray(index)
            index = index if index.size else index.astype(np.int64)  # [] becomes an array of float
        y_px = np.asarray(self.spots.y_px, np.float64)[index]
        x_px = np.asarray(self.spots.x_px, np.float64)[index]
        side_px = self.spec.side_px
        patches = np.empty((len(x_px), len(self._views), side_px, side_px, 3), dtype=np.uint8)
        cuts = [
            cut
            for number, view in enumerate(self._views)
            for cut in cuts_of(number, view, x_px, y_px)
        ]
        for batch, keys in batches(cuts, self._views, self._tiles.keep_bytes):
            tiles = self._tiles.fetch(sorted(keys))

            def make(cut: Cut, tiles: Mapping[TileKey, NDArray[np.uint8]] = tiles) -> None:
                self._make(cut, tiles, patches[cut.place, cut.view])

            share(make, batch, self.max_workers)
        return patches

    def _make(
        self, cut: Cut, tiles: Mapping[TileKey, NDArray[np.uint8]], patch: NDArray[np.uint8]
    ) -> None:
        """Put one patch together, resampled unless its pixels are those of the level."""
        from PIL import Image

        if cut.box is None:
            self._assemble(cut, tiles, patch)
            return
        window = cut.window
        shape = (window.bottom - window.top, window.right - window.left, 3)
        pixels = np.empty(shape, dtype=np.uint8)
        self._assemble(cut, tiles, pixels)
        # Pillow widens the filter to the scale when shrinking
        resized = Image.fromarray(pixels).resize(
            (self.spec.side_px, self.spec.side_px), Image.Resampling.BILINEAR, box=cut.box
        )
        patch[...] = np.asarray(resized)

    def _assemble(
        self, cut: Cut, tiles: Mapping[TileKey, NDArray[np.uint8]], out: NDArray[np.uint8]
    ) -> None:
        """Fill a window from its tiles, white where the slide ends."""
        view, window = self._views[cut.view], cut.window
        size, tile = view.size, view.tile
        if (
            min(window.top, window.left) < 0
            or window.bottom > size.height_px
            or window.right > size.width_px
        ):
            out[...] = WHITE
        for row in range(cut.tiles.top, cut.tiles.bottom):
            top = row * tile.height_px
            for column in range(cut.tiles.left, cut.tiles.right):
                left = column * tile.width_px
                pixels = tiles[TileKey(view.level, row, column)]
                y0, y1 = max(top, window.top), min(top + pixels.shape[0], window.bottom)
                x0, x1 = max(left, window.left), min(left + pixels.shape[1], window.right)
                out[y0 - window.top : y1 - window.top, x0 - window.left : x1 - window.left] = (
                    pixels[y0 - top : y1 - top, x0 - left : x1 - left]
                )
