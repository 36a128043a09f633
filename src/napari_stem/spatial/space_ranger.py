"""What Visium and Visium HD folders of Space Ranger share: files, image, pixel size."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import DatasetError
from napari_stem.foreign import read_json
from napari_stem.io import DAMAGE
from napari_stem.spatial.gene_sets import with_symbols
from napari_stem.spatial.images import IMAGE_ENDINGS, image_facts
from napari_stem.spatial.importing import fitted_section
from napari_stem.spatial.lattice import array_positions, fit_lattice
from napari_stem.spatial.space_ranger_files import POSITIONS, find
from napari_stem.texts import read_text, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import anndata

    from napari_stem.spatial.importing import NewSection

# What h5py, scipy and pandas raise on folders that are not as Space Ranger writes them.
READER_ERRORS = (*DAMAGE, AssertionError, StopIteration, zlib.error)
# Rounding of positions to whole px leaves less than this, in pitches.
_MISFIT = 0.1
# The same picture, reduced: off by the rounding of its sides, not by more.
_SIZE_TOLERANCE = 0.01
_NOT_FULL_SIZE = ("hires", "lowres", "aligned", "detected", "cytassist", "thumbnail", "fiducials")


def section_folders(sources: Sequence[Path], is_one: Callable[[Path], bool]) -> dict[str, Path]:
    """Find Space Ranger folders: each source itself, its ``outs``, or the folders in it.

    Returns
    -------
    Folder by section; a section is called like the folder, or like the run whose ``outs`` it is.

    Raises
    ------
    DatasetError
        A source holds none, or two would have one name.
    """
    found: dict[str, Path] = {}
    for source in sources:
        if not source.is_dir():
            raise DatasetError(f"There is no folder {source}; check the path.")
        children = sorted(path for path in source.iterdir() if path.is_dir())
        candidates = [source, source / "outs"]
        here = [path for path in candidates if is_one(path)][:1] or [
            path for child in children for path in (child, child / "outs") if is_one(path)
        ]
        if not here:
            raise DatasetError(
                f"{source} holds no Space Ranger output of this kind, neither there nor in a folder "
                f"'outs'; name the folder that has the folder 'spatial' with {POSITIONS[1]}, or "
                f"'binned_outputs'."
            )
        for folder in here:
            full = folder.resolve()
            name = full.parent.name if full.name == "outs" else full.name
            if name in found:
                raise DatasetError(
                    f"Both {found[name]} and {folder} would be section {name}; rename a folder."
                )
            found[name] = folder
    return found


def find_image(folder: Path) -> Path:
    """Find the full-resolution image beside Space Ranger's output.

    Raises
    ------
    DatasetError
        There is none, or more than one that it may be.
    """
    places = [folder / "microscope_image", folder, folder / "spatial", folder.parent]
    for place in places:
        if not place.is_dir():
            continue
        images = [
            path
            for path in sorted(place.iterdir())
            if path.suffix.lower() in IMAGE_ENDINGS
            and not any(word in path.name.lower() for word in _NOT_FULL_SIZE)
        ]
        if len(images) == 1:
            return images[0]
        if images:
            names = ", ".join(path.name for path in images[:5])
            raise DatasetError(
                f"{place} holds {len(images)} images ({names}); say which with --image."
            )
    raise DatasetError(
        f"There is no full-resolution image in {folder} or beside it, and Space Ranger's own are "
        f"reduced; name the one it was run on with --image."
    )


def read_scale_factors(path: Path) -> dict[str, float]:
    """Read ``scalefactors_json.json``.

    Raises
    ------
    DatasetError
        It is missing, damaged, or lacks the factor of the high-resolution image.
    """
    try:
        content = read_json(read_text(path))
        return {str(name): float(value) for name, value in content.items() if value is not None}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{path} cannot be read as scale factors ({reason_of(error)}); copy Space Ranger's folder again."
        ) from error


def other_size(
    folders: Sequence[Path], scales: Mapping[str, float], size_px: tuple[float, float]
) -> str | None:
    """Extent (width x height) of the image that Space Ranger was run on, if it is not the given one.

    Parameters
    ----------
    folders
        Where its reduced images may lie; without one nothing is said, as they serve for checks alone.
    scales
        As of `read_scale_factors`: px of a reduced image per px of the image it was run on.
    size_px
        Width and height of the image at hand.
    """
    for name in ("hires", "lowres"):
        scale = scales.get(f"tissue_{name}_scalef")
        for path in (find(folder, f"tissue_{name}_image.png") for folder in folders):
            if path is None or path.suffix != ".png" or not scale:
                continue
            expected = tuple(side / scale for side in image_facts(path).size_px)
            slack = [max(_SIZE_TOLERANCE * side, 2 / scale) for side in expected]
            off = [abs(a - b) for a, b in zip(expected, size_px, strict=True)]
            fits = all(o <= s for o, s in zip(off, slack, strict=True))
            return None if fits else f"{expected[0]:.0f} x {expected[1]:.0f}"
    return None


def new_section(
    section_id: str,
    image: Path,
    table: anndata.AnnData,
    *,
    pitch_um: float,
    diameter_um: float,
    hexagonal: bool,
    metadata: dict[str, Any],
    mpp_um: dict[str, float],
) -> NewSection:
    """Turn what a reader gave into a section: spots under tissue, symbols, pixel size by pitch.

    Parameters
    ----------
    section_id, image
        Name, and full-resolution image.
    table
        Counts with ``obsm["spatial"]`` (x, y in px of that image), ``obs["array_row"]``,
        ``["array_col"]`` and ``["in_tissue"]``.
    pitch_um, diameter_um, hexagonal
        Of the array.
    metadata
        What else is known.
    mpp_um
        Other statements of the pixel size, by who makes them.

    Raises
    ------
    DatasetError
        No spot is under tissue, or the positions are not those of this array.
    """
    named, findings = with_symbols(under_tissue(table, f"section {section_id}"))
    nodes = array_positions(named.obs)
    xy_px = np.asarray(named.obsm["spatial"], dtype=np.float64)
    fit = None if nodes is None else fit_lattice(*nodes, xy_px, pitch_um, hexagonal=hexagonal)
    if fit is None or not fit.misfit < _MISFIT:
        raise DatasetError(
            f"The positions of section {section_id} are too few or do not lie on the array's "
            f"{pitch_um:g} um lattice, so they do not tell the pixel size; check the positions file."
        )
    return fitted_section(
        section_id,
        image,
        named,
        metadata,
        fitted_um=(fit.mpp_um, fit.per_axis),
        pitch_um=pitch_um,
        diameter_um=diameter_um,
        mpp_um=mpp_um,
        findings=findings,
    )


def under_tissue(table: anndata.AnnData, name: str) -> anndata.AnnData:
    """Spots of a table that Space Ranger found under tissue.

    Raises
    ------
    DatasetError
        There are none.
    """
    in_tissue = table.obs["in_tissue"].fillna(0).astype(int).to_numpy() == 1
    if not in_tissue.any():
        raise DatasetError(
            f"No spot of {name} is under tissue, or none of the counted ones has a "
            f"position; the files belong to different runs."
        )
    return table[in_tissue].copy()
