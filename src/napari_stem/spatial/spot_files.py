"""Spots at given places, from tables: CSV, or any AnnData file with positions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.cells import read_cells
from napari_stem.errors import DatasetError, SpotError
from napari_stem.geometry import Spots
from napari_stem.spatial import table_files
from napari_stem.spatial.checks import outside_image
from napari_stem.spatial.lattice import array_positions
from napari_stem.texts import reason_of

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
        ``.csv`` with columns ``x_px``, ``y_px`` (level-0 px) and, if wanted, ``name``, also with semicolons
        between its cells, and then decimal commas; or ``.h5ad`` with ``obsm["spatial"]`` (x, y in level-0 px),
        of which the obs names are kept, or such a table.
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
        table, name = _from_file(Path(source)), str(source)
    else:
        table, name = table_files.spots_of(source), "The table of spots"
    if table.xy_px is None:
        raise SpotError(
            f'{name} has no obsm["spatial"] of two columns or more, so its spots have no place; add it '
            f"(x, y in px)."
        )
    if not len(table.xy_px):
        raise SpotError(f"{name} lists no spots.")
    _require_on_slide(table.xy_px, size, name)
    pitch_px = pitch_um / np.array([mpp.x_um, mpp.y_um])
    col, row = np.floor(table.xy_px / pitch_px).T.astype(np.int64)
    array_row, array_col = array_positions(table.obs) or (row, col)
    return Spots(
        x_px=table.xy_px[:, 0],
        y_px=table.xy_px[:, 1],
        array_row=array_row,
        array_col=array_col,
        pitch_um=pitch_um,
        diameter_um=pitch_um if table.diameter_px is None else table.diameter_px * mpp.x_um,
        names=tuple(table.names),
        mpp=mpp,
    )


def _from_file(path: Path) -> SpotTable:
    if path.suffix not in (".csv", ".h5ad"):
        raise SpotError(
            f"{path.name} has an ending that is not .csv or .h5ad; give the spots as one of these."
        )
    if not path.is_file():
        raise SpotError(f"There is no spot file {path}; check the path.")
    if path.suffix == ".csv":
        return _from_csv(path)
    try:
        return table_files.read_spots(path)
    except DatasetError as error:
        raise SpotError(str(error)) from error


def _from_csv(path: Path) -> SpotTable:
    import pandas as pd

    try:
        table = read_cells(path, numbers=("x_px", "y_px"))
        missing = [column for column in ("x_px", "y_px") if column not in table.columns]
        if missing:
            raise SpotError(
                f"{path} has no column {' and '.join(missing)}; it needs x_px and y_px (level-0 px)."
            )
        xy_px = table[["x_px", "y_px"]].to_numpy(np.float64)
    except (OSError, ValueError) as error:
        raise SpotError(
            f"{path} cannot be read as a table of spots ({reason_of(error)}); write x_px,y_px in numbers; "
            f"where they have decimal commas, put semicolons between the cells."
        ) from error
    names = [f"spot{i}" for i in range(1, len(xy_px) + 1)]
    if "name" in table.columns:
        if table["name"].isna().any():
            raise SpotError(
                f"{path} leaves a name empty; name every spot, or leave the column out."
            )
        names = list(table["name"])
    return table_files.SpotTable(pd.DataFrame(index=names), xy_px, diameter_px=None)


def _require_on_slide(xy_px: NDArray[np.float64], size: SizePx, name: str) -> None:
    if not np.isfinite(xy_px).all():
        raise SpotError(f"{name} holds positions that are not numbers; remove those rows.")
    outside = outside_image(xy_px, (size.width_px, size.height_px))
    if outside.any():
        raise SpotError(
            f"{int(outside.sum())} of {len(xy_px)} spots of {name} lie off the "
            f"{size.width_px} x {size.height_px} px slide; give positions in level-0 pixels."
        )
