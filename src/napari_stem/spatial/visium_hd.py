"""Import of 10x Visium HD sections at one bin size, through spatialdata-io.

Bins are squares without gaps: pitch and diameter are the bin's side.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_stem.errors import DatasetError
from napari_stem.extras import require_extra
from napari_stem.spatial.importing import import_sections
from napari_stem.spatial.space_ranger import (
    READER_ERRORS,
    find_image,
    new_section,
    read_scale_factors,
    refuse_other_image,
    section_folders,
)
from napari_stem.spatial.visium import BY_SCALE_FACTORS, named_folders
from napari_stem.texts import reason_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_stem.progress import Progress
    from napari_stem.spatial.importing import NewSection, Outcome

BINS = "binned_outputs"
DEFAULT_BIN_UM = 16


def import_visium_hd(
    sources: Sequence[Path],
    out: Path,
    *,
    bin_um: int = DEFAULT_BIN_UM,
    image: Path | None = None,
    name: str | None = None,
    overwrite: bool = False,
    drop: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Write Visium HD sections as a data set in HEST layout, bins under tissue only.

    Parameters
    ----------
    sources
        Space Ranger's ``outs`` folders (``binned_outputs/square_016um`` ..., ``feature_slice.h5``),
        folders that hold one, or a folder of several.
    bin_um
        Side of the bins, one of those that Space Ranger wrote.
    out, image, name, overwrite, drop, progress
        As for `import_visium`.

    Raises
    ------
    DatasetError
        spatialdata-io is not installed, or as `import_visium`.
    """
    require_extra("spatialdata_io", "visium-hd", "Visium HD", DatasetError)
    folders = named_folders(section_folders(sources, _is_hd), image, name)
    readers = {
        section_id: partial(_read_section, section_id, folder, bin_um, image)
        for section_id, folder in folders.items()
    }
    return import_sections(readers, out, overwrite=overwrite, drop=drop, progress=progress)


def _is_hd(folder: Path) -> bool:
    return (folder / BINS).is_dir()


def _read_section(section_id: str, folder: Path, bin_um: int, image: Path | None) -> NewSection:
    key = f"square_{bin_um:03d}um"
    if not (folder / BINS / key).is_dir():
        has = ", ".join(sorted(path.name for path in (folder / BINS).glob("square_*")))
        raise DatasetError(
            f"{folder / BINS} has no {key}, only {has or 'nothing'}; choose another --bin."
        )
    image = image or find_image(folder)
    scales = read_scale_factors(folder / BINS / key / "spatial" / "scalefactors_json.json")
    data = _read_bins(folder, section_id, bin_um)
    hires = next((i for name, i in data.images.items() if name.endswith("_hires_image")), None)
    if hires is not None and "tissue_hires_scalef" in scales:
        refuse_other_image(
            image, (hires.sizes["x"], hires.sizes["y"]), scales["tissue_hires_scalef"]
        )
    stated = scales.get("microns_per_pixel")
    return new_section(
        section_id,
        image,
        data.tables[key],
        pitch_um=float(bin_um),
        diameter_um=float(bin_um),
        hexagonal=False,
        metadata={"st_technology": "Visium HD"},
        mpp_um={BY_SCALE_FACTORS: stated} if stated else {},
    )


def _read_bins(folder: Path, section_id: str, bin_um: int) -> Any:
    """Read one bin size; the full-resolution image is not read, only placed in the data set later."""
    from spatialdata_io import visium_hd

    prefixes = [
        path.name.removesuffix("feature_slice.h5") for path in folder.glob("*feature_slice.h5")
    ]
    if len(prefixes) != 1:
        raise DatasetError(
            f"{folder} must hold one feature_slice.h5 beside {BINS}; it holds {len(prefixes)}. "
            f"Copy it from Space Ranger's outs folder."
        )
    try:
        # The reader prints, and stdout belongs to results.
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            data = visium_hd(
                folder,
                dataset_id=prefixes[0].rstrip("_") or section_id,
                bin_size=bin_um,
                bins_as_squares=False,
                load_segmentations_only=False,
                var_names_make_unique=False,
                gex_only=True,
                fullres_image_file=folder / "not-wanted",
            )
    except READER_ERRORS as error:
        raise DatasetError(
            f"{folder} cannot be read as Space Ranger's Visium HD output ({reason_of(error)}); copy it again."
        ) from error
    return data
