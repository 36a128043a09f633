"""Import of 10x Visium sections as Space Ranger writes them (versions 1 to 3), and of Visium HD by bins.

Visium spots are 55 um wide and 100 um apart on a hexagonal lattice. The pixel size is fitted to
that pitch. ``spot_diameter_fullres`` is the diameter of a theoretical 65 um spot (10x, Space Ranger
1.3, "Imaging outputs"), so taking it for 55 um gives pixels 15% too small; it serves as a check.
Bins of Visium HD are squares without gaps: pitch and diameter are the bin's side.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import DatasetError, require_extra
from napari_stem.spatial.dataset import PITCH_KEY, TABLES, Dataset, image_facts
from napari_stem.spatial.gene_sets import latin_name, with_unique_symbols
from napari_stem.spatial.importing import NewSection, Outcome, fitted_section, import_sections
from napari_stem.spatial.lattice import array_positions, fit_lattice
from napari_stem.spatial.space_ranger import (
    BINS,
    COUNTS,
    POSITIONS,
    READER_ERRORS,
    SCALE_FACTORS,
    find,
    find_image,
    other_size,
    read_counts,
    read_positions,
    read_scale_factors,
    required,
    section_folders,
    under_tissue,
    unlike_preview,
)
from napari_stem.texts import reason_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import anndata

    from napari_stem.spatial.importing import ImportSettings


PITCH_UM = 100.0
DIAMETER_UM = 55.0
SCALE_FACTOR_SPOT_UM = 65.0
# Rounding of positions to whole px leaves less than this, in pitches.
_MISFIT = 0.1


def import_visium(
    sources: Sequence[Path],
    out: Path,
    settings: ImportSettings | None = None,
    *,
    bin_um: int | None = None,
    image: Path | None = None,
    name: str | None = None,
    species: str | None = None,
) -> Outcome:
    """Write Visium sections as a data set in HEST layout, spots or bins under tissue only.

    ``sources`` are Space Ranger's ``outs`` folders (``filtered_feature_bc_matrix.h5``, ``spatial/``; of
    Visium HD ``binned_outputs/square_016um`` ...), folders that hold one, or a folder of several. Files may
    be gzipped, lie flat, or have GEO's prefixes. ``bin_um`` is the side of the bins of Visium HD, one of
    those that Space Ranger wrote; None for Visium. ``image``, the full-resolution one that it was run on, and
    ``name`` are of a single section; otherwise the image is looked for beside each, and the name is that of
    the folder. ``species`` is that of the tissue; None: that of the genome, where Space Ranger's HDF5 says so.
    Else as for `import_sections`.

    DatasetError: there is nothing to import, an image or name is given for several sections, or pyarrow,
    which Visium HD needs, is not installed.
    """
    if bin_um is not None:
        require_extra("pyarrow", "visium-hd", "Visium HD", DatasetError)
    folders = section_folders(sources, is_visium if bin_um is None else _is_visium_hd)
    if len(folders) > 1 and (image is not None or name is not None):
        raise DatasetError(
            f"--image and --name go with one section; {len(folders)} were found "
            f"({', '.join(list(folders)[:5])}). Import them one by one."
        )
    readers = {}
    for found, folder in folders.items():
        section_id = name or found
        readers[section_id] = partial(_read_section, section_id, folder, image, bin_um, species)
        if settings is None or not settings.overwrite:
            _require_same_pitch(out, section_id, float(bin_um or PITCH_UM))
    return import_sections(readers, out, settings)


def _require_same_pitch(out: Path, section_id: str, pitch_um: float) -> None:
    """Refuse to keep a section of other bins under the name of the one that is asked for."""
    if not (out / TABLES / f"{section_id}.h5ad").is_file():
        return
    has_um = Dataset(out).section(section_id).metadata.get(PITCH_KEY)
    if has_um is not None and has_um != pitch_um:
        raise DatasetError(
            f"{out} holds section {section_id} already, its spots or bins {has_um:g} um apart and not "
            f"{pitch_um:g}; choose another --name or --out, or add --overwrite."
        )


def _is_visium_hd(folder: Path) -> bool:
    return (folder / BINS).is_dir()


def is_visium(folder: Path) -> bool:
    """Whether a folder is what Space Ranger leaves of one Visium section (its ``outs``), or a part of it.

    DatasetError where it holds files of several sections.
    """
    is_bins = BINS in (folder.resolve().name, folder.resolve().parent.name)
    is_other = folder.name == "spatial" or is_bins or _is_visium_hd(folder)
    signs = (SCALE_FACTORS, *POSITIONS, *(f"{name}.h5" for name in COUNTS))
    return not is_other and find(folder, *signs) is not None


def _read_section(
    section_id: str, folder: Path, image: Path | None, bin_um: int | None, species: str | None
) -> NewSection:
    """Read Visium spots, or bins of Visium HD, which lie in a folder of their own."""
    counted = folder
    if bin_um is not None:
        counted = folder / BINS / f"square_{bin_um:03d}um"
        if not counted.is_dir():
            has = ", ".join(sorted(path.name for path in (folder / BINS).glob("square_*")))
            raise DatasetError(
                f"{folder / BINS} has no {counted.name}, only {has or 'nothing'}; choose another --bin."
            )
    table = read_visium(counted)
    image = image or find_image(folder)
    scales = read_scale_factors(required(counted, SCALE_FACTORS))
    facts = image_facts(image)
    if (other := other_size([counted, folder], scales, facts.size_px)) is not None:
        raise DatasetError(
            f"{image} has {facts.size_px[0]} x {facts.size_px[1]} px, but Space Ranger was run on an "
            f"image of about {other} px, to which the positions belong; name that one with --image."
        )
    about: dict[str, Any] = {"st_technology": "Visium HD"}
    stated_um = scales.get("microns_per_pixel", 0.0)
    if bin_um is None:
        about = {"st_technology": "Visium", "chemistry": table.uns.get("chemistry") or None}
        diameter_px = scales.get("spot_diameter_fullres", 0.0)
        stated_um = SCALE_FACTOR_SPOT_UM / diameter_px if diameter_px > 0 else 0.0
    if known := (species or "").strip() or table.uns.get("species"):
        about["species"] = latin_name(known)
    named, findings = with_unique_symbols(under_tissue(table, f"section {section_id}"))
    pitch_um = float(bin_um or PITCH_UM)
    nodes, xy_px = array_positions(named.obs), np.asarray(named.obsm["spatial"], np.float64)
    fit = nodes and fit_lattice(*nodes, xy_px, pitch_um, hexagonal=bin_um is None)
    if fit is None or not fit.misfit < _MISFIT:
        raise DatasetError(
            f"The positions of section {section_id} are too few or do not lie on the array's "
            f"{pitch_um:g} um lattice, so they do not tell the pixel size; check the positions file."
        )
    section = NewSection(
        section_id,
        image,
        named,
        about,
        mpp_um={SCALE_FACTORS: stated_um} if stated_um else {},
        findings=(*findings, *unlike_preview([counted, folder], image)),
    )
    diameter_um = float(bin_um or DIAMETER_UM)
    fitted_um = (fit.mpp_um, fit.per_axis)
    return fitted_section(section, fitted_um, pitch_um=pitch_um, diameter_um=diameter_um)


def read_visium(folder: Path) -> anndata.AnnData:
    """Read counts and positions of one folder of Space Ranger, all spots or bins that were counted.

    ``obs``: ``in_tissue``, ``array_row``, ``array_col``; ``obsm["spatial"]`` (x, y) px. What has no position
    has NaN. DatasetError: the folder is incomplete, damaged or none of Visium.
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
