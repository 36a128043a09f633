"""The one place that decides which reader opens a file, and whose word on the pixel size counts."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from napari_stem.errors import SlideError
from napari_stem.geometry import Mpp
from napari_stem.slide.base import Level, Slide, downsample
from napari_stem.slide.level_pixels import coarser_sizes
from napari_stem.slide.location import locate
from napari_stem.slide.pixel_size import all_sources, conflict
from napari_stem.slide.pyramid import Plan
from napari_stem.slide.pyramid_builder import PyramidBuilder
from napari_stem.slide.source import UnsuitedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_stem.geometry import SizePx
    from napari_stem.progress import Progress
    from napari_stem.slide.level_pixels import LevelPixels
    from napari_stem.slide.location import Location
    from napari_stem.slide.source import SlideSource

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

    def why_not(self, location: Location) -> str | None:
        """Tell why the file is not this reader's, judged by its first bytes; None if it may be.

        A clause that completes "it is": a file may be of a kind of another reader, or of this
        reader's kind while the library that it takes is not installed.
        """

    def open_source(self, location: Location) -> SlideSource:
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
    if isinstance(mpp, (int, float)):
        mpp = Mpp.square(mpp)
    location = locate(path)
    name, source = _choose(location, reader)
    logger.info("A slide is read by '%s'.", name)
    try:
        mpp_sources = all_sources(location.path, source.fingerprint, source.mpp_sources, mpp)
        levels, builder = _with_missing(location, source, progress, early=early)
    except BaseException:
        source.close()
        raise
    key = f"slide-{source.fingerprint}-{name}"
    return Slide(
        path=location.path,
        mpp=mpp_sources[0].mpp if mpp_sources else None,
        levels=tuple(
            Level(each, downsample(source.sizes[0], each.size), f"{key}-{number}")
            for number, each in enumerate(levels)
        ),
        reader=name,
        vendor=source.vendor,
        fingerprint=source.fingerprint,
        properties=source.properties,
        mpp_sources=mpp_sources,
        associated=dict(source.associated),
        builder=builder,
        on_close=source.close,
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
    location = locate(path)
    name, source = _choose(location, reader)
    try:
        size = source.sizes[0]
        sources = all_sources(location.path, source.fingerprint, source.mpp_sources, mpp)
        known = sources[0].mpp if sources else None
        return {
            "width_px": size.width_px,
            "height_px": size.height_px,
            "mpp": None if known is None else [known.y_um, known.x_um],
            "mpp_sources": [each.as_json() for each in sources],
            "mpp_conflict": conflict(sources),
            "levels": [
                {
                    "height_px": each.height_px,
                    "width_px": each.width_px,
                    "downsample": downsample(size, each),
                }
                for each in final_levels(source)
            ],
            "associated": [
                {"name": kind, "width_px": each.size.width_px, "height_px": each.size.height_px}
                for kind, each in source.associated.items()
            ],
            "reader": name,
            "readers": {each: _why_not(_reader(each), location) for each in READERS},
            "vendor": source.vendor,
            "fingerprint": source.fingerprint,
            "properties": source.properties,
        }
    finally:
        source.close()


def _choose(location: Location, wanted: str | None) -> tuple[str, SlideSource]:
    """Find the first reader for this kind of file, and what it makes of the file.

    Raises
    ------
    SlideError
        There is none, or it refuses the file.
    """
    if wanted is not None:
        return _insisted(location, wanted)
    unsuited: SlideError | None = None
    absent: list[str] = []
    for name in READERS:
        reader = _reader(name)
        reason = reader.why_not(location)
        if reason is None:
            try:
                return name, reader.open_source(location)
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


def _insisted(location: Location, wanted: str) -> tuple[str, SlideSource]:
    if wanted not in READERS:
        raise SlideError(f"There is no reader '{wanted}'; choose from {', '.join(READERS)}.")
    reader = _reader(wanted)
    if (reason := reader.why_not(location)) is not None:
        raise SlideError(
            f"{location.name} cannot be opened by the reader '{wanted}': it is {reason}."
        )
    return wanted, reader.open_source(location)


def _why_not(reader: Reader, location: Location) -> str | None:
    reason = reader.why_not(location)
    if reason is None:
        try:
            reader.open_source(location).close()
        except SlideError as error:
            reason = str(error)
    return reason


def _reader(name: str) -> Reader:
    return cast("Reader", import_module(f"napari_stem.slide.{READERS[name]}"))


SAME_SHAPE = 0.02  # how far a thumbnail's sides may be out of the slide's proportion


def final_levels(source: SlideSource) -> tuple[SizePx, ...]:
    """Sizes of all levels after opening, finest first: those stored, then those to be made."""
    return (*source.sizes, *coarser_sizes(source.sizes[-1]))


def _with_missing(
    location: Location, source: SlideSource, progress: Progress | None, *, early: bool
) -> tuple[list[LevelPixels], PyramidBuilder | None]:
    """List the stored levels, then those that are made from the coarsest of them."""
    stored = list(source.sources)
    sizes = final_levels(source)
    if len(sizes) == len(stored):
        whole = [source.base(progress)] if source.copies_base and source.base else stored
        return whole, None
    n_kept = 0 if source.copies_base else len(stored)
    to_make = sizes[n_kept:]
    plan = Plan(
        title=location.name,
        fingerprint=source.fingerprint,
        sizes=to_make,
        downsamples=tuple(downsample(source.sizes[0], size) for size in to_make),
        copies_base=source.copies_base,
        colour=str(source.properties.get("colour", "")),
        rights=location.path.stat().st_mode if location.url is None else 0o700,
    )
    builder = PyramidBuilder(
        plan,
        source.base or (lambda _: stored[-1]),
        (source.quick or _thumbnail(source)) if early else None,  # else nobody sees a preview
        n_kept,
    )
    if early:
        builder.look()
        return [*stored[:n_kept], *builder.pending()], builder
    builder.progress = progress
    return [*stored[:n_kept], *builder.levels()], None


def _thumbnail(source: SlideSource) -> Callable[[], NDArray[np.uint8]] | None:
    """Take the scanner's own thumbnail for a quick picture, if it shows all of the slide."""
    found, size = source.associated.get("thumbnail"), source.sizes[0]
    if found is None:
        return None
    own = found.size.width_px / found.size.height_px
    if abs(own * size.height_px / size.width_px - 1) > SAME_SHAPE:
        return None
    return found.whole
