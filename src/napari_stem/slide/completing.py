"""From the levels stored in a file to a slide: missing levels, pixel size, a watch on the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_stem.slide.array_slide import ArraySlide, LevelPixels, downsample
from napari_stem.slide.native import refuse_absurd
from napari_stem.slide.pixel_size import all_sources
from napari_stem.slide.pyramid import Plan, coarser_sizes, made_levels

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp, SizePx
    from napari_stem.slide.array_slide import ReadWindow
    from napari_stem.slide.base import Progress
    from napari_stem.slide.location import Location
    from napari_stem.slide.native import Native


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
) -> ArraySlide:
    """Make a slide, with the levels that the file lacks; closes the file if that fails.

    Raises
    ------
    SlideError
        The pixels are damaged, or the missing levels can be kept nowhere.
    """
    facts = native.facts
    try:
        refuse_absurd(location.name, facts.levels)
        sources = all_sources(location.path, facts.fingerprint, facts.mpp_sources, stated)
        levels = _with_missing(location.name, native, progress)
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
        on_close=native.close,
    )


def _with_missing(name: str, native: Native, progress: Progress | None) -> list[LevelPixels]:
    """List the stored levels, then those that are made from the coarsest of them."""
    stored = list(native.sources)
    sizes = final_levels(native)
    if len(sizes) == len(stored):
        return [native.base(progress)] if native.copies_base and native.base else stored
    n_kept = 0 if native.copies_base else len(stored)
    to_make = sizes[n_kept:]
    plan = Plan(
        title=name,
        fingerprint=native.facts.fingerprint,
        sizes=to_make,
        downsamples=tuple(downsample(native.facts.size, size) for size in to_make),
        copies_base=native.copies_base,
        colour=str(native.facts.properties.get("colour", "")),
    )
    base = native.base
    made = made_levels(plan, lambda: stored[-1] if base is None else base(progress), progress)
    return [*stored[:n_kept], *made]


def watched(read: ReadWindow, check: Callable[[], None]) -> ReadWindow:
    """Let ``check`` refuse before each reading."""

    def reading(rows: slice, columns: slice) -> NDArray[np.uint8]:
        check()
        return read(rows, columns)

    return reading
