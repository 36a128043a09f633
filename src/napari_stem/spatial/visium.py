"""Import of 10x Visium sections as Space Ranger writes them (versions 1 to 3).

Visium spots are 55 um wide and 100 um apart on a hexagonal lattice. The pixel size is fitted to
that pitch. ``spot_diameter_fullres`` is the diameter of a theoretical 65 um spot (10x, Space Ranger
1.3, "Imaging outputs"), so taking it for 55 um gives pixels 15% too small; it serves as a check.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import DatasetError
from napari_stem.spatial.images import image_facts
from napari_stem.spatial.importing import import_sections
from napari_stem.spatial.space_ranger import (
    READER_ERRORS,
    find_image,
    new_section,
    read_scale_factors,
    refuse_other_image,
    section_folders,
)
from napari_stem.spatial.space_ranger_files import (
    COUNTS,
    POSITIONS,
    SCALE_FACTORS,
    find,
    read_counts,
    read_positions,
    required,
)
from napari_stem.texts import reason_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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
        that hold one, or a folder of several. Files may be gzipped, lie flat, or have GEO's prefixes.
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
    """Whether a folder is what Space Ranger leaves of one Visium section (its ``outs``), or a part of it.

    Raises
    ------
    DatasetError
        It holds files of several sections.
    """
    is_other = folder.name == "spatial" or (folder / "binned_outputs").is_dir()
    signs = (SCALE_FACTORS, *POSITIONS, *(f"{name}.h5" for name in COUNTS))
    return not is_other and find(folder, *signs) is not None


def _read_section(section_id: str, folder: Path, image: Path | None) -> NewSection:
    table = read_visium(folder)
    image = image or find_image(folder)
    scales = read_scale_factors(required(folder, SCALE_FACTORS))
    if (preview := read_preview(folder, scales)) is not None:
        refuse_other_image(image, *preview)
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
            "chemistry": table.uns.get("chemistry") or None,
        },
        mpp_um=others,
    )


def read_preview(
    folder: Path, scales: Mapping[str, float]
) -> tuple[tuple[float, float], float] | None:
    """Size (width, height) of a reduced image, and its px per px of the image Space Ranger was run on.

    Returns
    -------
    None where neither of the two is there: they serve for checks alone.
    """
    for name in ("hires", "lowres"):
        path, scale = find(folder, f"tissue_{name}_image.png"), scales.get(f"tissue_{name}_scalef")
        if path is not None and path.suffix == ".png" and scale:
            return image_facts(path).size_px, scale
    return None


def read_visium(folder: Path) -> anndata.AnnData:
    """Read counts and positions of one folder of Space Ranger, all spots that were counted.

    Returns
    -------
    ``obs``: ``in_tissue``, ``array_row``, ``array_col``; ``obsm["spatial"]`` (x, y) px. What has no position
    has NaN.

    Raises
    ------
    DatasetError
        The folder is incomplete, damaged or none of Visium.
    """
    try:
        table, positions = read_counts(folder), read_positions(folder)
        positions = positions.reindex(table.obs_names)
        table.obs = positions[["in_tissue", "array_row", "array_col"]]
        places = positions[["pxl_col_in_fullres", "pxl_row_in_fullres"]]
        table.obsm["spatial"] = places.to_numpy(np.float64)
    except READER_ERRORS as error:
        raise DatasetError(
            f"{folder} cannot be read as Space Ranger's Visium output ({reason_of(error)}); copy it again."
        ) from error
    return table
