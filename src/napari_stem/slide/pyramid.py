"""Levels that a file lacks, made by the thread that needs them first, and kept on disk as OME-Zarr 0.5.

Every level is made from the one before it, block by block: level 0 is read once, nothing is held
whole. A store is one folder per slide content; it is written under a temporary name and renamed when
complete, so that one that exists is complete, whichever process made it and whoever was killed.
Specification: https://ngff.openmicroscopy.org/0.5/
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import struct
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.caches import CACHES, keep_bounded, restrict, touch
from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.settings import CACHE_VARIABLE
from napari_stem.slide.level import (
    READ_ERRORS,
    Level,
    coarser_sizes,
    downsample,
    from_tiles,
    level_of_array,
    scaled,
    tiles_under,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_stem.progress import Progress
    from napari_stem.slide.stored import StoredSlide

logger = logging.getLogger(__name__)

GROUND = 228  # of a preview: darker than glass, so that what is not there yet is not taken for it
FORMAT = 4  # raised whenever stores written before must not be used any more
CHUNK_PX = 512
BLOCK_PX = 1024
WIDE_PX = 2 * BLOCK_PX  # wider chunks are strips: read them whole or decode them anew
MOST_WRITERS = 4
MEMORY_LIMIT_BYTES = 4 * 2**30
SAME_SHAPE = 0.02  # how far a thumbnail's sides may be out of the slide's proportion


def missing_sizes(slide: StoredSlide) -> list[SizePx]:
    """Extents of the levels to make, finest first: perhaps a copy of the only one, and those missing."""
    coarsest = slide.levels[-1].size
    return [*([coarsest] if slide.needs_tiled_copy else ()), *coarser_sizes(coarsest)]


class Preview:
    """The whole slide, as far as it is known: ``pixels``, (height, width, 3) uint8.

    Painted by the thread that makes the levels and read by the viewer's, without a lock: half a stroke is
    seen for a moment at worst. ``n_changes`` grows with every change, until there is nothing left to paint.
    """

    def __init__(self, size: SizePx) -> None:
        self.pixels = np.full((size.height_px, size.width_px, 3), GROUND, np.uint8)
        self.n_changes = 0
        self._is_whole = False

    def paint(self, pixels: NDArray[np.uint8], rows: slice, columns: slice, whole: SizePx) -> None:
        """Take over a window, (h, w, 3), of a finer picture, whose extent is ``whole``."""
        from PIL import Image

        spans = [
            slice(round(start), round(stop))
            for start, stop in scaled(rows, columns, whole, SizePx(*self.pixels.shape[:2]))
        ]
        height_px, width_px = (span.stop - span.start for span in spans)
        if self._is_whole or height_px < 1 or width_px < 1:
            return
        small = Image.fromarray(pixels).resize((width_px, height_px), Image.Resampling.BOX)
        self.pixels[spans[0], spans[1]] = np.asarray(small)
        self.n_changes += 1
        own_px = self.pixels.shape[:2]
        self._is_whole = (height_px, width_px) == own_px and pixels.shape[0] >= height_px


class PyramidBuilder:
    """The levels that a slide lacks, the first of which is its ``first_level``.

    ``slide`` is what its reader makes of the file; who may not read ``file`` may not read the store, which
    its owner alone may where that is None.

    ``preview`` is what is known of the slide until the levels are there. ``progress`` is told ``(text, done,
    total)`` by whichever thread makes them.
    """

    def __init__(self, slide: StoredSlide, file: os.stat_result | None = None) -> None:
        self.first_level = 0 if slide.needs_tiled_copy else len(slide.levels)
        self.sizes = missing_sizes(slide)
        self.preview = Preview(self.sizes[-1])
        self.progress: Progress | None = None
        self._slide, self._file = slide, file
        self._title = slide.path.name
        self._folder = CACHES["pyramids"].folder / slide.fingerprint
        self._label = f"{self._folder} (the stored levels of {self._title})"
        self._made: list[Level] | None = None
        self._lock = threading.Lock()
        self._base_lock = threading.Lock()
        self._decoded: Level | None = None
        self._is_stopped = False
        self._search: threading.Thread | None = None

    @property
    def is_done(self) -> bool:
        """Whether the levels are there."""
        return self._made is not None

    def find_store(self) -> None:
        """Begin, in a thread, to look for levels that were stored earlier; a single small one is made at once.

        From now on the preview is shown until there are levels.
        """
        self._search = threading.Thread(target=self._find, name="slide-levels", daemon=True)
        self._search.start()

    def await_store(self, at_most_s: float | None = None) -> bool:
        """Wait for ``find_store``, but not for the making of levels; tell whether all are there."""
        if self._search is not None and not self.is_done:
            self._search.join(at_most_s)
        return self.is_done

    def _find(self) -> None:
        try:
            with self._lock:
                self._made = self._made or self._at_hand()
        except (SlideError, *READ_ERRORS) as error:  # whoever needs the levels is told
            logger.debug("%s: %s", self._title, error)

    def levels(self) -> list[Level]:
        """Give the levels; makes them if nobody has, and waits if somebody does.

        SlideError: the file is damaged, the levels can be kept nowhere, or ``stop`` was called.
        """
        with self._lock:
            if self._made is None:
                self._draw_first()
                try:
                    self._made = self._at_hand() or self._make()
                finally:
                    self._decoded = None
            return self._made

    def pending(self) -> list[Level]:
        """Give the same levels at once; reading from one waits for it, or makes all if nobody does."""
        return self._read_by(self._window)

    def _read_by(self, read: Callable[[int, slice, slice], NDArray[np.uint8]]) -> list[Level]:
        """Make levels of a function that reads a window of each, by its number."""
        return [
            Level(partial(read, number), size, SizePx(CHUNK_PX, CHUNK_PX), self._label)
            for number, size in enumerate(self.sizes)
        ]

    def stop(self) -> None:
        """Make no more; what is half made is removed."""
        self._is_stopped = True

    def _tell(self, text: str, done: int, total: int) -> None:
        if self._is_stopped:
            raise SlideError(f"{self._title} was closed before it was ready; open it again.")
        if self.progress is not None:
            self.progress(text, done, total)

    def _base(self) -> Level:
        """Give the level that the others are made from, decoded once for all threads that make or wait."""
        with self._base_lock:
            if self._decoded is None:
                decode = self._slide.decode_coarsest
                self._decoded = self._slide.levels[-1] if decode is None else decode(self._tell)
            return self._decoded

    def _window(self, number: int, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Read from a level; while it is being made from a base in memory, from that, to the same pixels."""
        if not self.await_store() and self._lock.locked():
            base, times = self._base(), number + (not self._slide.needs_tiled_copy)
            if self.is_done:  # meanwhile: nobody needs it any more
                self._decoded = None
            if base.is_in_memory:
                return base.halved(rows, columns, times)
        return (self._made or self.levels())[number].read(rows, columns)

    def _draw_first(self) -> None:
        """Preview the whole at once, if somebody looks; by the scanner's thumbnail, if it shows all of it."""
        rough = self._slide.rough_picture
        if rough is None and (found := self._slide.associated.get("thumbnail")) is not None:
            own = found.size.width_px / found.size.height_px
            if abs(own * self._slide.size.height_px / self._slide.size.width_px - 1) <= SAME_SHAPE:
                rough = found.whole
        if rough is None or self._search is None:
            return
        try:
            picture = rough()
        except (SlideError, *READ_ERRORS) as error:  # what is wrong with the file is told later
            logger.debug("No rough picture of %s: %s", self._title, error)
            return
        size = SizePx(*picture.shape[:2])
        self.preview.paint(picture, slice(0, size.height_px), slice(0, size.width_px), size)

    def _at_hand(self) -> list[Level] | None:
        """Open the store, if it is there; make a single, small level, which takes no longer."""
        return self._in_memory() if len(self.sizes) == 1 else self._open_store()

    def _in_memory(self) -> list[Level]:
        arrays = [np.empty((s.height_px, s.width_px, 3), np.uint8) for s in self.sizes]
        levels = [level_of_array(array, self._title) for array in arrays]
        self._fill([np.moveaxis(array, 2, 0) for array in arrays], levels)
        return levels

    @property
    def _stamp(self) -> dict[str, Any]:
        """What a store must say of itself to be the one that is asked for."""
        return {
            "format": FORMAT,
            "sizes_px": [[s.height_px, s.width_px] for s in self.sizes],
            "needs_tiled_copy": self._slide.needs_tiled_copy,
            "colour": str(self._slide.properties.get("colour", "")),
        }

    def _open_store(self) -> list[Level] | None:
        """Open the levels of a complete store; None where there is none that fits."""
        about = self._folder / "zarr.json"
        try:
            if not about.is_file():
                return None
            if json.loads(about.read_bytes())["attributes"].get("napari_stem") != self._stamp:
                return None
        except READ_ERRORS as error:
            logger.warning("%s is not used: %s", self._folder, error)
            return None
        restrict(self._folder, self._file)
        touch(self._folder)
        return self._read_by(partial(_stored_window, self._folder))

    def _make(self) -> list[Level]:
        """Make the levels, and the store if it can be written.

        SlideError: the base is damaged, or the store cannot be written and the levels do not fit in memory.
        """
        try:
            self._write_store()
            reason = "it was changed while it was being written"
        except OSError as error:  # reading errors of the slide itself come as SlideError
            reason = str(error)
        found = self._open_store()  # perhaps another process's, which was faster
        if found is not None:
            return found
        logger.warning(
            "The levels of %s are kept in memory, for this time only: %s cannot be written (%s). "
            "Set %s to a folder with free space.",
            self._title,
            self._folder,
            reason,
            CACHE_VARIABLE,
        )
        n_bytes = sum(3 * s.height_px * s.width_px for s in self.sizes)
        if n_bytes > MEMORY_LIMIT_BYTES:
            raise SlideError(
                f"{self._title} needs {n_bytes / 2**30:.0f} GB of levels that cannot be written to "
                f"{self._folder.parent}; free space there, or set {CACHE_VARIABLE} to another folder."
            )
        return self._in_memory()

    def _write_store(self) -> None:
        """Make the levels in a temporary folder and move it into place; OSError where it cannot be written."""
        import zarr

        folder = self._folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.partial")
        try:
            fresh.mkdir(mode=0o700)  # for its owner alone until it is complete
            group = zarr.open_group(fresh, mode="a", zarr_format=3)
            arrays = [_new_array(group, n, size) for n, size in enumerate(self.sizes)]
            self._fill(arrays, self._read_by(partial(_stored_window, fresh)))
            group.attrs.update({"ome": self._ome_metadata(), "napari_stem": self._stamp})
            restrict(fresh, self._file)
            if self._open_store() is None:  # else another process was faster
                shutil.rmtree(folder, ignore_errors=True)
                fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        keep_bounded("pyramids", keep=[folder])

    def _ome_metadata(self) -> dict[str, Any]:
        datasets = []
        for index, size in enumerate(self.sizes):
            factor = downsample(self._slide.size, size)
            scale = {"type": "scale", "scale": [1.0, factor, factor]}
            shift = {"type": "translation", "translation": [0.0, *[(factor - 1) / 2] * 2]}
            datasets.append({"path": str(index), "coordinateTransformations": [scale, shift]})
        axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space"} for n in "yx")]
        multiscale = {"axes": axes, "datasets": datasets, "type": "area mean"}
        return {"version": "0.5", "multiscales": [multiscale]}

    def _fill(self, arrays: list[Any], levels: list[Level]) -> None:
        """Write every level, (3, height, width), from the one before it, block by block, and preview it.

        ``levels`` read what is written.
        """
        below = self._base()
        jobs = [_blocks(level, below.chunk) for level in levels]
        n_blocks, n_done = sum(map(len, jobs)), 0
        # one core is left to the viewer that waits for them
        with ThreadPoolExecutor(max(1, min(MOST_WRITERS, (os.cpu_count() or 1) - 1))) as pool:
            for index, blocks in enumerate(jobs):
                copies = self._slide.needs_tiled_copy and index == 0
                shown = self.preview if index == 0 else None
                write = partial(fill_block, below, arrays[index], shown, copies)
                # at an error, here or there, those that are still waiting are cancelled
                for _ in pool.map(write, blocks):
                    n_done += 1
                    self._tell(f"Preparing {self._title} for viewing", n_done, n_blocks)
                below = levels[index]


def _stored_window(folder: Path, index: int, rows: slice, columns: slice) -> NDArray[np.uint8]:
    """Read a window of a level of a store.

    Chunks are read here: zarr gives white for one that was removed, and goes to three other threads for each.
    """
    touch(folder)  # keeps it from removal

    def read(row: int, column: int) -> NDArray[np.uint8]:
        try:
            return _unpacked(folder.joinpath(f"{index}/c/0/{row}/{column}").read_bytes())
        except FileNotFoundError:
            raise SlideError(
                f"The stored levels in {folder} were removed while the slide was open; open the "
                f"slide again, and they are made anew."
            ) from None

    return from_tiles(rows, columns, SizePx(CHUNK_PX, CHUNK_PX), read)


def _unpacked(packed: bytes) -> NDArray[np.uint8]:
    """(CHUNK_PX, CHUNK_PX, 3) of the bytes of a chunk; one of `READ_ERRORS` where they are damaged."""
    from numcodecs import blosc

    # Blosc's header says how long both are; for what is missing it would give what happens to lie in memory
    if struct.unpack_from("<IxxxxI", packed, 4) != (3 * CHUNK_PX**2, len(packed)):
        raise ValueError("a chunk is cut off or damaged")
    return np.frombuffer(blosc.decompress(packed), np.uint8).reshape(CHUNK_PX, CHUNK_PX, 3)


def _new_array(group: Any, index: int, size: SizePx) -> Any:
    """One level as (c, y, x), the order OME-Zarr asks for, its chunks stored pixel by pixel."""
    from zarr.codecs import BloscCodec, TransposeCodec

    return group.create_array(
        str(index),
        shape=(3, size.height_px, size.width_px),
        chunks=(3, CHUNK_PX, CHUNK_PX),
        dtype="uint8",
        filters=[TransposeCodec(order=(1, 2, 0))],
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle="noshuffle"),
        fill_value=255,
        dimension_names=("c", "y", "x"),
        config={"write_empty_chunks": True},  # so that a chunk that is not there is missing
    )


def fill_block(
    below: Level, array: Any, preview: Preview | None, copies: bool, block: tuple[slice, slice]
) -> None:
    """Halve or copy one block of the level below into an array, and show it in the preview."""
    rows, columns = block
    pixels = (below.window if copies else below.halved)(rows, columns)
    array[:, rows, columns] = np.moveaxis(pixels, 2, 0)
    if preview is not None:
        preview.paint(pixels, rows, columns, SizePx(*array.shape[1:]))


def _blocks(level: Level, below: SizePx) -> list[tuple[slice, slice]]:
    """Windows that cover a level: squares, or bands as wide as it where ``below`` there are strips."""
    width_px = level.size.width_px if below.width_px > WIDE_PX else BLOCK_PX
    extent = SizePx(BLOCK_PX if width_px <= 16 * BLOCK_PX else CHUNK_PX, width_px)
    whole = slice(0, level.size.height_px), slice(0, level.size.width_px)
    return [level.tile(*place, extent) for place in tiles_under(*whole, extent)]
