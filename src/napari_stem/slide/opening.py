"""The one place that decides which reader opens a file, and whose word on the pixel size counts."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from napari_stem.errors import SlideError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_stem.geometry import Mpp
    from napari_stem.slide.base import Progress, Slide
    from napari_stem.slide.location import Location
    from napari_stem.slide.native import Native

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


class Reader(Protocol):
    """What a reader module offers."""

    NAME: str

    def why_not(self, location: Location) -> str | None:
        """Tell why the file is not this reader's, judged by its first bytes; None if it may be.

        A clause that completes "it is": a file may be of a kind of another reader, or of this
        reader's kind while the library that it takes is not installed.
        """

    def open_native(self, location: Location) -> Native:
        """Open for reading; decodes nothing.

        Raises
        ------
        SlideError
            Damaged, cut short or not 8-bit RGB or grey.
        """


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
    from napari_stem.slide.completing import completed
    from napari_stem.slide.location import locate

    if isinstance(mpp, (int, float)):
        from napari_stem.geometry import Mpp

        mpp = Mpp.square(mpp)
    location = locate(path)
    chosen, native = _choose(location, reader)
    logger.info("Slide %s is read by '%s'.", path, chosen.NAME)
    return completed(
        location, native, reader=chosen.NAME, stated=mpp, progress=progress, early=early
    )


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
    from napari_stem.slide.array_slide import downsample
    from napari_stem.slide.completing import final_levels
    from napari_stem.slide.location import locate
    from napari_stem.slide.pixel_size import all_sources, conflict

    location = locate(path)
    chosen, native = _choose(location, reader)
    try:
        facts = native.facts
        sources = all_sources(location.path, facts.fingerprint, facts.mpp_sources, mpp)
        known = sources[0].mpp if sources else None
        return {
            "width_px": facts.size.width_px,
            "height_px": facts.size.height_px,
            "mpp": None if known is None else [known.y_um, known.x_um],
            "mpp_sources": [each.as_json() for each in sources],
            "mpp_conflict": conflict(sources),
            "levels": [
                {
                    "height_px": size.height_px,
                    "width_px": size.width_px,
                    "downsample": downsample(facts.size, size),
                }
                for size in final_levels(native)
            ],
            "associated": [
                {"name": name, "width_px": each.size.width_px, "height_px": each.size.height_px}
                for name, each in native.associated.items()
            ],
            "reader": chosen.NAME,
            "readers": {name: _why_not(_reader(name), location) for name in READERS},
            "vendor": facts.vendor,
            "fingerprint": facts.fingerprint,
            "properties": facts.properties,
        }
    finally:
        native.close()


def _choose(location: Location, wanted: str | None) -> tuple[Reader, Native]:
    """Find the first reader for this kind of file, and what it makes of the file.

    Raises
    ------
    SlideError
        There is none, or it refuses the file.
    """
    from napari_stem.slide.native import UnsuitedError

    if wanted is not None:
        return _insisted(location, wanted)
    unsuited: SlideError | None = None
    absent: list[str] = []
    for name in READERS:
        reader = _reader(name)
        reason = reader.why_not(location)
        if reason is None:
            try:
                return reader, reader.open_native(location)
            except UnsuitedError as error:
                unsuited = unsuited or error
            except SlideError as error:
                # Final: the next reader might show one channel of five, or half a file.
                raise _hinted(unsuited or error, absent) from error
        elif "not installed" in reason and "which is" in reason:
            absent.append(reason)
        if name == "openslide" and unsuited is not None:
            break  # what neither of the two can show right, none of the rest can
    msg = (
        f"{location.name} is not a slide image by its content, whatever its name says; export it "
        f"as {READABLE}."
    )
    raise _hinted(unsuited or SlideError(msg), absent)


def _hinted(error: SlideError, absent: list[str]) -> SlideError:
    """Add which library might have read the file, had it been there."""
    if not absent:
        return error
    return SlideError(f"{error} It may be {'; or '.join(absent)}.")


def _insisted(location: Location, wanted: str) -> tuple[Reader, Native]:
    if wanted not in READERS:
        msg = f"There is no reader '{wanted}'; choose from {', '.join(READERS)}."
        raise SlideError(msg)
    reader = _reader(wanted)
    if (reason := reader.why_not(location)) is not None:
        msg = f"{location.name} cannot be opened by the reader '{wanted}': it is {reason}."
        raise SlideError(msg)
    return reader, reader.open_native(location)


def _why_not(reader: Reader, location: Location) -> str | None:
    reason = reader.why_not(location)
    if reason is None:
        try:
            reader.open_native(location).close()
        except SlideError as error:
            reason = str(error)
    return reason


def _reader(name: str) -> Reader:
    return cast("Reader", import_module(f"napari_stem.slide.{READERS[name]}"))
