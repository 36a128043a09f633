"""Import of 10x Visium sections as Space Ranger writes them (versions 1 to 3), through squidpy.

Visium spots are 55 um wide and 100 um apart on a hexagonal lattice. The pixel size is fitted to
that pitch. ``spot_diameter_fullres`` is the diameter of a theoretical 65 um spot (10x, Space Ranger
1.3, "Imaging outputs"), so taking it for 55 um gives pixels 15% too small; it serves as a check.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING

from napari_stem.errors import DatasetError
from napari_stem.spatial.importing import import_sections
from napari_stem.spatial.space_ranger import (
    COUNTS,
    READER_ERRORS,
    find_image,
    new_section,
    read_scale_factors,
    refuse_other_image,
    section_folders,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import anndata

    from napari_stem.progress import Progress
    from napari_stem.spatial.importing import NewSection, Outcome

PITCH_UM = 100.0
DIAMETER_UM = 55.0
SCALE_FACTOR_SPOT_UM = 65.0
BY_SCALE_FACTORS = "scalefactors_json.json"


def import_visium(
    sources: Sequence[Path],
    out: Path,
    *,
    image: Path | None = None,
    name: str | None = None,
    overwrite: bool = False,
    drop: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Write Visium sections as a data set in HEST layout, spots under tissue only.

    Parameters
    ----------
    sources
        Space Ranger's ``outs`` folders (``filtered_feature_bc_matrix.h5``, ``spatial/``), folders
        that hold one, or a folder of several.
    out, overwrite, drop, progress
        As for `import_sections`.
    image
        The full-resolution image that Space Ranger was run on, for a single section; otherwise it
        is looked for beside each.
    name
        Of a single section; otherwise that of its folder.

    Raises
    ------
    DatasetError
        There is nothing to import, or an image or name is given for several sections.
    """
    folders = named_folders(visium_folders(sources), image, name)
    readers = {
        section_id: partial(_read_section, section_id, folder, image)
        for section_id, folder in folders.items()
    }
    return import_sections(readers, out, overwrite=overwrite, drop=drop, progress=progress)


def named_folders(
    folders: dict[str, Path], image: Path | None, name: str | None
) -> dict[str, Path]:
    """Give a single section the name that was asked for.

    Raises
    ------
    DatasetError
        One image or name for several sections.
    """
    if len(folders) > 1 and (image is not None or name is not None):
        raise DatasetError(
            f"--image and --name go with one section; {len(folders)} were found "
            f"({', '.join(list(folders)[:5])}). Import them one by one."
        )
    return folders if name is None else {name: next(iter(folders.values()))}


def visium_folders(sources: Sequence[Path]) -> dict[str, Path]:
    """Find Space Ranger's Visium folders by section, as `section_folders` does.

    Raises
    ------
    DatasetError
        There are none, or two of one name.
    """
    return section_folders(sources, is_visium)


def is_visium(folder: Path) -> bool:
    """Whether a folder is what Space Ranger leaves of one Visium section (its ``outs``)."""
    return (folder / "spatial" / "scalefactors_json.json").is_file() and bool(
        list(folder.glob(f"*{COUNTS}"))
    )


def _read_section(section_id: str, folder: Path, image: Path | None) -> NewSection:
    table = read_visium(folder, section_id)
    image = image or find_image(folder)
    scales = read_scale_factors(folder / "spatial" / "scalefactors_json.json")
    library = table.uns["spatial"][section_id]
    if "tissue_hires_scalef" in scales:
        height_px, width_px = library["images"]["hires"].shape[:2]
        refuse_other_image(image, (width_px, height_px), scales["tissue_hires_scalef"])
    diameter_px = scales.get("spot_diameter_fullres", 0.0)
    others = {BY_SCALE_FACTORS: SCALE_FACTOR_SPOT_UM / diameter_px} if diameter_px > 0 else {}
    return new_section(
        section_id,
        image,
        table,
        pitch_um=PITCH_UM,
        diameter_um=DIAMETER_UM,
        hexagonal=True,
        metadata={
            "st_technology": "Visium",
            "chemistry": str(library["metadata"].get("chemistry_description", "")) or None,
        },
        mpp_um=others,
    )


def read_visium(folder: Path, section_id: str) -> anndata.AnnData:
    """Read the counts of one folder of Space Ranger, all spots, as squidpy gives them.

    Raises
    ------
    DatasetError
        The folder is incomplete, damaged or none of Visium.
    """
    from squidpy.read import visium

    counts = sorted(folder.glob(f"*{COUNTS}"))
    if len(counts) != 1:
        raise DatasetError(f"{folder} must hold one {COUNTS}; it holds {len(counts)}.")
    try:
        with warnings.catch_warnings():
            # Repeated symbols are added up afterwards, and reported.
            warnings.simplefilter("ignore")
            return visium(folder, counts_file=counts[0].name, library_id=section_id)
    except FileNotFoundError as error:
        raise DatasetError(
            f"{folder} lacks {error.filename}; copy Space Ranger's folder 'spatial' completely."
        ) from error
    except READER_ERRORS as error:
        raise DatasetError(
            f"{folder} cannot be read as Space Ranger's Visium output ({error}); copy it again."
        ) from error
