"""Tiles and strips of a TIFF, read and decoded one by one, and the way from their samples to RGB on white.

Apart from tifffile's own array access, so that what a damaged file says is checked before memory is
taken for it, and tiles that are not stored are white as glass, not black.

Specifications: TIFF 6.0, sections 18 (alpha), 21 (YCbCr) and 23 (CIE L*a*b*); Adobe's TIFF notes 2002
(ICC L*a*b*); https://openslide.org/formats/aperio/ (compressions 33003 and 33005).
"""

from __future__ import annotations

import math
import os
import re
import struct
from functools import cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.slide.level import Level, from_tiles, over_white
from napari_stem.slide.stored import UnsuitedError

if TYPE_CHECKING:
    import tifffile
    from numpy.typing import NDArray

    from napari_stem.slide.level import Colour, Convert

MAX_SEGMENT_BYTES = 2**31
JPEG = frozenset({6, 7, 34892, 33007})  # compressions of TIFF
JPEG_2000 = frozenset({33003, 33004, 33005, 34712})
APERIO = {33003: "ycbcr", 33004: "rgb", 33005: "rgb"}  # Bio-Formats writes RGB in all of these
# What gives back samples as they were handed in: none, LZW, Deflate (two), PackBits, LZMA, Zstandard.
PLAIN = frozenset({1, 5, 8, 32946, 32773, 34925, 50000})
YCBCR_COEFFICIENTS, REFERENCE_BLACK_WHITE = 529, 532  # tags
PREMULTIPLIED = 1  # of ExtraSamples
ALPHA = frozenset({PREMULTIPLIED, 2})
WHITE_OF = {
    "minisblack": (255,),
    "miniswhite": (0,),
    "rgb": (255, 255, 255),
    "ycbcr": (255, 128, 128),
    "cielab": (255, 0, 0),
    "icclab": (255, 128, 128),
}
BAND_PX = 256
CONVERTED = frozenset({"ycbcr", "cielab", "icclab"})


def space_of(key: Any) -> str:
    """Name the colour space of a page's samples once they are decoded, as tifffile does."""
    name = getattr(key.photometric, "name", str(key.photometric)).lower()
    if key.is_svs and key.compression in APERIO:  # of JPEG 2000, whatever its other tag says
        return APERIO[key.compression]
    # decoders of JPEG do the conversion, but where there is alpha
    is_done = key.compression in JPEG and key.planarconfig == 1 and not key.extrasamples
    return "rgb" if is_done and name == "ycbcr" else name


def has_alpha(key: Any) -> bool:
    """Whether a page says that it has alpha, of either kind."""
    return not ALPHA.isdisjoint(key.extrasamples)


def unreadable(key: Any) -> str:
    """Say why a page's colours cannot be told, as what completes "it stores"; empty if they can."""
    space, how = space_of(key), getattr(key.compression, "name", key.compression)
    if space not in WHITE_OF:
        return f"{space} colours"
    if space in CONVERTED and key.compression not in PLAIN | JPEG_2000:
        return f"{space} colours in {how}"
    return ""


def colours_of(key: Any, n_samples: int) -> tuple[tuple[int, ...], Convert | None]:
    """Say how so many samples, in all planes and pages of a level together, become RGB: colours, then alpha.

    ``key`` is the first page of the level. Returns the samples of what is not stored, which is glass, and what
    turns (height, width, samples) to (height, width, 3) on white; None where they are that.
    """
    space = space_of(key)
    white = WHITE_OF[space]
    if n_samples >= 3 and len(white) == 1:  # a page for each colour
        white = white * 3
    n_colours, is_premultiplied = len(white), PREMULTIPLIED in tuple(key.extrasamples)
    if space == "rgb" and n_samples == n_colours:
        return white, None
    ways: dict[str, Convert] = {
        "minisblack": _grey,
        "miniswhite": lambda samples: _grey(255 - samples),
        "rgb": lambda samples: samples,
        "cielab": _lab,
        "icclab": lambda samples: _lab(samples ^ np.array([0, 128, 128], np.uint8)),
    }
    convert = partial(_affine, *_ycbcr(key)) if space == "ycbcr" else ways[space]

    def to_rgb(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
        rgb = np.empty((*samples.shape[:2], 3), np.uint8)
        for top in range(0, len(rgb), BAND_PX):  # what is between takes eight times as much
            band = samples[top : top + BAND_PX]
            part, alpha = convert(band[..., :n_colours]), band[..., n_colours:]
            if alpha.size:
                part = over_white(part, alpha, is_premultiplied=is_premultiplied)
            rgb[top : top + BAND_PX] = part
        return rgb

    return (*white, 255)[:n_samples], to_rgb


def _grey(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(samples, 3, axis=2) if samples.shape[2] == 1 else samples


def _affine(
    factors: NDArray[np.float32], offset: NDArray[np.float32], samples: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    rgb = samples.astype(np.float32) @ factors + offset
    return np.asarray(np.clip(np.rint(rgb), 0, 255), dtype=np.uint8)


def _lab(lab: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn CIE L*a*b* (L* of 100 as 255, a* and b* as signed bytes) to sRGB, white to white."""
    from PIL import Image

    size = (lab.shape[1], lab.shape[0])
    image = Image.frombytes("LAB", size, np.ascontiguousarray(lab).tobytes())
    return np.asarray(_lab_transform().apply(image), dtype=np.uint8)


@cache
def _lab_transform() -> Any:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB")


def _ycbcr(key: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Factors (3, 3) and offset (3,) from Y, Cb, Cr to R, G, B; ValueError where the tags give no such."""
    told = [None, None]
    if key.compression in PLAIN:
        told = [key.tags.valueof(tag) for tag in (YCBCR_COEFFICIENTS, REFERENCE_BLACK_WHITE)]
    red, green, blue = _ratios(told[0], [0.299, 0.587, 0.114])
    black, white = _ratios(told[1], [0, 255, 128, 255, 128, 255]).reshape(3, 2).T
    if not (red > 0 and green > 0 and blue > 0 and (white > black).all()):
        raise ValueError("its tags on YCbCr make no sense")
    to_rgb = np.array(
        [
            [1, 1, 1],
            [0, -2 * blue * (1 - blue) / green, 2 - 2 * blue],
            [2 - 2 * red, -2 * red * (1 - red) / green, 0],
        ]
    )
    factors = (np.array([255, 127, 127]) / (white - black))[:, np.newaxis] * to_rgb
    return factors.astype(np.float32), (-black @ factors).astype(np.float32)


def _ratios(value: Any, default: list[float]) -> NDArray[np.float64]:
    """Read a tag of as many rationals as the default has numbers, stored as pairs of integers."""
    if value is None:
        return np.array(default, dtype=np.float64)
    numbers = np.array(value, dtype=np.float64)
    if numbers.size != 2 * len(default) or not numbers[1::2].all():
        raise ValueError("its tags on YCbCr make no sense")
    return numbers[::2] / numbers[1::2]


def level_of(name: str, tiff: tifffile.TiffFile, pages: list[Any], colour: Colour) -> Level:
    """Offer a level of a TIFF as RGB.

    ``name`` and ``colour`` become the level's. ``pages`` are one, or one per channel (three or
    four), all with the same tags. ValueError: tags do not fit together, or a page is missing.
    """
    if any(page is None for page in pages):
        raise ValueError("a channel is missing")
    key = pages[0].keyframe
    samples, height_px, width_px = map(int, (key.samplesperpixel, key.imagelength, key.imagewidth))
    if key.is_tiled:
        segment = SizePx(int(key.tilelength), int(key.tilewidth))
    else:
        segment = SizePx(min(int(key.rowsperstrip), height_px), width_px)
    if min(segment.height_px, segment.width_px, height_px, width_px) < 1:
        raise ValueError("it has a level or tiles without any pixel")
    if key.is_tiled and segment.height_px * segment.width_px * samples > MAX_SEGMENT_BYTES:
        raise ValueError(f"its tiles are said to be {segment.width_px} x {segment.height_px} px")
    n_rows = math.ceil(height_px / segment.height_px)
    n_columns = math.ceil(width_px / segment.width_px)
    # planes of one colour each may be stored one after the other
    n_planes = samples if key.planarconfig == 2 else 1
    n_due = n_rows * n_columns * n_planes
    for page in pages:
        n_stored = min(len(page.dataoffsets), len(page.databytecounts))
        if n_stored < n_due:
            raise ValueError(f"it lists {n_stored} tiles or strips where {n_due} belong")
    planes = [(page, plane) for page in pages for plane in range(n_planes)]
    n_own = samples // n_planes
    white, to_rgb = colours_of(key, samples * len(pages))

    def tile(number: int, row: int, column: int) -> NDArray[np.uint8] | None:
        page, plane = planes[number]
        return _segment(tiff, page, (plane * n_rows + row) * n_columns + column)

    def read(rows: slice, columns: slice) -> NDArray[np.uint8]:
        parts = [
            from_tiles(rows, columns, segment, partial(tile, number), white[number:][:n_own])
            for number in range(len(planes))
        ]
        both = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        return both if to_rgb is None else to_rgb(both)

    return Level(read, SizePx(height_px, width_px), segment, name, colour)


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

    UnsuitedError: OpenSlide may be able to. SlideError: no reader is.
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
    """Refuse, by a ValueError, a JPEG or JPEG 2000 picture far larger than the tiles of its TIFF page."""
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
