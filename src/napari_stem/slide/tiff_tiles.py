"""Tiles and strips of a TIFF, read and decoded one by one, several at a time.

Apart from tifffile's own array access, so that what a damaged file says is checked before memory is
taken for it, and tiles that are not stored are white as glass, not black.
"""

from __future__ import annotations

import math
import os
import re
import struct
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.slide.level_pixels import paste, tiles_under
from napari_stem.slide.source import UnsuitedError
from napari_stem.slide.tiff_colour import JPEG, JPEG_2000, Colours

if TYPE_CHECKING:
    import tifffile
    from numpy.typing import NDArray

DECODERS = 4
MAX_SEGMENT_BYTES = 2**31


@cache
def _decoders() -> ThreadPoolExecutor:
    n_threads = min(DECODERS, os.cpu_count() or 1)
    return ThreadPoolExecutor(n_threads, thread_name_prefix="tiff-tiles")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_decoders.cache_clear)  # threads do not survive a fork


class LevelReader:
    """Reads windows of one level as RGB.

    Parameters
    ----------
    tiff
        The open file.
    pages
        Of the level: one, or one per channel (three or four), all with the same tags.

    Attributes
    ----------
    segment
        Extent of the level's tiles or strips.

    Raises
    ------
    ValueError
        Tags do not fit together, or a page is missing.
    """

    def __init__(self, tiff: tifffile.TiffFile, pages: list[Any]) -> None:
        if any(page is None for page in pages):
            raise ValueError("a channel is missing")
        key = pages[0].keyframe
        samples, height_px, width_px = map(
            int, (key.samplesperpixel, key.imagelength, key.imagewidth)
        )
        if key.is_tiled:
            segment = SizePx(int(key.tilelength), int(key.tilewidth))
        else:
            segment = SizePx(min(int(key.rowsperstrip), height_px), width_px)
        if min(segment.height_px, segment.width_px, height_px, width_px) < 1:
            raise ValueError("it has a level or tiles without any pixel")
        if key.is_tiled and segment.height_px * segment.width_px * samples > MAX_SEGMENT_BYTES:
            raise ValueError(
                f"its tiles are said to be {segment.width_px} x {segment.height_px} px"
            )
        self._n_rows = math.ceil(height_px / segment.height_px)
        self._n_columns = math.ceil(width_px / segment.width_px)
        # planes of one colour each may be stored one after the other
        n_planes = samples if key.planarconfig == 2 else 1
        n_due = self._n_rows * self._n_columns * n_planes
        for page in pages:
            n_stored = min(len(page.dataoffsets), len(page.databytecounts))
            if n_stored < n_due:
                raise ValueError(f"it lists {n_stored} tiles or strips where {n_due} belong")
        self._tiff, self.segment = tiff, segment
        self._n_samples = samples // n_planes
        self._planes = [(page, plane) for page in pages for plane in range(n_planes)]
        self._colours = Colours(key, samples * len(pages))

    def window(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Read a window that lies on the level: (height, width, 3) uint8."""
        parts = [self._plane(number, rows, columns) for number in range(len(self._planes))]
        return self._colours.rgb(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2))

    def _plane(self, number: int, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Read a window of one plane: (height, width, samples) uint8."""
        page, plane = self._planes[number]
        shape = (rows.stop - rows.start, columns.stop - columns.start, self._n_samples)
        white = self._colours.white[number : number + self._n_samples]
        window = np.full(shape, white, dtype=np.uint8)

        def fill(place: tuple[int, int]) -> None:
            row, column = place
            index = (plane * self._n_rows + row) * self._n_columns + column
            pixels = _segment(self._tiff, page, index)
            if pixels is not None:
                corner = (row * self.segment.height_px, column * self.segment.width_px)
                paste(window, rows, columns, pixels, corner)

        places = tiles_under(rows, columns, self.segment)
        if len(places) <= 2:
            for place in places:
                fill(place)
        else:
            # taking the results raises what a thread raised
            for _ in _decoders().map(fill, places):
                pass
        return window


def _segment(tiff: tifffile.TiffFile, page: Any, index: int) -> NDArray[np.uint8] | None:
    """Decode one tile or strip: (height, width, samples) uint8, or None where none is stored."""
    key = page.keyframe
    offset, n_bytes = int(page.dataoffsets[index]), int(page.databytecounts[index])
    if offset == 0 or n_bytes == 0:
        return None
    data = _bytes_at(tiff, offset, n_bytes)
    tables = {}
    if key.compression in JPEG:
        tables = {"jpegtables": page.jpegtables, "jpegheader": key.jpegheader}
    if not tables.get("jpegheader"):
        refuse_oversized(data, key)
    if key.compression in JPEG_2000:  # without tifffile, which takes tags of JPEG at their word
        import imagecodecs

        pixels = np.asarray(imagecodecs.jpeg2k_decode(data))
        pixels = pixels.reshape(*pixels.shape[:2], -1)
    else:
        decoded, _, _ = key.decode(data, index, **tables)
        if decoded is None:
            return None
        pixels = np.asarray(decoded[0])
    if pixels.dtype != np.uint8:
        raise ValueError(f"a tile holds {pixels.dtype} pixels")
    return pixels


def _bytes_at(tiff: tifffile.TiffFile, offset: int, n_bytes: int) -> bytes:
    handle = tiff.filehandle
    if handle.closed:
        raise ValueError("the file is closed")
    if hasattr(os, "pread"):
        data = os.pread(handle.fileno(), n_bytes, offset)
    else:
        with handle.lock:
            handle.seek(offset)
            data = handle.read(n_bytes)
    if len(data) < n_bytes:
        raise EOFError("the file ends before")
    return bytes(data)


HEAD_BYTES, N_HEADS = 2048, 8  # looked at to see what tiles are
ROOM = 4  # a stored picture may be so many times larger than its tile (padding, odd writers)
# All of SOF0 to SOF15 but DHT (C4), JPG (C8), DAC (CC): height and width; or the scan data (DA), behind
# which there is no frame header. Looked for at every FF, as decoders resynchronise there.
_FRAME = re.compile(
    rb"\xff(?=[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf].{3}(.{4}).|(\xda).{7})", re.DOTALL
)


def refuse_undecodable(name: str, tiff: tifffile.TiffFile, page: Any) -> None:
    """Refuse a page whose tiles cannot be decoded, judged by its tags and the first bytes of some.

    Raises
    ------
    UnsuitedError
        OpenSlide may be able to.
    SlideError
        No reader is.
    """
    key = page.keyframe
    how = f"{int(key.compression)}, {getattr(key.compression, 'name', 'unknown')}"
    told = f"{name} is compressed in a way that cannot be read ({how}{{}}); export it with JPEG."
    heads = _heads(tiff, page)
    if key.compression in JPEG_2000:
        pictures = [head for head in heads if jpeg_2000_size(head) is not None]
        if heads and not pictures:
            raise SlideError(told.format(" without JPEG 2000 in it"))
        if any(map(_is_subsampled, pictures)):
            raise UnsuitedError(told.format(" with colours of half the size"))
        return
    try:
        key.decode(None, 0)  # decodes nothing, but tells what tifffile cannot decode
    except NotImplementedError as error:  # halved colours
        raise UnsuitedError(told.format(f": {error}")) from error
    except ValueError as error:
        raise SlideError(told.format(f": {error}")) from error
    is_jpeg = key.compression in JPEG and not key.jpegheader
    if is_jpeg and heads and not any(head.startswith(b"\xff\xd8") for head in heads):
        raise SlideError(told.format(" without JPEG in it"))


def _heads(tiff: tifffile.TiffFile, page: Any) -> list[bytes]:
    """Read the beginnings of the first tiles or strips that are stored; some may be damaged."""
    stored = filter(all, zip(page.dataoffsets, page.databytecounts, strict=False))
    return [
        _bytes_at(tiff, int(offset), min(int(n_bytes), HEAD_BYTES))
        for offset, n_bytes in islice(stored, N_HEADS)
    ]


def _is_subsampled(codestream: bytes) -> bool:
    """Whether components of a JPEG 2000 codestream differ in size (SIZ segment: XRsiz, YRsiz)."""
    at = codestream.find(b"\xff\x4f\xff\x51") + 40
    (n_components,) = struct.unpack_from(">H", codestream, at)
    steps = codestream[at + 2 : at + 2 + 3 * n_components]
    return any(step != 1 for step in steps[1::3] + steps[2::3])


def refuse_oversized(data: bytes, key: Any) -> None:
    """Refuse a JPEG or JPEG 2000 picture far larger than the tiles of its TIFF page.

    Raises
    ------
    ValueError
        It is.
    """
    if key.compression in JPEG:
        stated = jpeg_size(data)
    elif key.compression in JPEG_2000:
        stated = jpeg_2000_size(data)
    else:
        return
    height_px, width_px = key.chunks[:2] if key.planarconfig == 1 else key.chunks[-2:]
    if stated is not None and stated[0] * stated[1] > ROOM * max(height_px * width_px, 2**16):
        raise ValueError(f"a tile says that it is {stated[1]} x {stated[0]} px")


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Height and width in a JPEG's largest frame header (ITU T.81, B.2.2), None where it has none."""
    found = None
    for header in _FRAME.finditer(data):
        stated, is_scan = header.groups()
        if is_scan:
            break
        size = struct.unpack(">HH", stated)
        found = size if found is None else max(found, size, key=lambda s: s[0] * s[1])
    return found


def jpeg_2000_size(data: bytes) -> tuple[int, int] | None:
    """Height and width in a JPEG 2000 codestream's SIZ segment (ITU T.800, A.5.1), None without."""
    place = data.find(b"\xff\x4f\xff\x51")
    if place < 0 or place + 24 > len(data):
        return None
    right, bottom, left, top = struct.unpack_from(">IIII", data, place + 8)
    return max(bottom - top, 0), max(right - left, 0)
