"""Where to predict: on a lattice over the tissue, in regions, or at spots that were given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_stem.errors import RegionError, SpotError
from napari_stem.foreign import MAX_SIZE
from napari_stem.geometry import Region, Spots, inside, lattice, spots_in_regions, why_empty
from napari_stem.slide.tissue import find_tissue
from napari_stem.spatial.region_files import as_regions
from napari_stem.spatial.table_files import read_spots
from napari_stem.texts import count, few

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import anndata

    from napari_stem.settings import TissueSettings
    from napari_stem.slide import Slide


def choose_spots(
    slide: Slide,
    *,
    pitch_um: float,
    spots: Spots | anndata.AnnData | str | Path | None = None,
    regions: Region | Sequence[Region] | str | Path | None = None,
    whole_slide: bool = False,
    tissue: TissueSettings | None = None,
    tell: Callable[[str], None] | None = None,
) -> Spots:
    """Choose where to predict: at given spots or on the slide's lattice, in regions or (none given) the tissue.

    Parameters
    ----------
    slide
        Of known pixel size.
    pitch_um
        Distance between spots of the lattice; given ones may lie closer.
    spots
        Given ones: `Spots`, a table with ``obsm["spatial"]`` (x, y in level-0 px), or a file (``.h5ad``, or
        ``.csv`` with ``x_px, y_px``). They are taken wherever they lie, unless regions are given too.
    regions
        One, several, or a GeoJSON file (in level-0 px, as QuPath writes it): only spots inside are taken.
    whole_slide
        Take the whole lattice, glass too.
    tissue
        How the tissue is looked for.
    tell
        Told in a sentence what was left out of the tissue, and which regions no spot lies in.

    Raises
    ------
    MissingMppError
        The slide's pixel size is unknown.
    RegionError
        No spot lies in the regions, or there is no tissue.
    SpotError
        The pitch is not possible, or the given spots cannot be used.
    """
    mpp = slide.require_mpp()
    if spots is None:
        chosen = lattice(slide.size, mpp, pitch_um)
    elif isinstance(spots, Spots):
        chosen = spots
    elif not 0 < pitch_um < MAX_SIZE:  # a prediction could not be read again
        raise SpotError(
            f"A pitch of {pitch_um:g} um is not possible; choose one that a slide can have."
        )
    else:
        chosen = read_spots(spots, slide.size, mpp, pitch_um)
    if not len(chosen):
        raise SpotError("The list of spots is empty; give at least one.")
    if regions is not None:
        within = as_regions(regions)
        if not within:
            raise RegionError("No region is given; draw one, or choose the whole tissue.")
        is_lattice = spots is None
        taken = spots_in_regions(chosen, within, is_lattice=is_lattice)
        if tell is not None and (left := _without_spots(taken, within, is_lattice=is_lattice)):
            tell(left)
        return taken
    if whole_slide or spots is not None:
        return chosen
    found = find_tissue(slide, tissue)
    if found.note and tell is not None:
        tell(found.note)
    return spots_in_regions(chosen, found.regions)


def _without_spots(spots: Spots, regions: Sequence[Region], *, is_lattice: bool) -> str:
    """Say which regions hold none of the spots; empty where each holds one."""
    empty = [region.name for region in regions if not inside(spots, [region]).any()]
    if not empty:
        return ""
    return (
        f"{count(len(empty), 'region', 'holds', 'hold')} no spot, so that nothing is predicted there "
        f"({few(empty)}): {why_empty(spots, is_lattice=is_lattice)}"
    )
