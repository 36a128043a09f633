"""Spots at given places, from tables: CSV, or any AnnData file with positions."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import DatasetError, SpotError
from napari_stem.geometry import Spots
from napari_stem.spatial import table_files
from napari_stem.spatial.lattice import array_positions
from napari_stem.texts import clean_name, read_text, reason_of

if TYPE_CHECKING:
    import anndata
    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp, SizePx
    from napari_stem.spatial.table_files import SpotTable


def read_spots(
    source: anndata.AnnData | str | Path, size: SizePx, mpp: Mpp, pitch_um: float
) -> Spots:
    """Read where to predict.

    Parameters
    ----------
    source
        ``.csv`` with columns ``x_px``, ``y_px`` (level-0 px) and, if wanted, ``name``; or ``.h5ad``
        with ``obsm["spatial"]`` (x, y in level-0 px), of which the obs names are kept, or such a table.
    size, mpp
        Of the slide, level 0.
    pitch_um
        Distance between spots, and their diameter where the file states none.

    Raises
    ------
    SpotError
        The file cannot be read or used, or a spot lies off the slide.
    """
    if isinstance(source, (str, Path)):
        xy_px, names, about = _from_file(Path(source))
        source_name = str(source)
    else:
        source_name = "The table of spots"
        xy_px, names, about = _from_table(table_files.spots_of(source), source_name)
    if not len(xy_px):
        msg = f"{source_name} lists no spots."
        raise SpotError(msg)
    _require_on_slide(xy_px, size, source_name)
    pitch_px = pitch_um / np.array([mpp.x_um, mpp.y_um])
    col, row = np.floor(xy_px / pitch_px).T
    return Spots(
        x_px=xy_px[:, 0],
        y_px=xy_px[:, 1],
        array_row=np.asarray(about.get("array_row", row)).astype(np.int64),
        array_col=np.asarray(about.get("array_col", col)).astype(np.int64),
        pitch_um=pitch_um,
        diameter_um=about["diameter_px"] * mpp.x_um if "diameter_px" in about else pitch_um,
        names=names,
        mpp=mpp,
    )


_Read = tuple["NDArray[np.float64]", tuple[str, ...], dict[str, Any]]


def _from_file(path: Path) -> _Read:
    if path.suffix not in (".csv", ".h5ad"):
        msg = (
            f"{path.name} has an ending that is not .csv or .h5ad; give the spots as one of these."
        )
        raise SpotError(msg)
    if not path.is_file():
        msg = f"There is no spot file {path}; check the path."
        raise SpotError(msg)
    return _from_csv(path) if path.suffix == ".csv" else _from_h5ad(path)


def _from_csv(path: Path) -> _Read:
    import pandas as pd

    try:
        table = pd.read_csv(
            io.StringIO(read_text(path)), dtype={"name": str}, skipinitialspace=True
        )
        table.columns = [clean_name(column) for column in table.columns]
        missing = [column for column in ("x_px", "y_px") if column not in table.columns]
        if missing:
            msg = f"{path} has no column {' and '.join(missing)}; it needs x_px and y_px (level-0 px)."
            raise SpotError(msg)
        xy_px = table[["x_px", "y_px"]].to_numpy(dtype=np.float64)
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read as a table of spots ({reason_of(error)}); write x_px,y_px in numbers."
        raise SpotError(msg) from error
    if "name" in table.columns:
        if table["name"].isna().any():
            msg = f"{path} leaves a name empty; name every spot, or leave the column out."
            raise SpotError(msg)
        return xy_px, tuple(table["name"]), {}
    return xy_px, tuple(f"spot{i}" for i in range(1, len(xy_px) + 1)), {}


def _from_h5ad(path: Path) -> _Read:
    try:
        return _from_table(table_files.read_spots(path), str(path))
    except DatasetError as error:
        raise SpotError(str(error)) from error


def _from_table(table: SpotTable, name: str) -> _Read:
    if table.xy_px is None:
        msg = (
            f'{name} has no obsm["spatial"] of two columns or more, so its spots have no place; add it '
            f"(x, y in px)."
        )
        raise SpotError(msg)
    about: dict[str, Any] = {}
    if (nodes := array_positions(table.obs)) is not None:
        about = dict(zip(("array_row", "array_col"), nodes, strict=True))
    if table.diameter_px is not None:
        about["diameter_px"] = table.diameter_px
    return table.xy_px, tuple(table.names), about


def _require_on_slide(xy_px: NDArray[np.float64], size: SizePx, name: str) -> None:
    if not np.isfinite(xy_px).all():
        msg = f"{name} holds positions that are not numbers; remove those rows."
        raise SpotError(msg)
    outside = ((xy_px < 0) | (xy_px > (size.width_px, size.height_px))).any(axis=1)
    if outside.any():
        msg = (
            f"{int(outside.sum())} of {len(xy_px)} spots of {name} lie off the "
            f"{size.width_px} x {size.height_px} px slide; give positions in level-0 pixels."
        )
        raise SpotError(msg)
