"""How fast patches are read, by us and by others. Run: asv run --quick --bench Patches (asv from PyPI).

1,000 patches that lie side by side are read in batches, with two threads, from slides made of real pixels
(CMU-1-Small-Region). OpenSlide, tiffslide and fastslide hand over the windows that we would read, and Pillow's
resampling follows. Compare the times of one run with one another: they differ between machines.
"""

from __future__ import annotations

import math
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_stem.geometry import Spots
    from napari_stem.slide import Slide

    ReadBatch = Callable[[Spots], NDArray[np.uint8]]  # (n, side, side, 3)

SOURCE = Path(__file__).parents[1] / "tests/data/slides/CMU-1-Small-Region.svs"
TISSUE = (slice(919, 2967), slice(172, 2220))  # 2,048 px squared of it
REPEATS = 6
MPP_UM, SIDE_PX = 0.499, 224
N_PATCHES, BATCH, THREADS = 1000, 64, 2
FORMATS = {
    "svs-jpeg": {"compression": "jpeg", "compressionargs": {"level": 80}, "tile": (256, 256)},
    "svs-jpeg2000": {"compression": 33005, "compressionargs": {"level": 38}, "tile": (256, 256)},
}
VIEWS_UM = {"0.5 um/px": 112.0, "1 um/px": 224.0}  # fields of view


def write_slide(path: Path, kind: str) -> None:
    """Write an Aperio slide of 12,288 px squared with its pyramid."""
    import tifffile
    from PIL import Image

    tissue = np.tile(tifffile.imread(SOURCE, series=0)[TISSUE], (REPEATS, REPEATS, 1))
    side_px = len(tissue)
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for factor in (1, 4, 16):
            small = f"{side_px}x{side_px} -> {side_px // factor}x{side_px // factor} - "
            told = f"Aperio Image Library v11.2.1 \r\n{small if factor > 1 else ''}|MPP = {MPP_UM}"
            pixels = np.asarray(Image.fromarray(tissue).reduce(factor))
            tiff.write(pixels, photometric="rgb", description=told, metadata=None, **FORMATS[kind])
            if factor == 1:  # the second page of an SVS is its thumbnail
                tiff.write(pixels[::64, ::64], description=told, metadata=None, photometric="rgb")


def square_of_spots(fov_um: float) -> Spots:
    """Spots row by row, nine tenths of a field of view apart, or as the slide allows."""
    from napari_stem.geometry import Spots

    n_across = math.ceil(math.sqrt(N_PATCHES))
    fov_px = fov_um / MPP_UM
    room_px = REPEATS * 2048 - fov_px - 40
    pitch_px = min(0.9 * fov_px, room_px / (n_across - 1))
    row, column = np.divmod(np.arange(N_PATCHES), n_across)
    x_px, y_px = (20 + fov_px / 2 + each * pitch_px for each in (column, row))
    names = tuple(map(str, range(N_PATCHES)))
    return Spots(x_px, y_px, row, column, pitch_px * MPP_UM, fov_um, names)


def ours(slide: Slide, fov_um: float) -> ReadBatch:
    from napari_stem.geometry import PatchSpec
    from napari_stem.slide.patches import PatchReader

    reader = PatchReader(slide, PatchSpec((fov_um,), SIDE_PX), max_workers=THREADS)
    return lambda spots: reader.read(spots)[:, 0]


def by_region(slide: Slide, fov_um: float, theirs: Any) -> ReadBatch:
    """``read_region`` in threads."""
    from PIL import Image

    from napari_stem.slide.patches import View

    view = View.of(slide, fov_um, SIDE_PX)
    level = min(
        range(len(theirs.level_downsamples)),
        key=lambda i: abs(theirs.level_downsamples[i] - view.downsample_x),
    )
    factor = round(theirs.level_downsamples[level])
    pool = ThreadPoolExecutor(THREADS)

    def one(place: tuple[float, float]) -> NDArray[np.uint8]:
        (left, top, right, bottom), box = view.window(*place)
        scale = view.downsample_x / factor  # where the level that we read from is not in the file
        corner, extent = (left * factor, top * factor), (right - left, bottom - top)
        if scale != 1:
            corner = (round(left * view.downsample_x), round(top * view.downsample_y))
            extent = (math.ceil(extent[0] * scale), math.ceil(extent[1] * scale))
            box = tuple(edge * scale for edge in box)
        region = theirs.read_region(corner, level, extent)
        pixels = region.numpy() if hasattr(region, "numpy") else np.asarray(region)
        image = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
        return np.asarray(image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR, box=box))

    return lambda spots: np.stack(list(pool.map(one, zip(spots.x_px, spots.y_px, strict=True))))


def begin(reader: str, path: Path, fov_um: float) -> ReadBatch:
    """Open a slide with a reader; NotImplementedError tells asv that it is not installed."""
    from napari_stem.slide import open_slide

    slide = open_slide(path)
    if reader == "napari-stem":
        return ours(slide, fov_um)
    try:
        if reader == "openslide":
            from openslide import OpenSlide

            return by_region(slide, fov_um, OpenSlide(path))
        if reader == "tiffslide":
            from tiffslide import TiffSlide

            return by_region(slide, fov_um, TiffSlide(path))
        from fastslide import FastSlide

        return by_region(slide, fov_um, FastSlide.from_file_path(str(path)))
    except ImportError as error:
        raise NotImplementedError from error


class Patches:
    """Time for 1,000 patches."""

    params = (
        tuple(FORMATS),
        tuple(VIEWS_UM),
        ("napari-stem", "openslide", "tiffslide", "fastslide"),
    )
    param_names = ("format", "view", "reader")
    timeout = 900
    number, repeat, warmup_time = 1, 3, 0.0

    def setup_cache(self) -> str:
        folder = Path(tempfile.mkdtemp(dir=Path.cwd()))  # asv's own, removed by it
        for kind in FORMATS:
            write_slide(folder / f"{kind}.svs", kind)
        return str(folder)

    def setup(self, folder: str, kind: str, view: str, reader: str) -> None:
        path, fov_um = Path(folder) / f"{kind}.svs", VIEWS_UM[view]
        self.spots = square_of_spots(fov_um)
        self.read = begin(reader, path, fov_um)
        self.read(self.spots.take(slice(0, 1)))  # what libraries load at first use is not counted

    def time_read(self, folder: str, kind: str, view: str, reader: str) -> None:
        for start in range(0, N_PATCHES, BATCH):
            self.read(self.spots.take(slice(start, start + BATCH)))

    def peakmem_read(self, folder: str, kind: str, view: str, reader: str) -> None:
        self.time_read(folder, kind, view, reader)
