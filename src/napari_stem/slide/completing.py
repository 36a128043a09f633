"""From the levels stored in a file to a slide: missing levels, pixel size, a watch on the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_stem.slide.array_slide import ArraySlide, LevelPixels, downsample
from napari_stem.slide.halving import coarser_sizes
from napari_stem.slide.making import Making
from napari_stem.slide.native import refuse_absurd
from napari_stem.slide.pixel_size import all_sources
from napari_stem.slide.pyramid import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp, SizePx
    from napari_stem.slide.base import Progress
    from napari_stem.slide.location import Location
    from napari_stem.slide.native import Native


SAME_SHAPE = 0.02  # how far a thumbnail's sides may be out of the slide's proportion


def final_levels(native: Native) -> tuple[SizePx, ...]:
    """Sizes of all levels after opening, finest first: those stored, then those to be made."""
    stored = native.facts.levels
    return (*stored, *coarser_sizes(stored[-1]))


def completed(
    location: Location,
    native: Native,
    *,
    reader: str,
    stated: Mpp | None,
    progress: Progress | None,
    early: bool,
) -> ArraySlide:
    """Make a slide, with the levels that the file lacks; closes the file if that fails.

    Parameters
    ----------
    location, native, reader
        What was opened, and by which reader.
    stated
        Pixel size that the user states.
    progress
        Told of the making.
    early
        Do not wait for levels that must be made: the slide is not complete then.

    Raises
    ------
    SlideError
        The pixels are damaged, or the missing levels can be kept nowhere.
    """
    facts = native.facts
    try:
        refuse_absurd(location.name, facts.levels)
        sources = all_sources(location.path, facts.fingerprint, facts.mpp_sources, stated)
        levels, making = _with_missing(location.name, native, progress, early=early)
    except BaseException:
        native.close()
        raise
    return ArraySlide.build(
        location.path,
        facts,
        levels,
        reader=reader,
        mpp_sources=sources,
        associated=native.associated,
        making=making,
        on_close=native.close,
    )


def _with_missing(
    name: str, native: Native, progress: Progress | None, *, early: bool
) -> tuple[list[LevelPixels], Making | None]:
    """List the stored levels, then those that are made from the coarsest of them."""
    stored = list(native.sources)
    sizes = final_levels(native)
    if len(sizes) == len(stored):
        whole = [native.base(progress)] if native.copies_base and native.base else stored
        return whole, None
    n_kept = 0 if native.copies_base else len(stored)
    making = Making(
        _plan(name, native, sizes[n_kept:]),
        native.base or (lambda _: stored[-1]),
        native.quick or _thumbnail(native),
        n_kept,
    )
    if early:
        making.look()
        return [*stored[:n_kept], *making.pending()], making
    making.progress = progress
    return [*stored[:n_kept], *making.levels()], None


def _plan(name: str, native: Native, to_make: tuple[SizePx, ...]) -> Plan:
    return Plan(
        title=name,
        fingerprint=native.facts.fingerprint,
        sizes=to_make,
        downsamples=tuple(downsample(native.facts.size, size) for size in to_make),
        copies_base=native.copies_base,
        colour=str(native.facts.properties.get("colour", "")),
    )


def _thumbnail(native: Native) -> Callable[[], NDArray[np.uint8]] | None:
    """Take the scanner's own thumbnail for a quick picture, if it shows all of the slide."""
    found, size = native.associated.get("thumbnail"), native.facts.size
    if found is None:
        return None
    own = found.size.width_px / found.size.height_px
    if abs(own * size.height_px / size.width_px - 1) > SAME_SHAPE:
        return None
    return lambda: found[:, :, :]
