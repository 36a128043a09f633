"""Measured sections on disk, in the layout that HEST-1k and published Stem share.

``FOLDER/wsis/ID.jpg|tif|svs...``, ``FOLDER/st/ID.h5ad``, ``FOLDER/metadata/ID.json``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix, issparse

from napari_stem.errors import DatasetError
from napari_stem.geometry import Mpp, Spots

if TYPE_CHECKING:
    from pathlib import Path

    import anndata
    from numpy.typing import NDArray

SLIDES, TABLES, METADATA = "wsis", "st", "metadata"
MPP_KEY = "pixel_size_um_estimated"
PITCH_KEY = "inter_spot_dist"
DIAMETER_KEY = "spot_diameter"


class Dataset:
    """A folder of measured sections.

    Parameters
    ----------
    folder
        Holds ``wsis``, ``st`` and ``metadata``.

    Raises
    ------
    DatasetError
        The folder, one of its three parts, or every section is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise DatasetError(f"There is no data set folder {folder}; check the path.")
        for part in (SLIDES, TABLES, METADATA):
            if not (folder / part).is_dir():
                raise DatasetError(
                    f"{folder} has no folder '{part}', so it is not a data set in HEST layout; "
                    f"make one with 'napari-stem import'."
                )
        self.sections: tuple[str, ...] = tuple(
            sorted(path.stem for path in (folder / TABLES).glob("*.h5ad"))
        )
        if not self.sections:
            raise DatasetError(f"{folder / TABLES} holds no .h5ad file, so there are no sections.")

    def section(self, section_id: str) -> Section:
        """Return one section, its files not yet read.

        Raises
        ------
        DatasetError
            There is no such section.
        """
        if section_id not in self.sections:
            known = ", ".join(self.sections)
            raise DatasetError(f"{self.folder} has no section '{section_id}'; it has {known}.")
        return Section(self.folder, section_id)


@dataclass(frozen=True)
class Section:
    """One measured slide; each part is read when first asked for, and kept.

    Attributes
    ----------
    folder
        The data set's.
    id
        Name of its files.
    """

    folder: Path
    id: str

    @property
    def slide_path(self) -> Path:
        """The H&E image.

        Raises
        ------
        DatasetError
            There is none, or more than one.
        """
        found = sorted((self.folder / SLIDES).glob(f"{self.id}.*"))
        if len(found) != 1:
            names = ", ".join(path.name for path in found) or "none"
            raise DatasetError(
                f"Section {self.id} needs one image {self.id}.* in {self.folder / SLIDES}; "
                f"found {names}."
            )
        return found[0]

    @property
    def table_path(self) -> Path:
        """The measured counts."""
        return self.folder / TABLES / f"{self.id}.h5ad"

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What the data set says of this section.

        Raises
        ------
        DatasetError
            The file is missing or is no JSON object.
        """
        path = self.folder / METADATA / f"{self.id}.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DatasetError(f"Section {self.id} has no {path}; import it again.") from None
        except (ValueError, OSError) as error:
            raise DatasetError(f"{path} cannot be read as JSON: {error}.") from error
        if not isinstance(content, dict):
            raise DatasetError(f"{path} must hold a JSON object.")
        return content

    @property
    def mpp(self) -> Mpp:
        """Pixel size at level 0.

        Raises
        ------
        DatasetError
            The metadata do not state it, or state nonsense.
        """
        stated = self.metadata.get(MPP_KEY)
        path = self.folder / METADATA / f"{self.id}.json"
        if stated is None:
            raise DatasetError(
                f"{path} does not state '{MPP_KEY}', the pixel size in um; add it to the file."
            )
        try:
            return Mpp.square(float(stated))
        except (TypeError, ValueError):
            raise DatasetError(
                f"{path} states a pixel size of {stated!r} um, which no microscope has; correct it."
            ) from None

    @cached_property
    def counts(self) -> anndata.AnnData:
        """Raw counts, checked: ``X`` (spots, genes) float32 CSR, ``obsm["spatial"]`` (x, y) px.

        Raises
        ------
        DatasetError
            The table is missing, is damaged, or holds what raw counts cannot.
        """
        import anndata

        if not self.table_path.is_file():
            raise DatasetError(f"Section {self.id} has no table {self.table_path}.")
        try:
            table = anndata.read_h5ad(self.table_path)
        except (OSError, KeyError, ValueError) as error:
            raise DatasetError(
                f"{self.table_path} is damaged or is no AnnData file; import it again."
            ) from error
        matrix = table.X if issparse(table.X) else np.asarray(table.X)
        table.X = csr_matrix(matrix, dtype=np.float32)
        _check_counts(table, self.table_path)
        _check_positions(table, self.table_path, self._size_px)
        return table

    def spots(self) -> Spots:
        """Where was measured, in the order of ``counts``.

        Lattice positions come from ``obs["array_row"]`` and ``["array_col"]``; without them, each
        spot takes the nearest node of a square lattice at the section's pitch.
        """
        table = self.counts
        xy_px = np.asarray(table.obsm["spatial"], dtype=np.float64)
        pitch_um = self._pitch_um(xy_px)
        if {"array_row", "array_col"} <= set(table.obs.columns):
            row, col = (table.obs[name].to_numpy() for name in ("array_row", "array_col"))
        else:
            steps = (xy_px - xy_px.min(axis=0)) * self.mpp.x_um / pitch_um
            col, row = np.rint(steps).T
        return Spots(
            x_px=xy_px[:, 0],
            y_px=xy_px[:, 1],
            array_row=row.astype(np.int64),
            array_col=col.astype(np.int64),
            pitch_um=pitch_um,
            diameter_um=self._diameter_um(pitch_um),
            names=tuple(str(name) for name in table.obs_names),
        )

    @property
    def _size_px(self) -> tuple[float, float] | None:
        """(width, height) of level 0 where the metadata state it."""
        sides = (self.metadata.get("fullres_px_width"), self.metadata.get("fullres_px_height"))
        return None if None in sides else (float(sides[0]), float(sides[1]))  # type: ignore[arg-type]

    def _pitch_um(self, xy_px: NDArray[np.float64]) -> float:
        """Stated distance between neighbours, else the median one found."""
        from scipy.spatial import KDTree

        stated = self.metadata.get(PITCH_KEY)
        if stated is not None:
            return float(stated)
        if len(xy_px) < 2:
            raise DatasetError(
                f"Section {self.id} has one spot and no '{PITCH_KEY}' (um) in its metadata; add it."
            )
        nearest_px = KDTree(xy_px).query(xy_px, k=2)[0][:, 1]
        return float(np.median(nearest_px)) * self.mpp.x_um

    def _diameter_um(self, pitch_um: float) -> float:
        """Extent of a spot, from the table's scale factors, else from the metadata."""
        for library in self.counts.uns.get("spatial", {}).values():
            diameter_px = library.get("scalefactors", {}).get("spot_diameter_fullres")
            if diameter_px is not None:
                return float(diameter_px) * self.mpp.x_um
        return float(self.metadata.get(DIAMETER_KEY) or pitch_um)


def _check_counts(table: anndata.AnnData, path: Path) -> None:
    """Refuse what raw counts cannot be."""
    values = table.X.data
    if table.n_obs == 0 or table.n_vars == 0:
        raise DatasetError(f"{path} holds no spots or no genes.")
    if not np.isfinite(values).all():
        raise DatasetError(f"{path} holds counts that are not numbers; remove those spots.")
    if (values < 0).any():
        raise DatasetError(f"{path} holds negative counts; X must be raw counts.")
    if (values != np.rint(values)).any():
        raise DatasetError(f"{path} holds fractions; X must be raw counts, not normalised values.")
    if not table.var_names.is_unique:
        repeated = table.var_names[table.var_names.duplicated()][0]
        raise DatasetError(f"{path} names gene {repeated} more than once; keep one of them.")


def _check_positions(
    table: anndata.AnnData, path: Path, size_px: tuple[float, float] | None
) -> None:
    """Refuse spots that repeat or lie nowhere on the slide."""
    if not table.obs_names.is_unique:
        repeated = table.obs_names[table.obs_names.duplicated()][0]
        raise DatasetError(f"{path} names spot {repeated} more than once; keep one of them.")
    if "spatial" not in table.obsm:
        raise DatasetError(f'{path} has no obsm["spatial"], so its spots have no place.')
    xy_px = np.asarray(table.obsm["spatial"])
    if xy_px.ndim != 2 or xy_px.shape[1] != 2:
        raise DatasetError(f'obsm["spatial"] of {path} must have two columns, x and y in px.')
    if not np.isfinite(xy_px).all():
        raise DatasetError(f"{path} holds positions that are not numbers; remove those spots.")
    if len(np.unique(xy_px, axis=0)) != len(xy_px):
        raise DatasetError(f"{path} has two spots at one place; keep one of them.")
    if size_px is not None and ((xy_px < 0).any() or (xy_px > size_px).any()):
        outside = int(((xy_px < 0) | (xy_px > size_px)).any(axis=1).sum())
        raise DatasetError(
            f"{outside} spots of {path} lie outside the {size_px[0]:g} x {size_px[1]:g} px image; "
            f"the positions belong to another image or scale."
        )
