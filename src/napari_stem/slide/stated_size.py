"""How large a compressed tile says that it is, read before memory is taken for it."""

from __future__ import annotations

import re
import struct
from typing import Any

JPEG = frozenset({6, 7, 34892, 33007})  # compressions of TIFF
JPEG_2000 = frozenset({33003, 33004, 33005, 34712})
ROOM = 4  # a stored picture may be so many times larger than its tile (padding, odd writers)
# All of SOF0 to SOF15 but DHT (C4), JPG (C8), DAC (CC): height and width; or the scan data (DA), behind
# which there is no frame header. Looked for at every FF, as decoders resynchronise there.
_FRAME = re.compile(
    rb"\xff(?=[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf].{3}(.{4}).|(\xda).{7})", re.DOTALL
)


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
        msg = f"a tile says that it is {stated[1]} x {stated[0]} px"
        raise ValueError(msg)


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
