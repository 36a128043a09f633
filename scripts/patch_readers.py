"""The readers of ``patch_benchmark.py`` and of asv's ``benchmarks/patches.py``."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from patch_slides import MPP_UM, SIDE_PX, SLIDE_PX, VIEWS_UM, Task, square_of_spots

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_stem.slide.base import Slide
    from napari_stem.slide.patches import PatchReader

ReadBatch = Callable[[NDArray[np.int64], NDArray[np.uint8]], object]  # fills (n, side, side, 3)

BATCH = 256
READERS = ("napari-stem", "openslide", "tiffslide", "dask", "decode", "resample")


def planned(task: Task) -> tuple[Slide, PatchReader]:
    from napari_stem.encoders.base import PatchSpec
    from napari_stem.slide import open_slide
    from napari_stem.slide.patches import PatchReader

    slide = open_slide(task.path)
    fov_um = VIEWS_UM[task.view]
    spots = square_of_spots(task.n_patches, task.view)
    spec = PatchSpec((fov_um,), SIDE_PX)
    return slide, PatchReader(slide, spots, spec, max_workers=task.threads)


class Window(NamedTuple):
    """Pixels of a level that a patch needs, and the patch's box in them as Pillow takes it."""

    top: int
    left: int
    bottom: int
    right: int
    box: tuple[float, float, float, float] | None


def windows(task: Task, downsamples: tuple[float, ...]) -> tuple[int, list[Window]]:
    """Level, and window of each patch, for a reader that has the given levels."""
    from types import SimpleNamespace

    from napari_stem.slide.patch_plan import cuts_of, level_for, view_of

    from napari_stem.geometry import Mpp, SizePx

    size = SizePx(SLIDE_PX, SLIDE_PX)
    sizes = [SizePx(round(SLIDE_PX / d), round(SLIDE_PX / d)) for d in downsamples]
    levels = [
        SimpleNamespace(size=s, downsample=float(d))
        for s, d in zip(sizes, downsamples, strict=True)
    ]
    mpp = Mpp.square(MPP_UM)
    slide: Any = SimpleNamespace(size=size, levels=levels, mpp=mpp, require_mpp=lambda: mpp)
    fov_um = VIEWS_UM[task.view]
    level = level_for(slide, fov_um, SIDE_PX)
    spots = square_of_spots(task.n_patches, task.view)
    view = view_of(slide, level, SizePx(256, 256), fov_um, SIDE_PX)
    cuts = cuts_of(view, spots.x_px, spots.y_px)
    found = []
    for corner, copied, (top, left, bottom, right) in zip(
        cuts.corners_px_l, cuts.copied, cuts.windows.tolist(), strict=True
    ):
        y, x = float(corner[0]) - top, float(corner[1]) - left
        box = None if copied else (x, y, x + view.width_px_l, y + view.height_px_l)
        found.append(Window(top, left, bottom, right, box))
    return level, found


def resampled(pixels: NDArray[np.uint8], box: tuple[float, ...] | None) -> NDArray[np.uint8]:
    from PIL import Image

    if box is None:
        return pixels
    side = (SIDE_PX, SIDE_PX)
    bilinear = Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(pixels).resize(side, bilinear, box=box))


def ours(task: Task) -> ReadBatch:
    _, reader = planned(task)
    return lambda index, out: reader.read(index, out[:, None])


def by_region(task: Task, slide: Any) -> ReadBatch:
    """``read_region`` in threads, as OpenSlide and tiffslide have it."""
    downsamples = tuple(float(round(d)) for d in slide.level_downsamples)
    level, cuts = windows(task, downsamples)
    pool = ThreadPoolExecutor(task.threads)

    def one(place: int) -> NDArray[np.uint8]:
        w = cuts[place]
        corner = tuple(round(n * downsamples[level]) for n in (w.left, w.top))
        image = slide.read_region(corner, level, (w.right - w.left, w.bottom - w.top))
        return resampled(np.ascontiguousarray(np.asarray(image)[..., :3]), w.box)

    return lambda index, out: np.stack(list(pool.map(one, index)), out=out)


def openslide(task: Task) -> ReadBatch:
    import openslide

    return by_region(task, openslide.OpenSlide(str(task.path)))


def tiffslide(task: Task) -> ReadBatch:
    import tiffslide

    return by_region(task, tiffslide.TiffSlide(str(task.path)))


def dask(task: Task) -> ReadBatch:
    """Slice one dask array, and compute the windows of a batch together."""
    import dask.array as da
    import tifffile
    import zarr

    tiff = tifffile.TiffFile(task.path)
    series = tiff.series[0]
    downsamples = tuple(SLIDE_PX / each.shape[-2] for each in series.levels)
    level, cuts = windows(task, downsamples)
    stored = zarr.open(series.aszarr(level=level), mode="r")
    array = da.from_zarr(stored)
    array = array[0] if array.ndim == 4 else array
    import dask as library

    pool = ThreadPoolExecutor(task.threads)

    def batch(index: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        boxes = [cuts[place] for place in index]
        parts = [array[w.top : w.bottom, w.left : w.right] for w in boxes]
        found = library.compute(*parts, scheduler="threads", num_workers=task.threads)
        chosen = [w.box for w in boxes]
        made = list(pool.map(resampled, map(np.ascontiguousarray, found), chosen))
        np.stack(made, out=out)

    return batch


def decode(task: Task) -> ReadBatch:
    """Read and decode every tile that any patch touches, once; all in the first batch."""
    import tifffile
    from napari_stem.slide.patch_plan import NO_TILE, cuts_of

    slide, reader = planned(task)
    (view,) = reader._views
    touched = np.unique(cuts_of(view, reader.spots.x_px, reader.spots.y_px).tiles)
    waiting = deque(touched[touched != NO_TILE].tolist())
    tiff = tifffile.TiffFile(task.path)
    page = tiff.series[0].levels[view.level].pages[0].aspage()
    descriptor = tiff.filehandle.fileno()
    arguments = {} if page.compression != 7 else {"jpegtables": page.jpegtables, "jpegheader": None}
    slide.close()

    def work() -> None:
        while True:
            try:
                tile = waiting.popleft()
            except IndexError:
                return
            page.decode(*_stored(descriptor, page, tile), **arguments)

    def batch(index: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        if len(index) == 1:  # the first, uncounted
            page.decode(*_stored(descriptor, page, waiting[-1]), **arguments)
        elif waiting:
            with ThreadPoolExecutor(task.threads) as pool:
                for each in [pool.submit(work) for _ in range(task.threads)]:
                    each.result()

    return batch


def resample(task: Task) -> ReadBatch:
    """Plan and cut only: the first patches over and over, whose tiles are decoded already."""
    _, reader = planned(task)
    n_held = 64  # patches, whose tiles are all kept

    def batch(index: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        reader.read(index % n_held, out[:, None])

    reader.read(np.arange(n_held))
    return batch


def _stored(descriptor: int, page: Any, tile: int) -> tuple[bytes, int]:
    return os.pread(descriptor, page.databytecounts[tile], page.dataoffsets[tile]), tile


BEGIN: dict[str, Callable[[Task], ReadBatch]] = {
    "napari-stem": ours,
    "openslide": openslide,
    "tiffslide": tiffslide,
    "dask": dask,
    "decode": decode,
    "resample": resample,
}


def prepared(read: ReadBatch, task: Task) -> NDArray[np.uint8]:
    """Read the last patch, as what libraries load at first use is not counted; give memory to read into."""
    read(np.array([task.n_patches - 1]), np.empty((1, SIDE_PX, SIDE_PX, 3), np.uint8))
    return np.full(
        (BATCH, SIDE_PX, SIDE_PX, 3), 1, np.uint8
    )  # so that the system has handed it out


def read_batches(
    read: ReadBatch, n_patches: int, out: NDArray[np.uint8]
) -> Iterator[NDArray[np.uint8]]:
    """Read all into one array, batch after batch."""
    for start in range(0, n_patches, BATCH):
        index = np.arange(start, min(start + BATCH, n_patches))
        read(index, out[: len(index)])
        yield out[: len(index)]
