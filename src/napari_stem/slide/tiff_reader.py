"""TIFF-based slides through tifffile: SVS, NDPI, SCN, BIF, QPTIFF, Philips, OME-TIFF and plain.

Specifications: TIFF 6.0; what scanners add to it is in ``tiff_metadata``. Levels that the file lacks,
and files stored in strips, go through ``pyramid``.
"""

from __future__ import annotations

import logging
import struct
import weakref
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.slide.level import Colour, Level, colour_of, level_of_array
from napari_stem.slide.pyramid import WIDE_PX
from napari_stem.slide.recognising import TIFF_MAGIC
from napari_stem.slide.stored import (
    StoredSlide,
    UnsuitedError,
    fingerprint,
    refusing_damage,
)
from napari_stem.slide.tiff_metadata import (
    ICC_TAG,
    associated_series,
    fluorescence_channels,
    in_pieces,
    mpp_sources,
    objective_power,
    philips_images,
    vendor_of,
)
from napari_stem.slide.tiff_tiles import (
    CONVERTED,
    has_alpha,
    level_of,
    refuse_undecodable,
    space_of,
    unreadable,
)

if TYPE_CHECKING:
    from pathlib import Path

    import tifffile

    from napari_stem.progress import Progress
    from napari_stem.slide.location import Location

WHOLE_LIMIT_BYTES = 4 * 2**30


def why_not(location: Location) -> str | None:
    """Tell why this reader cannot open the file, judged by its first bytes; None if it can try."""
    if location.head(4) in TIFF_MAGIC:
        return None
    return "a folder, not a TIFF" if location.is_folder else "not a TIFF by its content"


def read_header(location: Location) -> StoredSlide:
    """Open for reading; the file stays open until ``close``. Decodes nothing.

    SlideError: damaged, cut short, or not 8-bit RGB or grey. UnsuitedError: its tiles must be stitched, or are
    compressed in a way that is not known here.
    """
    import tifffile

    path = location.path
    what = f"{path.name} is a damaged or incomplete TIFF"
    with refusing_damage(what, tifffile.TiffFileError), ExitStack() as on_failure:
        tiff = _open(path)
        on_failure.callback(tiff.close)
        stored = _stored_slide(path, tiff, _baseline(path, tiff))
        on_failure.pop_all()
        return stored


def _open(path: Path) -> tifffile.TiffFile:
    import tifffile

    # tifffile logs what it mends by itself; users are told only of what it cannot mend
    if (log := logging.getLogger("tifffile")).level == logging.NOTSET:
        log.setLevel(logging.CRITICAL)
    tiff = tifffile.TiffFile(path)
    tiff.filehandle.set_lock(True)  # several threads read
    # A viewer may hold the levels longer than the slide: the file closes with its last user.
    weakref.finalize(tiff, tiff.filehandle.close)
    return tiff


def _baseline(path: Path, tiff: tifffile.TiffFile) -> Any:
    """Find the largest image of the file, and check that it is 8-bit RGB or grey."""
    candidates = [s for s in tiff.series if {"Y", "X"} <= set(s.axes)]
    if not candidates:
        raise ValueError("no image in it")
    if any(p is not None and p.parent is not tiff for each in tiff.series for p in each.pages):
        raise SlideError(
            f"{path.name} is one of several files that hold its images (OME-TIFF); export the slide "
            f"as one file."
        )
    if any(0 in each.shape for each in tiff.series):  # else the label might pass for the slide
        raise ValueError("an image without any pixel in it")
    series = max(candidates, key=lambda s: _size(s).height_px * _size(s).width_px)
    if (n := fluorescence_channels(tiff, series)) > 0:
        raise SlideError(
            f"{path.name} is a fluorescence scan ({n} channels), not a brightfield image of an "
            f"H&E stain; open the brightfield scan of the section, if there is one."
        )
    if told := in_pieces(tiff, series):
        raise UnsuitedError(
            f"{path.name} has {told}; install OpenSlide, which can: pip install "
            f"'napari-stem[openslide]'."
        )
    _refuse_unsuitable(path, series)
    _refuse_truncated(path, tiff)
    for page in (p for level in series.levels for p in level.pages if p is not None):
        refuse_undecodable(path.name, tiff, page)
    return series


def _size(level: Any) -> SizePx:
    axes, shape = level.axes, level.shape
    return SizePx(int(shape[axes.index("Y")]), int(shape[axes.index("X")]))


def _refuse_unsuitable(path: Path, series: Any) -> None:
    bits = series.keyframe.bitspersample
    if series.dtype != np.uint8 or bits != 8:
        told = series.dtype if series.dtype != np.uint8 else f"{bits}-bit"
        raise SlideError(
            f"{path.name} stores {told} pixels, but H&E slides are read as 8-bit RGB; "
            f"export it as 8-bit RGB."
        )
    extra = {a: n for a, n in zip(series.axes, series.shape, strict=True) if a not in "YX"}
    for level in series.levels:
        if told := unreadable(level.keyframe):
            raise SlideError(f"{path.name} stores {told}; export it as 8-bit RGB.")
    if (
        len(extra) > 1
        or not set(extra) <= {"S", "C"}
        or any(n not in (3, 4) for n in extra.values() if n != 2 or not has_alpha(series.keyframe))
    ):
        raise SlideError(
            f"{path.name} is not one RGB image (its axes are {series.axes}, {series.shape}); "
            f"export the brightfield plane as 8-bit RGB."
        )


def _refuse_truncated(path: Path, tiff: tifffile.TiffFile) -> None:
    """Refuse a file cut short: it still opens, but its missing tiles would read as glass.

    The label and macro images count too: they lie behind the slide, and where they are cut nobody
    knows what else was.
    """
    n_bytes = path.stat().st_size
    layout, reach = tiff.tiff, 0
    if not layout.is_ndpi:  # whose directories end otherwise
        # where the directory after the last readable one should lie; 0 where that was the last
        tiff.filehandle.seek(tiff.pages.next_page_offset)
        told = tiff.filehandle.read(layout.offsetsize)
        (reach,) = struct.unpack(layout.offsetformat, told)
    levels = (level for series in tiff.series for level in series.levels)
    for page in (p for level in levels for p in level.pages if p is not None):
        ends = np.add(page.dataoffsets, page.databytecounts)
        reach = max(reach, int(ends.max()) if ends.size else 0)
    if reach > n_bytes:
        raise SlideError(
            f"{path.name} is cut short: {n_bytes} bytes where its images reach to {reach}; copy it "
            f"again."
        )


def _stored_slide(path: Path, tiff: tifffile.TiffFile, series: Any) -> StoredSlide:
    copies = _stored_in_strips(series)
    levels = series.levels[:1] if copies else series.levels
    profile = series.keyframe.tags.valueof(ICC_TAG)
    colour = colour_of(None if profile is None else bytes(profile))
    stored = tuple(level_of(path.name, tiff, list(level.pages), colour) for level in levels)
    associated = {
        name: level_of(path.name, tiff, list(each.pages), Colour())
        for name, each in associated_series(tiff, series).items()
        if not unreadable(each.keyframe)
    }
    if tiff.is_philips:
        associated = philips_images(tiff, path.name) | associated
    vendor = vendor_of(tiff)
    return StoredSlide(
        path,
        stored,
        fingerprint(path),
        vendor,
        _properties(tiff, series, vendor, colour),
        mpp_sources(tiff, series, vendor),
        associated,
        needs_tiled_copy=copies,
        decode_coarsest=partial(_decoded_if_one_piece, path.name, stored[-1]),
        on_close=tiff.close,
    )


def _properties(
    tiff: tifffile.TiffFile, series: Any, vendor: str, colour: Colour
) -> dict[str, Any]:
    compression, space = series.keyframe.compression, space_of(series.keyframe)
    properties: dict[str, Any] = {
        "format": "ome-tiff" if tiff.is_ome else series.kind,
        "compression": getattr(compression, "name", str(compression)),
        "native_levels": len(series.levels),
        "tile_px": [int(n) for n in series.keyframe.chunks[:2]],
        "colour": f"{space} to RGB, {colour.label}" if space in CONVERTED else colour.label,
    }
    power = objective_power(tiff, series, vendor)
    if power is not None:
        properties["objective_power"] = power
    return properties


def _stored_in_strips(series: Any) -> bool:
    """Tell whether windows cost whole rows of the slide, so that level 0 is better stored anew."""
    size = _size(series)
    if max(size.height_px, size.width_px) <= WIDE_PX:
        return False  # so small that its strips are no burden
    chunks = series.keyframe.chunks  # of the page, so without a planes' axis if it has one
    return not series.keyframe.is_tiled or max(chunks) > 2 * WIDE_PX


def _decoded_if_one_piece(name: str, level: Level, _progress: Progress | None) -> Level:
    """Decode an image stored as a single strip, or in huge ones, once, instead of once per window."""
    n_bytes = level.chunk.height_px * level.chunk.width_px * 3
    if n_bytes <= 3 * WIDE_PX * WIDE_PX:
        return level
    if n_bytes > WHOLE_LIMIT_BYTES:
        raise SlideError(
            f"{name} stores {n_bytes / 2**30:.0f} GB of pixels in one piece, too much to "
            f"decode at once; export it as a tiled TIFF."
        )
    if level.size.height_px * level.size.width_px * 3 > WHOLE_LIMIT_BYTES:
        return level  # of several pieces, each of which can be decoded
    return level_of_array(level.whole(), name)
