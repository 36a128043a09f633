"""The slides and the readers of ``patch_benchmark.py`` and of asv's ``benchmarks/patches.py``."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_stem.geometry import Spots
    from napari_stem.slide.base import Slide
    from napari_stem.slide.patches import PatchReader

ReadBatch = Callable[[NDArray[np.int64], NDArray[np.uint8]], object]  # fills (n, side, side, 3)

SOURCE = Path(__file__).parents[1] / "tests/data/slides/CMU-1-Small-Region.svs"
TISSUE = (slice(919, 2967), slice(172, 2220))  # 2,048 px squared of it
SLIDE_PX = 20_480
MPP_UM = 0.499
SIDE_PX = 224
BATCH = 256
FORMATS = ("svs-jpeg", "svs-jpeg2000", "ome-tiff")
READERS = ("napari-stem", "openslide", "tiffslide", "dask", "decode", "resample")
VIEWS_UM = {  # fields of view: what is asked of the resampling
    "stored": SIDE_PX * MPP_UM,  # the slide's own pixels
    "112um": 112.0,  # 0.5 um per px, nearly the slide's own
    "224um": 224.0,  # 1 um per px, from twice as many pixels
}


# ---- the slides


def encoders() -> dict[str, tuple[int, Callable[[NDArray[np.uint8]], bytes], dict[str, Any]]]:
    """Tile side, encoder and TIFF tags of each format."""
    import imagecodecs

    jpeg = partial(imagecodecs.jpeg8_encode, level=80, colorspace="RGB", subsampling="422")
    wavelet = partial(imagecodecs.jpeg2k_encode, level=38, codecformat="j2k", mct=True)
    as_jpeg = {"compression": "jpeg", "photometric": "ycbcr", "subsampling": (2, 1)}
    return {
        "svs-jpeg": (256, partial(jpeg, outcolorspace="YCBCR"), as_jpeg),
        "svs-jpeg2000": (256, wavelet, {"compression": 33005, "photometric": "rgb"}),
        "ome-tiff": (512, partial(jpeg, outcolorspace="YCBCR"), as_jpeg),
    }


def tiles_of(
    pixels: NDArray[np.uint8], extent_px: int, side_px: int, encode: Any
) -> Iterator[bytes]:
    """Encode tiles of an image repeated over a square; equal ones once."""
    period_px = math.lcm(len(pixels), side_px)
    repeats = period_px // len(pixels)
    pattern = np.tile(pixels, (repeats, repeats, 1))
    n_own, n_all = period_px // side_px, math.ceil(extent_px / side_px)
    encoded: dict[tuple[int, int], bytes] = {}
    for row in range(n_all):
        for column in range(n_all):
            key = (row % n_own, column % n_own)
            if key not in encoded:
                top, left = key[0] * side_px, key[1] * side_px
                tile = pattern[top : top + side_px, left : left + side_px]
                encoded[key] = encode(np.ascontiguousarray(tile))
            yield encoded[key]


def write_slide(path: Path, kind: str, extent_px: int = SLIDE_PX) -> None:
    """Write one slide with its pyramid."""
    import tifffile
    from PIL import Image

    tissue = tifffile.imread(SOURCE, series=0)[TISSUE]
    tile_px, encode, tags = encoders()[kind]
    is_ome = kind == "ome-tiff"
    factors = (1, 2, 4, 8, 16) if is_ome else (1, 4, 16)
    partial_path = path.with_suffix(".partial")
    with tifffile.TiffWriter(partial_path, bigtiff=True, ome=is_ome) as tiff:
        for factor in factors:
            side_px = extent_px // factor
            pixels = np.asarray(Image.fromarray(tissue).reduce(factor))
            more: dict[str, Any] = dict(tags, tile=(tile_px, tile_px), dtype="uint8")
            if is_ome and factor == 1:
                physical = dict.fromkeys(("PhysicalSizeX", "PhysicalSizeY"), MPP_UM)
                more.update(subifds=len(factors) - 1, metadata={"axes": "YXS", **physical})
            elif is_ome:
                more.update(subfiletype=1)
            else:
                described = (
                    f"Aperio Image Library v11.2.1 \r\n{extent_px}x{extent_px} -> {side_px}x"
                    f"{side_px} - |AppMag = 20|MPP = {MPP_UM}"
                )
                more.update(description=described, metadata=None)
            data = tiles_of(pixels, side_px, tile_px, encode)
            tiff.write(data, shape=(side_px, side_px, 3), **more)
            if not is_ome and factor == 1:
                thumbnail = np.tile(np.asarray(Image.fromarray(tissue).reduce(32)), (10, 10, 1))
                tiff.write(thumbnail, description=described, metadata=None, photometric="rgb")
    partial_path.rename(path)


def slide_path(folder: Path, kind: str) -> Path:
    """Where a slide lies; written if it is not there yet."""
    path = folder / f"{kind}{'.ome.tiff' if kind == 'ome-tiff' else '.svs'}"
    if not path.exists():
        write_slide(path, kind)
    return path


def square_of_spots(n: int, fov_um: float) -> Spots:
    """Spots row by row, their patches apart by 9/10 of their width or as the slide allows."""
    from napari_stem.geometry import Spots

    fov_px = fov_um / MPP_UM
    n_across = math.ceil(math.sqrt(n))
    pitch_px = min(round(0.9 * fov_px), int((SLIDE_PX - fov_px - 40) / max(n_across - 1, 1)))
    row, column = np.divmod(np.arange(n), n_across)
    begin_px = math.ceil(fov_px / 2) + 16  # so that no window leaves the slide
    names = tuple(map(str, range(n)))
    return Spots(
        (begin_px + column * pitch_px).astype(float),
        (begin_px + row * pitch_px).astype(float),
        row,
        column,
        pitch_px * MPP_UM,
        pitch_px * MPP_UM,
        names,
    )


# ---- the readers


@dataclass(frozen=True)
class Task:
    """Which patches of which slide."""

    path: Path
    view: str
    n_patches: int
    threads: int


def planned(task: Task) -> tuple[Slide, PatchReader]:
    from napari_stem.encoders.base import PatchSpec
    from napari_stem.slide import open_slide
    from napari_stem.slide.patches import PatchReader

    slide = open_slide(task.path)
    fov_um = VIEWS_UM[task.view]
    spots = square_of_spots(task.n_patches, fov_um)
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

    from napari_stem.geometry import Mpp, SizePx
    from napari_stem.slide.patch_plan import cuts_of, level_for, view_of

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
    spots = square_of_spots(task.n_patches, fov_um)
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


def warm_up(read: ReadBatch, task: Task) -> None:
    """Read the last patch: what libraries load at first use is not counted."""
    read(np.array([task.n_patches - 1]), np.empty((1, SIDE_PX, SIDE_PX, 3), np.uint8))


def read_batches(read: ReadBatch, n_patches: int) -> Iterator[NDArray[np.uint8]]:
    """Read all into one array, batch after batch."""
    out = np.zeros((BATCH, SIDE_PX, SIDE_PX, 3), np.uint8)
    for start in range(0, n_patches, BATCH):
        index = np.arange(start, min(start + BATCH, n_patches))
        read(index, out[: len(index)])
        yield out[: len(index)]
