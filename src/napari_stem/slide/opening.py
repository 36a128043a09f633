"""The one place that decides which reader opens a file, and whose word on the pixel size counts."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from napari_stem.caches import status_within
from napari_stem.errors import SlideError
from napari_stem.geometry import Mpp
from napari_stem.slide.base import Slide
from napari_stem.slide.level import downsample
from napari_stem.slide.location import Location, locate, watched
from napari_stem.slide.pixel_size import all_sources, conflict
from napari_stem.slide.pyramid import PyramidBuilder, missing_sizes
from napari_stem.slide.recognising import READERS
from napari_stem.slide.stored import MissingLibrary, UnsuitedError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_stem.progress import Progress
    from napari_stem.slide.stored import SlideReader, StoredSlide

logger = logging.getLogger(__name__)

# formats that most programs write; what is read is in ``READERS``
EXPORT_AS = "SVS, tiled or OME-TIFF, OME-Zarr, JPEG or PNG"


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
    if not (mpp is None or isinstance(mpp, Mpp)):
        mpp = Mpp.square(mpp)
    slide = open_header(path, mpp, reader)
    logger.info("A slide is read by '%s'.", slide.reader)
    try:
        if early and slide.builder is not None and len(slide.levels) > 1:
            slide.builder.find_store()
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
            "levels": [vars(each.size) | {"downsample": each.downsample} for each in slide.levels],
            "associated": [
                {"name": kind, **vars(each.size)} for kind, each in slide.associated.items()
            ],
            "reader": slide.reader,
            "readers": {
                name: None if name == slide.reader else _why_not(name, locate(path))
                for name in READERS
            },
            "vendor": slide.vendor,
            "fingerprint": slide.fingerprint,
            "properties": slide.properties,
        }


def open_header(path: str | Path, mpp: Mpp | None = None, reader: str | None = None) -> Slide:
    """Open a slide as ``open_slide`` does, and decode nothing: levels that it lacks are yet to be made."""
    location = locate(path)
    name, stored = _choose(location) if reader is None else (reader, _insisted(location, reader))
    try:
        sources = all_sources(stored.path, stored.fingerprint, stored.mpp_sources, mpp)
        file = status_within(stored.path) if location.url is None else None
    except BaseException:
        stored.on_close()
        raise
    builder = PyramidBuilder(stored, file) if missing_sizes(stored) else None
    levels = () if stored.needs_tiled_copy else stored.levels
    if builder is not None:
        levels = (*levels, *builder.pending())
    for level in levels:
        level.downsample = downsample(stored.size, level.size)
    return Slide(
        **(vars(stored) | {"levels": levels, "mpp_sources": sources}),
        reader=name,
        mpp=sources[0].mpp if sources else None,
        builder=builder,
    )


def _choose(location: Location) -> tuple[str, StoredSlide]:
    """Find the first reader for this kind of file, and what it makes of the file; SlideError where none can."""
    unsuited: SlideError | None = None
    missing: list[str] = []
    for name in READERS:
        reason = _reader(name).why_not(location)
        if reason is None:
            try:
                return name, _read(name, location)
            except UnsuitedError as error:
                unsuited = unsuited or error
            except SlideError as error:
                # The next reader is not tried: it might show one channel of five, or half a file. The cause is
                # not ``error``, which may be what is raised: dask follows causes until there is none.
                raise _hinted(unsuited or error, missing) from error.__cause__
        elif isinstance(reason, MissingLibrary):
            missing.append(reason)
        if name == "openslide" and unsuited is not None:
            break  # what neither TIFF's reader nor OpenSlide can show right, none after it can (`READERS`)
    but = "whatever its name says; export it"
    if location.is_folder:
        but = "but a folder; choose the slide itself, exported"
    msg = f"{location.name} is not a slide image by its content, {but} as {EXPORT_AS}."
    raise _hinted(unsuited or SlideError(msg), missing)


def _hinted(error: SlideError, missing: list[str]) -> SlideError:
    """Add which library might have read the file, had it been there."""
    if not missing:
        return error
    return SlideError(f"{error} It may be {'; or '.join(missing)}.")


def _insisted(location: Location, name: str) -> StoredSlide:
    if name not in READERS:
        raise SlideError(f"There is no reader '{name}'; choose from {', '.join(READERS)}.")
    if (reason := _reader(name).why_not(location)) is not None:
        raise SlideError(
            f"{location.name} cannot be opened by the reader '{name}': it is {reason}."
        )
    return _read(name, location)


def _why_not(name: str, location: Location) -> str | None:
    reason = _reader(name).why_not(location)
    if reason is None:
        try:
            _read(name, location).on_close()
        except SlideError as error:
            reason = str(error)
    return reason


def _read(name: str, location: Location) -> StoredSlide:
    """Let a reader open a place, and have its levels notice when a file of the slide changes."""
    unchanged = watched(location.path, [location.path]) if location.is_file else None
    stored = _reader(name).read_header(location)
    if stored.files:
        unchanged = watched(location.path, stored.files)
    for level in (*stored.levels, *stored.associated.values()):
        level.require_unchanged = unchanged
    return stored


def _reader(name: str) -> SlideReader:
    """Load a reader, when a file is opened: tifffile and zarr take half a second."""
    module = import_module(f"napari_stem.slide.{name.replace('-', '_')}_reader")
    return cast("SlideReader", module)
