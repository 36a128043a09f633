"""Coarser levels that a file lacks, made once and kept on disk as OME-Zarr 0.5.

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
import stat
import struct
import uuid
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.caches import CACHES, keep_bounded, touch
from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.settings import CACHE_VARIABLE
from napari_stem.slide.source import (
    READ_ERRORS,
    Level,
    coarser_sizes,
    downsample,
    halve,
    level_of_array,
    paste,
    tiles_under,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_stem.progress import Progress
    from napari_stem.slide.source import SlideSource

logger = logging.getLogger(__name__)

FORMAT = 3  # raised whenever stores written before must not be used any more
CHUNK_PX = 512
BLOCK_PX = 1024
WIDE_PX = 2 * BLOCK_PX  # wider native tiles are strips: read them whole or decode them anew
MOST_WRITERS = 4
MEMORY_LIMIT_BYTES = 4 * 2**30
GROUND = 228  # darker than glass, so that what is not there yet is not taken for it


@dataclass(frozen=True)
class Plan:
    """Which levels to make for a slide."""

    title: str  # what progress and warnings call it
    source: SlideSource
    # its own, which those of the store never exceed: bits of ``os.stat_result.st_mode``
    rights: int = 0o700

    @cached_property
    def sizes(self) -> list[SizePx]:
        """Of the levels to make, finest first: perhaps the only stored one anew, then those that it lacks."""
        coarsest = self.source.sources[-1].size
        return [*([coarsest] if self.source.copies_base else ()), *coarser_sizes(coarsest)]

    @property
    def is_light(self) -> bool:
        """Whether making the levels takes no longer than looking for them in a store."""
        return len(self.sizes) == 1  # the last level is small

    @property
    def folder(self) -> Path:
        """Where the store lies once it is complete."""
        return CACHES["pyramids"].folder / self.source.fingerprint

    @property
    def label(self) -> str:
        """What an error message calls the place of the levels."""
        return f"{self.folder} (the stored levels of {self.title})"

    @property
    def stamp(self) -> dict[str, Any]:
        """What a store must say of itself to be the one that is asked for."""
        return {
            "format": FORMAT,
            "sizes_px": [[s.height_px, s.width_px] for s in self.sizes],
            "copies_base": self.source.copies_base,
            "colour": str(self.source.properties.get("colour", "")),
        }


def made_levels(
    plan: Plan,
    base: Callable[[], Level],
    progress: Progress | None = None,
    preview: Preview | None = None,
) -> list[Level]:
    """Open the planned levels, making them first if this slide is new; light ones are always made.

    ``base`` gives the level that they are made from, and is called only when they must be made. ``progress`` is
    told ``(text, blocks done, blocks in all)``; what it raises stops the making and leaves nothing behind.
    ``preview`` is painted with what has been read. SlideError: the base is damaged, or the store cannot be
    written and the levels do not fit in memory.
    """
    if plan.is_light:
        pixels = base().whole()
        return [level_of_array(pixels if plan.source.copies_base else halve(pixels), plan.title)]
    found = open_store(plan)
    if found is not None:
        return found
    fill = partial(_fill, plan, base(), progress, preview)
    failure: OSError | None = None
    try:
        _write_store(plan, fill)
    except OSError as error:  # reading errors of the slide itself come as SlideError
        failure = error
    found = open_store(plan)  # perhaps another process's, which was faster
    if found is not None:
        return found
    if failure is None:
        raise SlideError(
            f"{plan.folder} was changed while it was being written; open {plan.title} again."
        )
    logger.warning(
        "The levels of %s are kept in memory, for this time only: %s cannot be written (%s). "
        "Set %s to a folder with free space.",
        plan.title,
        plan.folder,
        failure,
        CACHE_VARIABLE,
    )
    return _levels_in_memory(plan, fill)


def open_store(plan: Plan) -> list[Level] | None:
    """Open the levels of a complete store; None where there is none that fits."""
    about = plan.folder / "zarr.json"
    try:
        if not about.is_file():
            return None
        if json.loads(about.read_bytes())["attributes"].get("napari_stem") != plan.stamp:
            return None
    except READ_ERRORS as error:
        logger.warning("%s is not used: %s", plan.folder, error)
        return None
    _keep_rights(plan.folder, plan.rights)
    touch(plan.folder)
    return [_stored_level(plan, index) for index in range(len(plan.sizes))]


def _stored_level(plan: Plan, index: int) -> Level:
    """Offer a level of a complete store.

    Chunks are read here: zarr gives white for one that was removed, and goes to three other threads for each.
    """
    extent = SizePx(CHUNK_PX, CHUNK_PX)
    chunks = plan.folder / str(index) / "c" / "0"

    def read(rows: slice, columns: slice) -> NDArray[np.uint8]:
        touch(plan.folder)  # keeps it from removal
        window = np.empty((rows.stop - rows.start, columns.stop - columns.start, 3), np.uint8)
        for row, column in tiles_under(rows, columns, extent):
            try:
                packed = (chunks / str(row) / str(column)).read_bytes()
            except FileNotFoundError:
                raise SlideError(
                    f"The stored levels in {plan.folder} were removed while the slide was open; open the "
                    f"slide again, and they are made anew."
                ) from None
            paste(window, rows, columns, _unpacked(packed), (row * CHUNK_PX, column * CHUNK_PX))
        return window

    return Level(read, plan.sizes[index], extent, plan.label)


def _unpacked(packed: bytes) -> NDArray[np.uint8]:
    """(CHUNK_PX, CHUNK_PX, 3) of the bytes of a chunk; one of `READ_ERRORS` where they are damaged."""
    from numcodecs import blosc

    # Blosc's header says how long both are; for what is missing it would give what happens to lie in memory
    if struct.unpack_from("<IxxxxI", packed, 4) != (3 * CHUNK_PX**2, len(packed)):
        raise ValueError("a chunk is cut off or damaged")
    return np.frombuffer(blosc.decompress(packed), np.uint8).reshape(CHUNK_PX, CHUNK_PX, 3)


def _write_store(plan: Plan, fill: Callable[[list[Any]], None]) -> None:
    """Make the levels in a temporary folder and move it into place; OSError where it cannot be written."""
    import zarr

    folder = plan.folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        fresh.mkdir(mode=0o700)  # for its owner alone until it is complete
        group = zarr.open_group(fresh, mode="a", zarr_format=3)
        fill([_new_array(group, index, size) for index, size in enumerate(plan.sizes)])
        group.attrs.update({"ome": _ome_metadata(plan), "napari_stem": plan.stamp})
        _keep_rights(fresh, plan.rights)
        if open_store(plan) is None:  # else another process was faster
            shutil.rmtree(folder, ignore_errors=True)
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    keep_bounded("pyramids", keep=[folder])


def _keep_rights(folder: Path, rights: int) -> None:
    """Let nobody read a store who may not read the slide."""
    readers = rights & 0o044
    modes = {folder: 0o700 | readers | readers >> 2, folder / "zarr.json": 0o600 | readers}
    if os.name == "nt" or all(stat.S_IMODE(p.stat().st_mode) == mode for p, mode in modes.items()):
        return
    with suppress(PermissionError):  # another user's, in a shared cache
        for place, _, files in os.walk(folder, topdown=False):
            for name in files:
                Path(place, name).chmod(0o600 | readers)
            Path(place).chmod(modes[folder])


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


def _ome_metadata(plan: Plan) -> dict[str, Any]:
    datasets = []
    for index, size in enumerate(plan.sizes):
        factor = downsample(plan.source.sources[0].size, size)
        scale = {"type": "scale", "scale": [1.0, factor, factor]}
        shift = {"type": "translation", "translation": [0.0, *[(factor - 1) / 2] * 2]}
        datasets.append({"path": str(index), "coordinateTransformations": [scale, shift]})
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space"} for n in "yx")]
    multiscale = {"axes": axes, "datasets": datasets, "type": "area mean"}
    return {"version": "0.5", "multiscales": [multiscale]}


def _fill(
    plan: Plan,
    source: Level,
    progress: Progress | None,
    preview: Preview | None,
    arrays: list[Any],
) -> None:
    """Write every level from the one before it, several blocks at a time."""
    jobs = [list(_blocks(size, source.native)) for size in plan.sizes]
    n_blocks, n_done = sum(map(len, jobs)), 0
    below, extent = source, SizePx(CHUNK_PX, CHUNK_PX)
    with ThreadPoolExecutor(max_workers=n_writers()) as pool:
        for index, (array, blocks) in enumerate(zip(arrays, jobs, strict=True)):
            copies = plan.source.copies_base and index == 0
            shown = preview if index == 0 else None
            futures = [pool.submit(fill_block, below, array, b, shown, copies) for b in blocks]
            try:
                for future in as_completed(futures):
                    future.result()
                    n_done += 1
                    if progress is not None:
                        progress(f"Preparing {plan.title} for viewing", n_done, n_blocks)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
            below = Level(partial(_pixels, array), plan.sizes[index], extent, plan.label)


def _pixels(array: Any, rows: slice, columns: slice) -> NDArray[np.uint8]:
    """Read a window of a level that is being made: (h, w, 3)."""
    return np.ascontiguousarray(np.moveaxis(array[:, rows, columns], 0, 2))


def n_writers() -> int:
    """How many threads write levels: one core is left to the viewer that waits for them."""
    return max(1, min(MOST_WRITERS, (os.cpu_count() or 1) - 1))


def fill_block(
    below: Level,
    array: Any,
    block: tuple[slice, slice],
    preview: Preview | None,
    copies: bool,
) -> None:
    """Halve or copy one block of the level below into an array, and show it in the preview."""
    rows, columns = block
    pixels = (below.window if copies else below.halved)(rows, columns)
    array[:, rows, columns] = np.moveaxis(pixels, 2, 0)
    if preview is not None:
        preview.paint(pixels, rows, columns, SizePx(*array.shape[1:]))


def _blocks(size: SizePx, native: SizePx) -> Iterator[tuple[slice, slice]]:
    """Windows that cover a level: squares, or bands as wide as the level for strips."""
    width_px = size.width_px if native.width_px > WIDE_PX else BLOCK_PX
    height_px = BLOCK_PX if width_px <= 16 * BLOCK_PX else CHUNK_PX
    for top in range(0, size.height_px, height_px):
        for left in range(0, size.width_px, width_px):
            yield (
                slice(top, min(top + height_px, size.height_px)),
                slice(left, min(left + width_px, size.width_px)),
            )


def _levels_in_memory(plan: Plan, fill: Callable[[list[Any]], None]) -> list[Level]:
    """Make the same levels without a store."""
    n_bytes = sum(3 * s.height_px * s.width_px for s in plan.sizes)
    if n_bytes > MEMORY_LIMIT_BYTES:
        raise SlideError(
            f"{plan.title} needs {n_bytes / 2**30:.0f} GB of levels that cannot be written to "
            f"{plan.folder.parent}; free space there, or set {CACHE_VARIABLE} to another folder."
        )
    arrays = [np.empty((3, s.height_px, s.width_px), np.uint8) for s in plan.sizes]
    fill(arrays)
    return [level_of_array(np.ascontiguousarray(np.moveaxis(a, 0, 2)), plan.title) for a in arrays]


class Preview:
    """The whole slide, as far as it is known: ``pixels``, (height, width, 3) uint8.

    Painted by the thread that makes the levels and read by the viewer's, without a lock: half a stroke is
    seen for a moment at worst. ``n_changes`` grows with every change.
    """

    def __init__(self, size: SizePx) -> None:
        self.pixels = np.full((size.height_px, size.width_px, 3), GROUND, np.uint8)
        self.n_changes = 0

    def paint(self, pixels: NDArray[np.uint8], rows: slice, columns: slice, whole: SizePx) -> None:
        """Take over a window, (h, w, 3), of a finer picture, whose extent is ``whole``."""
        from PIL import Image

        spans = [
            slice(round(start), round(stop))
            for start, stop in scaled(rows, columns, whole, SizePx(*self.pixels.shape[:2]))
        ]
        height_px, width_px = (span.stop - span.start for span in spans)
        if height_px < 1 or width_px < 1:
            return
        small = Image.fromarray(pixels).resize((width_px, height_px), Image.Resampling.BOX)
        self.pixels[spans[0], spans[1]] = np.asarray(small)
        self.n_changes += 1


def scaled(rows: slice, columns: slice, whole: SizePx, other: SizePx) -> list[tuple[float, float]]:
    """Where a window of a picture begins and ends in another one, down and across."""
    return [
        (span.start * own / extent, span.stop * own / extent)
        for span, own, extent in (
            (rows, other.height_px, whole.height_px),
            (columns, other.width_px, whole.width_px),
        )
    ]
