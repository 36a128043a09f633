"""Zeiss CZI through pylibCZIrw, the maker's own library (the extra ``czi``).

Reference: https://zeiss.github.io/pylibczirw/ ; pixel size under ``Scaling`` in the CZI metadata.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.slide.level import AS_STORED, READ_ERRORS, Level, coarser_sizes
from napari_stem.slide.pixel_size import source_of
from napari_stem.slide.stored import (
    MissingLibrary,
    OpenFile,
    StoredSlide,
    fingerprint,
    refusing_damage,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_stem.slide.level import ReadWindow
    from napari_stem.slide.location import Location
    from napari_stem.slide.pixel_size import MppSource

MAGIC = b"ZISRAWFILE"
MISSING = MissingLibrary(
    "a Zeiss CZI for pylibCZIrw, which is not installed (pip install 'napari-stem[czi]')"
)
TILE_PX = 1024


def why_not(location: Location) -> str | None:
    """Tell why this reader cannot open the file, judged by its first bytes; None if it can try."""
    if location.head(10) != MAGIC:
        return "not a CZI by its content"
    try:
        import pylibCZIrw  # noqa: F401
    except ImportError:
        return MISSING
    return None


def read_header(location: Location) -> StoredSlide:
    """Open for reading; coarser levels come from the file's own pyramid.

    SlideError: damaged, or not 8-bit RGB.
    """
    from pylibCZIrw import czi

    path = location.path
    with refusing_damage(f"{path.name} is a damaged or incomplete CZI"):
        return _stored_slide(path, czi.CziReader(str(path)))


def _stored_slide(path: Path, document: Any) -> StoredSlide:
    kinds = set(document.pixel_types.values())
    if kinds != {"Bgr24"}:
        raise SlideError(
            f"{path.name} stores {', '.join(sorted(kinds)) or 'no'} pixels, but H&E slides are read "
            f"as 8-bit RGB (Bgr24); export it as that."
        )
    box = document.total_bounding_rectangle
    size = SizePx(int(box.h), int(box.w))
    # libCZI gives any zoom, from the stored pyramid where there is one
    sizes = (size, *coarser_sizes(size))
    file, lock, origin = OpenFile(document), threading.Lock(), (int(box.x), int(box.y))
    chunk = SizePx(TILE_PX, TILE_PX)
    levels = tuple(
        Level(_reader(file, lock, origin, 2**number), each, chunk, path.name)
        for number, each in enumerate(sizes)
    )
    return StoredSlide(
        path,
        levels,
        fingerprint(path),
        "zeiss",
        {
            "format": "czi",
            "native_levels": len(sizes),
            "colour": AS_STORED,
            "scenes": len(document.scenes_bounding_rectangle) or 1,
        },
        _scaling(document.metadata),
        on_close=file.close,
    )


def _reader(
    file: OpenFile, lock: threading.Lock, origin: tuple[int, int], factor: int
) -> ReadWindow:
    """Make the function that reads windows of a level, ``factor`` level-0 pixels per pixel.

    ``lock`` is held while libCZI is asked, by one thread at a time; ``origin`` is x and y of the
    mosaic's corner in the file's own pixels.
    """

    def read(rows: slice, columns: slice) -> NDArray[np.uint8]:
        height_px, width_px = rows.stop - rows.start, columns.stop - columns.start
        roi = (
            origin[0] + columns.start * factor,
            origin[1] + rows.start * factor,
            width_px * factor,
            height_px * factor,
        )
        document = file.get()
        with lock:
            pixels = document.read(
                roi=roi, zoom=1 / factor, pixel_type="Bgr24", background_pixel=(1.0, 1.0, 1.0)
            )
        if pixels.shape[:2] != (height_px, width_px):
            raise ValueError(
                f"it gave {pixels.shape} where {height_px} x {width_px} px were asked for"
            )
        return np.ascontiguousarray(pixels[..., ::-1])

    return read


def _scaling(metadata: Any) -> tuple[MppSource, ...]:
    """Read ``Scaling/Items/Distance``: metres per pixel."""
    try:
        items = metadata["ImageDocument"]["Metadata"]["Scaling"]["Items"]["Distance"]
        items = items if isinstance(items, list) else [items]
        metres = {item["@Id"]: item["Value"] for item in items}
        return source_of("CZI scaling", metres["Y"], metres["X"], 1e6)
    except READ_ERRORS:
        return ()
