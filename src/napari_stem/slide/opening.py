"""The one place that decides which reader opens a file, and whose word on the pixel size counts."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_stem.errors import SlideError
from napari_stem.geometry import Mpp
from napari_stem.slide.base import Slide
from napari_stem.slide.location import Location, locate
from napari_stem.slide.pixel_size import all_sources, conflict
from napari_stem.slide.pyramid import PyramidBuilder, lacking
from napari_stem.slide.source import UnsuitedError, downsample

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from napari_stem.progress import Progress
    from napari_stem.slide.stored import StoredSlide

logger = logging.getLogger(__name__)

# In order of preference. Loaded when a file is opened: tifffile and zarr take half a second.
READERS = {
    "tiff": "tiff",
    "czi": "czi",
    "openslide": "openslide_reader",
    "ome-zarr": "ngff",
    "raster": "raster",
}
READABLE = "SVS, tiled or OME-TIFF, OME-Zarr, JPEG or PNG"


def open_slide(
    path: str | Path,
    mpp: Mpp | float | None = None,
    *,
    reader: str | None = None,
    progress: Progress | None = None,
    early: bool = False,
) -> Slide:
    """Open a whole-slide image.

    Parameters
    ----------
    path
        A file, a folder (OME-Zarr, DICOM) or the URL of an OME-Zarr; told apart by content, not
        by name.
    mpp
        Pixel size, or its side in um; wins over that in a HEST metadata file beside the slide, over a
        remembered answer and over the slide's own, in this order (see ``pixel_size``).
    reader
        A key of ``READERS`` to insist on one; otherwise the first that can.
    progress
        Called with ``(text, done, total)`` while levels that the file lacks are made, once per
        slide. What it raises stops the opening and leaves nothing behind.
    early
        Do not wait for levels that must be made: ``Slide.complete`` makes them later, and so does
        the first reading from one of them.

    Returns
    -------
    Slide, to be closed when done with (or by ``with``). Its ``mpp`` is None if nobody knows it.

    Raises
    ------
    SlideError
        The file is missing, damaged or of a kind that cannot be read.
    """
    if isinstance(mpp, (int, float)):
        mpp = Mpp.square(mpp)
    slide = open_header(path, mpp, reader)
    logger.info("A slide is read by '%s'.", slide.reader)
    try:
        if early and slide.builder is not None and len(slide.levels) > 1:
            slide.builder.look()
        else:
            slide.complete(progress)
    except BaseException:
        slide.close()
        raise
    return slide


def describe(
    path: str | Path, mpp: Mpp | None = None, *, reader: str | None = None
) -> dict[str, Any]:
    """Tell what ``info`` says of a slide, from its header: no pixel is decoded, no level made.

    Returns
    -------
    JSON-ready: ``width_px``, ``height_px``, ``mpp`` ([y, x] um per px or None), ``mpp_sources``
    (list of ``{source, mpp_um}``, the one used first), ``mpp_conflict`` (a sentence or None),
    ``levels`` (as they are after opening), ``associated`` (list of ``{name, width_px,
    height_px}``), ``reader``, ``readers`` (name -> why it cannot open the file, or None),
    ``vendor``, ``fingerprint``, ``properties``.

    Raises
    ------
    SlideError
        As ``open_slide``.
    """
    with open_header(path, mpp, reader) as slide:
        return {
            "width_px": slide.size.width_px,
            "height_px": slide.size.height_px,
            "mpp": None if slide.mpp is None else [slide.mpp.y_um, slide.mpp.x_um],
            "mpp_sources": [each.as_json() for each in slide.mpp_sources],
            "mpp_conflict": conflict(slide.mpp_sources),
            "levels": [
                {
                    "height_px": each.size.height_px,
                    "width_px": each.size.width_px,
                    "downsample": each.downsample,
                }
                for each in slide.levels
            ],
            "associated": [
                {"name": kind, "width_px": each.size.width_px, "height_px": each.size.height_px}
                for kind, each in slide.associated.items()
            ],
            "reader": slide.reader,
            "readers": {
                name: None if name == slide.reader else _why_not(_reader(name), locate(path))
                for name in READERS
            },
            "vendor": slide.vendor,
            "fingerprint": slide.fingerprint,
            "properties": slide.properties,
        }


def open_header(path: str | Path, mpp: Mpp | None = None, reader: str | None = None) -> Slide:
    """Open a slide as ``open_slide`` does, and decode nothing: levels that it lacks are yet to be made."""
    location = locate(path)
    name, read = _choose(location, reader)
    try:
        sources = all_sources(read.path, read.fingerprint, read.mpp_sources, mpp)
        rights = read.path.stat().st_mode if location.url is None else 0o700
    except BaseException:
        read.on_close()
        raise
    builder = PyramidBuilder(read, rights) if lacking(read) else None
    levels = [
        *(() if read.copies_base else read.levels),
        *(builder.pending() if builder else ()),
    ]
    for number, level in enumerate(levels):
        level.downsample = downsample(read.size, level.size)
        level.key = f"slide-{read.fingerprint}-{name}-{number}"
    return Slide(
        **(vars(read) | {"levels": tuple(levels), "mpp_sources": sources}),
        reader=name,
        mpp=sources[0].mpp if sources else None,
        builder=builder,
    )


def _choose(location: Location, wanted: str | None) -> tuple[str, StoredSlide]:
    """Find the first reader for this kind of file, and what it makes of the file; SlideError where none can."""
    if wanted is not None:
        return _insisted(location, wanted)
    unsuited: SlideError | None = None
    absent: list[str] = []
    for name in READERS:
        reader = _reader(name)
        reason = reader.why_not(location)
        if reason is None:
            try:
                return name, reader.read_header(location)
            except UnsuitedError as error:
                unsuited = unsuited or error
            except SlideError as error:
                # Final: the next reader might show one channel of five, or half a file. Never from itself: dask
                # follows causes to their end.
                raise _hinted(unsuited or error, absent) from error.__cause__
        elif "not installed" in reason and "which is" in reason:
            absent.append(reason)
        if name == "openslide" and unsuited is not None:
            break  # what neither of the two can show right, none of the rest can
    but = "whatever its name says; export it"
    if location.is_folder:
        but = "but a folder; choose the slide itself, exported"
    msg = f"{location.name} is not a slide image by its content, {but} as {READABLE}."
    raise _hinted(unsuited or SlideError(msg), absent)


def _hinted(error: SlideError, absent: list[str]) -> SlideError:
    """Add which library might have read the file, had it been there."""
    if not absent:
        return error
    return SlideError(f"{error} It may be {'; or '.join(absent)}.")


def _insisted(location: Location, wanted: str) -> tuple[str, StoredSlide]:
    if wanted not in READERS:
        raise SlideError(f"There is no reader '{wanted}'; choose from {', '.join(READERS)}.")
    reader = _reader(wanted)
    if (reason := reader.why_not(location)) is not None:
        raise SlideError(
            f"{location.name} cannot be opened by the reader '{wanted}': it is {reason}."
        )
    return wanted, reader.read_header(location)


def _why_not(reader: ModuleType, location: Location) -> str | None:
    reason: str | None = reader.why_not(location)
    if reason is None:
        try:
            reader.read_header(location).on_close()
        except SlideError as error:
            reason = str(error)
    return reason


def _reader(name: str) -> ModuleType:
    """Load a reader: ``why_not`` gives a clause that completes "it is", or None; ``read_header`` opens."""
    return import_module(f"napari_stem.slide.{READERS[name]}")
