"""Counts measured on a slide, read from whatever they come in, and refused where they are of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import DatasetError
from napari_stem.evaluation.comparison import read_truth
from napari_stem.progress import LOG_OF_FILES
from napari_stem.spatial.dataset import HEIGHT_KEY, METADATA, TABLES, WIDTH_KEY, Section
from napari_stem.spatial.gene_sets import with_symbols
from napari_stem.spatial.table_files import repeats_allowed

if TYPE_CHECKING:
    from pathlib import Path

    import anndata

    from napari_stem.geometry import SizePx
    from napari_stem.slide.base import Slide


def read_measured(path: Path, size: SizePx, slide: Slide | None = None) -> anndata.AnnData:
    """Read raw counts measured on a slide.

    Parameters
    ----------
    path
        A table (``.h5ad``; ``st/ID.h5ad`` of a data set in HEST layout is one), or a folder of Space
        Ranger (Visium), its ``outs`` or the one that holds it.
    size
        Of the slide's level 0, to which positions refer.
    slide
        The slide; that it looks unlike the image which Space Ranger was run on is logged as a warning.

    Raises
    ------
    DatasetError
        It cannot be read, holds no raw counts, or belongs to another image.
    """
    _require_same_size(path, size)
    with repeats_allowed():
        table = _read_visium(path, size, slide) if path.is_dir() else read_truth(path)
    _require_inside(table, size, path)
    return table


def _require_same_size(path: Path, size: SizePx) -> None:
    """Refuse a table in HEST layout whose metadata state another image's size."""
    about = path.parent.parent / METADATA / f"{path.stem}.json"
    if path.parent.name != TABLES or not about.is_file():
        return
    section = Section(path.parent.parent, path.stem)
    stated = [section.metadata.get(key) for key in (WIDTH_KEY, HEIGHT_KEY)]
    if None not in stated and tuple(stated) != (size.width_px, size.height_px):
        raise DatasetError(
            f"{path.name} was measured on an image of {stated[0]} x {stated[1]} px, but this slide has "
            f"{size.width_px} x {size.height_px} px; choose the counts that belong to it."
        )


def _require_inside(truth: anndata.AnnData, size: SizePx, path: Path) -> None:
    """Refuse positions that are none, or that lie off the slide."""
    if "spatial" not in truth.obsm:
        return
    xy_px = np.asarray(truth.obsm["spatial"], dtype=np.float64)
    if xy_px.ndim != 2 or xy_px.shape[1] != 2 or not np.isfinite(xy_px).all():
        raise DatasetError(f'{path} must state a position (x, y) of every spot in obsm["spatial"].')
    outside = ((xy_px < 0) | (xy_px > (size.width_px, size.height_px))).any(axis=1)
    if outside.any():
        raise DatasetError(
            f"{int(outside.sum())} of {len(xy_px)} measured spots of {path.name} lie outside this slide "
            f"of {size.width_px} x {size.height_px} px; choose the counts that belong to it, with "
            f"positions in its level-0 pixels."
        )


def _read_visium(path: Path, size: SizePx, slide: Slide | None) -> anndata.AnnData:
    """Spots under tissue of one Visium folder, refused where it was run on another image."""
    from napari_stem.spatial.space_ranger import (
        other_size,
        read_scale_factors,
        under_tissue,
        unlike_preview,
    )
    from napari_stem.spatial.space_ranger_files import SCALE_FACTORS, required
    from napari_stem.spatial.visium import read_visium, visium_folders

    folder, *others = visium_folders([path]).values()
    if others:
        raise DatasetError(
            f"{path} holds {len(others) + 1} Visium sections; choose the folder of one of them."
        )
    table = read_visium(folder)
    scales = read_scale_factors(required(folder, SCALE_FACTORS))
    if (other := other_size([folder], scales, (size.width_px, size.height_px))) is not None:
        raise DatasetError(
            f"{path} was measured on an image of about {other} px, but this slide has "
            f"{size.width_px} x {size.height_px} px; open the image that Space Ranger was run on."
        )
    for finding in [] if slide is None else unlike_preview([folder], slide):
        LOG_OF_FILES.warning("%s has %s", path, finding)
    return with_symbols(under_tissue(table, str(path)))[0]
