"""Make slides as large as scanners make them, 100,000 x 80,000 px, from pixels of the packaged section.

    python scripts/make_big_slide.py FOLDER [--width 100000] [--height 80000]

Writes ``big.tif`` and ``big.jp2.tif`` (tiled pyramidal BigTIFF, JPEG and JPEG 2000) and ``big.ome.zarr``
(OME-Zarr 0.4, JPEG chunks). All repeat one piece of the section: each of its tiles is encoded once and its
bytes written wherever it comes again, so that making 8 gigapixels takes a minute or two, and reading them is
real.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Encode = Callable[[NDArray[np.uint8]], bytes]  # of (height, width, 3)
    Tiles = Callable[[int, int], bytes]  # row, column -> an encoded tile

WIDTH_PX, HEIGHT_PX = 100_000, 80_000
PIECE_PX = 8192  # of the section, repeated
TILE_PX = 256  # of the TIFF, as scanners choose it
CHUNK_PX = 512  # of the OME-Zarr
FACTORS = (1, 4, 16, 64)  # as Aperio's
QUALITY, QUALITY_2000 = 80, 38  # of JPEG, and in dB of JPEG 2000
MPP_UM = 0.25


def section_piece() -> NDArray[np.uint8]:
    """Middle of the packaged section: (8192, 8192, 3) uint8."""
    from PIL import Image

    from napari_stem.sample_data import sample_path

    Image.MAX_IMAGE_PIXELS = None
    with Image.open(sample_path()) as image:
        left, top = (image.width - PIECE_PX) // 2, (image.height - PIECE_PX) // 2
        return np.asarray(image.crop((left, top, left + PIECE_PX, top + PIECE_PX)))


def jpeg(tile: NDArray[np.uint8]) -> bytes:
    """Encode a tile as JPEG, with colours of half the width."""
    import imagecodecs

    colours = {"colorspace": "RGB", "outcolorspace": "YCBCR", "subsampling": "422"}
    return bytes(imagecodecs.jpeg8_encode(tile, level=QUALITY, **colours))


def jpeg_2000(tile: NDArray[np.uint8]) -> bytes:
    """Encode a tile as a codestream of JPEG 2000, as Aperio's 33005 has it."""
    import imagecodecs

    return bytes(imagecodecs.jpeg2k_encode(tile, level=QUALITY_2000, codecformat="j2k"))


def level_tiles(
    piece: NDArray[np.uint8], factor: int, tile_px: int, encode: Encode = jpeg
) -> Tiles:
    """Encode the tiles of one level, each once."""
    from PIL import Image

    small = np.asarray(Image.fromarray(piece).reduce(factor)) if factor > 1 else piece
    times = -(-tile_px // small.shape[0])  # a small piece is repeated within a tile
    small = np.tile(small, (times, times, 1))
    n = small.shape[0] // tile_px
    encoded = {
        (row, column): encode(
            np.ascontiguousarray(
                small[
                    row * tile_px : (row + 1) * tile_px, column * tile_px : (column + 1) * tile_px
                ]
            )
        )
        for row, column in itertools.product(range(n), repeat=2)
    }
    return lambda row, column: encoded[row % n, column % n]


def level_shape(factor: int, width_px: int, height_px: int) -> tuple[int, int, int]:
    """Height, width and channels of a level."""
    return height_px // factor, width_px // factor, 3


def write_tiff(
    path: Path, piece: NDArray[np.uint8], width_px: int, height_px: int, encode: Encode = jpeg
) -> None:
    """Write the pyramidal TIFF, of JPEG or JPEG 2000."""
    import tifffile

    how: dict[str, Any] = {"photometric": "ycbcr", "subsampling": (2, 1), "compression": "jpeg"}
    if encode is jpeg_2000:
        how = {"photometric": "rgb", "compression": "aperio_jp2000_rgb"}

    def in_order(tiles: Tiles, shape: tuple[int, int, int]) -> Iterator[bytes]:
        for row in range(-(-shape[0] // TILE_PX)):
            for column in range(-(-shape[1] // TILE_PX)):
                yield tiles(row, column)

    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for factor in FACTORS:
            shape = level_shape(factor, width_px, height_px)
            per_cm = 1e4 / (MPP_UM * factor)
            writer.write(
                in_order(level_tiles(piece, factor, TILE_PX, encode), shape),
                shape=shape,
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                **how,
                subfiletype=int(factor > 1),
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                metadata=None,
            )


def write_ome_zarr(folder: Path, piece: NDArray[np.uint8], width_px: int, height_px: int) -> None:
    """Write OME-Zarr 0.4 over Zarr 2, whose chunks may be JPEG; channels last, as JPEG has them."""
    folder.mkdir()
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "yx"]
    axes.append({"name": "c", "type": "channel"})
    datasets = []
    for number, factor in enumerate(FACTORS):
        shape = level_shape(factor, width_px, height_px)
        _write_array(folder / str(number), level_tiles(piece, factor, CHUNK_PX), shape)
        scale = {"type": "scale", "scale": [MPP_UM * factor, MPP_UM * factor, 1.0]}
        datasets.append({"path": str(number), "coordinateTransformations": [scale]})
    multiscale = {"version": "0.4", "axes": axes, "datasets": datasets}
    (folder / ".zgroup").write_text(json.dumps({"zarr_format": 2}))
    (folder / ".zattrs").write_text(json.dumps({"multiscales": [multiscale]}))


def _write_array(folder: Path, tiles: Tiles, shape: tuple[int, int, int]) -> None:
    folder.mkdir()
    about = {
        "zarr_format": 2,
        "shape": shape,
        "chunks": [CHUNK_PX, CHUNK_PX, 3],
        "dtype": "|u1",
        "compressor": {"id": "imagecodecs_jpeg"},
        "fill_value": 255,
        "filters": None,
        "order": "C",
        "dimension_separator": "/",
    }
    (folder / ".zarray").write_text(json.dumps(about))
    for row in range(-(-shape[0] // CHUNK_PX)):
        for column in range(-(-shape[1] // CHUNK_PX)):
            place = folder / str(row) / str(column)
            place.mkdir(parents=True, exist_ok=True)
            (place / "0").write_bytes(tiles(row, column))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--width", type=int, default=WIDTH_PX)
    parser.add_argument("--height", type=int, default=HEIGHT_PX)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    piece = section_piece()
    kinds = {
        "big.tif": write_tiff,
        "big.jp2.tif": partial(write_tiff, encode=jpeg_2000),
        "big.ome.zarr": write_ome_zarr,
    }
    for name, write in kinds.items():
        start = time.monotonic()
        write(options.folder / name, piece, options.width, options.height)
        print(f"{options.folder / name}: {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
