"""Damage done to slide files, the same for the same seed; shared by tests and scripts/fuzz.py."""

from __future__ import annotations

import random
import struct

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.slide import open_slide

TEMPTING = (0, 1, 0x7F, 0xFF, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)


def header_spans(data: bytes) -> list[tuple[int, int]]:
    """Places of the directories of a little-endian classic TIFF (each entry is 12 bytes)."""
    if data[:4] != b"II*\0":
        return [(0, min(4000, len(data)))]  # of other formats, the beginning
    spans = [(0, 8)]
    (at,) = struct.unpack_from("<I", data, 4)
    while 0 < at < len(data) - 2 and len(spans) < 20:
        (n_entries,) = struct.unpack_from("<H", data, at)
        end = at + 2 + 12 * n_entries
        spans.append((at, end + 4))
        (at,) = struct.unpack_from("<I", data, end)
    return spans


def damaged(data: bytes, kind: str, seed: int) -> bytes:
    """Change some bytes: of the ``header``, of a ``tile``, of ``any`` place, or ``cut`` the end."""
    rng = random.Random(seed)  # noqa: S311  (the same damage for the same seed)
    if kind == "cut":
        return data[: rng.randrange(1, len(data))]
    out = bytearray(data)
    spans = header_spans(data) if kind == "header" else [(0, len(data))]
    for _ in range(rng.randint(1, 6)):
        low, high = rng.choice(spans)
        at = rng.randrange(low, max(low + 1, high - 4))
        if kind == "tile":
            at = min(len(data) - 5, rng.choice((0, 600_000, 1_200_000)) + rng.randrange(600_000))
        way = rng.randrange(4)
        if way == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif way == 1:
            out[at] = rng.randrange(256)
        elif way == 2:
            out[at : at + 4] = struct.pack("<I", rng.choice(TEMPTING))
        else:
            n = rng.randint(1, 64)
            out[at : at + n] = rng.randbytes(len(out[at : at + n]))
    return bytes(out)


def opened_and_read(path, reader=None) -> str | None:
    """Open a slide and read places in every level; None, or what a SlideError said."""
    try:
        slide = open_slide(path, reader=reader)
    except SlideError as error:
        return str(error)
    try:
        for number, level in enumerate(slide.levels):
            for share in (0.0, 0.3, 0.7):
                y_px, x_px = (int(n * share) for n in (level.size.height_px, level.size.width_px))
                slide.read_region(x_px, y_px, number, SizePx(300, 300))
        for image in slide.associated.values():
            image.whole()
    except SlideError as error:
        return str(error)
    finally:
        slide.close()
    return None
