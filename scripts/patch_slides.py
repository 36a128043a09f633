"""The slides that patches are read from by ``patch_readers.py``, and where on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_stem.geometry import Spots

SOURCE = Path(__file__).parents[1] / "tests/data/slides/CMU-1-Small-Region.svs"
TISSUE = (slice(919, 2967), slice(172, 2220))  # 2,048 px squared of it
SLIDE_PX = 40_960  # so that 10,000 patches of the widest view lie side by side
MPP_UM = 0.499
SIDE_PX = 224
FORMATS = ("svs-jpeg", "svs-jpeg2000", "ome-tiff")
VIEWS_UM = {  # fields of view: what is asked of the resampling
    "stored": SIDE_PX * MPP_UM,  # the slide's own pixels
    "112um": 112.0,  # 0.5 um per px, nearly the slide's own
    "224um": 224.0,  # 1 um per px, from twice as many pixels
    "224um-close": 224.0,  # the same, of spots so near to each other that a pixel lies in five patches
}
PITCH = {"224um-close": 0.45}  # of the view
USUAL_PITCH = 0.9


@dataclass(frozen=True)
class Task:
    """Which patches of which slide."""

    path: Path
    view: str
    n_patches: int
    threads: int


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


def square_of_spots(n: int, view: str) -> Spots:
    """Spots row by row, as far apart as the view says or the slide allows."""
    from napari_stem.geometry import Spots

    fov_px = VIEWS_UM[view] / MPP_UM
    n_across = math.ceil(math.sqrt(n))
    at_most_px = int((SLIDE_PX - fov_px - 40) / max(n_across - 1, 1))
    pitch_px = min(round(PITCH.get(view, USUAL_PITCH) * fov_px), at_most_px)
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


def overlap(n: int, view: str) -> float:
    """In how many patches a pixel lies, on average over those that any patch shows."""
    fov_px, at_px = VIEWS_UM[view] / MPP_UM, np.unique(square_of_spots(n, view).x_px)
    shown_px = fov_px + np.minimum(np.diff(at_px), fov_px).sum()
    return float((len(at_px) * fov_px / shown_px) ** 2)
