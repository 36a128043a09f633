"""A stranger's table of spots (AnnData, ``.h5ad``), whichever way its counts and places are stored.

Read piece by piece: names and places never cost the counts. All ways in go through here, so that what one
of them takes, the others take too; each raises a DatasetError where the file is missing, damaged or no AnnData
file.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from napari_stem.cells import read_cells
from napari_stem.errors import DatasetError, SpotError
from napari_stem.foreign import elements_known, opened_hdf5, read_h5ad, require_own_zarr
from napari_stem.io import DAMAGE
from napari_stem.spatial.checks import outside_image
from napari_stem.spatial.lattice import (
    mpp_from_spacing_um,
    nearest_distance_px,
    spots_at,
    stated_diameter_px,
)
from napari_stem.texts import clean_name, quoted, reason_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import anndata
    import pandas as pd
    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp, SizePx, Spots


_log = logging.getLogger(__name__)
_VALUES_PER_BLOCK = 4_000_000  # 32 MB of values and column numbers
_PROBED_VALUES = 100_000  # normalised counts show a fraction among the first few
_COUNT_LAYERS = ("counts", "raw_counts", "count", "raw", "umi", "UMI")


@dataclass(frozen=True)
class SpotTable:
    """The n spots of a table without their counts: names and annotations (``obs``), and places.

    ``xy_px`` are (n, 2) float64 in level-0 px; None where the table has none that can be used.
    ``diameter_px`` is the extent of a spot, where the scale factors state it.
    """

    obs: pd.DataFrame
    xy_px: NDArray[np.float64] | None
    diameter_px: float | None

    @property
    def names(self) -> list[str]:
        """Of the spots."""
        return [str(name) for name in self.obs.index]


def read_table(path: Path) -> anndata.AnnData:
    """Read counts, names, places and scale factors, as any version of anndata wrote them.

    Counts are taken from ``X``; where that holds something else, from ``layers`` or ``raw`` if counts are
    there, which is logged. Returns ``X`` (spots, genes) float32 CSR, genes named as by `clean_name`,
    ``obsm["spatial"]`` as of `places_px` if there are any, ``uns["spatial"]`` the libraries alone.
    """
    import anndata

    with _opened(path) as file, repeats_allowed():
        place, genes = _counts(file)
        spots, matrix = _spots(file), _matrix(file[place])
        counts = _sound(matrix.to_memory() if hasattr(matrix, "to_memory") else matrix[:])
        table = anndata.AnnData(X=counts, obs=spots.obs, var=_frame(file[genes]))
        if place != "X":
            _log.warning("%s holds no raw counts in X; those in %s are used.", path, place)
        table.var_names = [clean_name(gene) for gene in table.var_names]
        if spots.xy_px is not None:
            table.obsm["spatial"] = spots.xy_px
        table.uns["spatial"] = _libraries(file)
    return table


def read_as_stored(path: Path) -> anndata.AnnData:
    """Read the whole of a table, ``.h5ad`` or ``.zarr``, as it is."""
    import anndata

    with _damage_named(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old layouts, and repeated names
        is_zarr = path.is_dir()
        if is_zarr:
            require_own_zarr(path)
        table = anndata.read_zarr(path) if is_zarr else read_h5ad(path)
        _require_sound(table.X)
        return table


def read_spot_table(path: Path) -> SpotTable:
    """Read names, annotations and places of the spots."""
    with _opened(path) as file:
        return _spots(file)


def spots_of(table: anndata.AnnData) -> SpotTable:
    """Names, annotations and places of the spots of a table in memory."""
    stored = table.obsm.get("spatial")
    xy_px = None if stored is None else places_px(stored, "The table of spots")
    return SpotTable(table.obs, xy_px, stated_diameter_px(table.uns))


def read_genes(path: Path) -> list[str]:
    """Read the gene names, in the order of the columns."""
    with _opened(path) as file:
        return [clean_name(gene) for gene in _frame(file[_counts(file)[1]]).index]


def row_blocks(path: Path) -> Iterator[csr_matrix]:
    """Yield the counts, (rows, genes) CSR, a few megabytes at a time, in order.

    A table stored by column (CSC) comes in one piece: its rows lie scattered over the file.
    """
    with _opened(path) as file:
        stored = file[_counts(file)[0]]
        matrix = _matrix(stored)
        if getattr(matrix, "format", "csr") == "csc":
            yield _sound(matrix.to_memory())
            return
        n_spots = matrix.shape[0]
        step = max(1, _VALUES_PER_BLOCK * n_spots // max(_values(stored).size, 1))
        for start in range(0, n_spots, step):
            yield _sound(matrix[start : start + step])


def library_sizes(blocks: Iterable[Any]) -> NDArray[np.float64]:
    """(n,) counts of all genes together, per spot, of a table's (rows, genes) pieces in order."""
    totals = [np.asarray(block.sum(axis=1)).ravel() for block in blocks]
    return np.concatenate(totals, dtype=np.float64)


def places_px(stored: Any, name: str) -> NDArray[np.float64] | None:
    """Read ``obsm["spatial"]``, x, y (level-0 px) and perhaps more, which is left out: (n, 2) float64.

    None where it cannot be read so, an array or a table.
    """
    columns = {str(column).lower(): column for column in getattr(stored, "columns", ())}
    if {"x", "y"} <= columns.keys():
        stored = stored[[columns["x"], columns["y"]]]
    try:
        xy = np.asarray(stored, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    if xy.ndim != 2 or xy.shape[1] < 2:
        return None
    if xy.shape[1] > 2:
        _log.warning(
            '%s has %d columns in obsm["spatial"]; the first two are taken for x and y.',
            name,
            xy.shape[1],
        )
    return xy[:, :2]


def _spots(file: Any) -> SpotTable:
    from anndata.io import read_elem

    places = file.get("obsm/spatial")
    xy_px = None if places is None else places_px(read_elem(places), file.filename)
    obs = _frame(file["obs"])
    return SpotTable(obs, xy_px, stated_diameter_px({"spatial": _libraries(file)}))


def _frame(stored: Any) -> pd.DataFrame:
    from anndata.io import read_elem

    frame: pd.DataFrame = read_elem(stored)
    frame.index = frame.index.astype(str)
    return frame


def _libraries(file: Any) -> dict[str, Any]:
    """Scale factors by library; spatialdata keeps flags beside the libraries, others a word or an array."""
    from anndata.io import read_elem

    stored = file.get("uns/spatial", {})
    return {
        name: {"images": {}, "scalefactors": read_elem(stored[name]["scalefactors"])}
        for name in _keys(stored)
        if "scalefactors" in _keys(stored[name])
    }


def _counts(file: Any) -> tuple[str, str]:
    """Find where the counts are, and where their genes are named."""
    places = {"X": "var", **{f"layers/{name}": "var" for name in _COUNT_LAYERS}, "raw/X": "raw/var"}
    there = [place for place in places if place in file]
    found = next((place for place in there if _may_be_counts(file[place])), (*there, "X")[0])
    return found, places[found]


def _may_be_counts(stored: Any) -> bool:
    """Whether the first values are whole and not negative; what is not finite is for the checks to tell."""
    values = _values(stored)
    rows = max(1, _PROBED_VALUES // max(1, int(np.prod(values.shape[1:]))))
    first = np.asarray(values[:rows])
    first = first[np.isfinite(first)]
    return bool((first >= 0).all() and (first == np.rint(first)).all())


def _matrix(stored: Any) -> Any:
    """Array or sparse matrix on disk, to be sliced by row."""
    from anndata.io import sparse_dataset

    return sparse_dataset(stored) if _keys(stored) else stored


def _values(stored: Any) -> Any:
    """Values of a matrix on disk: all of an array, those not 0 of a sparse one."""
    return stored["data"] if _keys(stored) else stored


def _sound(matrix: Any) -> csr_matrix:
    _require_sound(matrix)
    return csr_matrix(matrix, dtype=np.float32)


def _require_sound(matrix: Any) -> None:
    """Refuse row and column numbers that lie beside a sparse matrix: scipy would use memory of others."""
    if hasattr(matrix, "check_format"):
        matrix.check_format(full_check=True)


def _keys(stored: Any) -> tuple[str, ...]:
    """Names in a group; none of an array."""
    return tuple(stored.keys()) if hasattr(stored, "keys") else ()


@contextmanager
def repeats_allowed() -> Iterator[None]:
    """Silence anndata about repeated names: the checks report them, with their number."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*names are not unique", UserWarning)
        yield


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a table; one from before anndata 0.7 is written anew in memory."""
    import anndata
    import h5py

    if path.is_dir():
        raise DatasetError(f"{path} is a folder, not an .h5ad file; name the file.")
    with _damage_named(path), opened_hdf5(path) as file:
        if not isinstance(file["obs"], h5py.Dataset):
            yield file
            return
        table = read_as_stored(path)
        with h5py.File(path, "w", driver="core", backing_store=False) as renewed:
            anndata.io.write_elem(renewed, "/", table)
            yield renewed


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn whatever reading raises into one sentence."""
    if not path.exists():
        raise DatasetError(f"There is no table {path}; check the path, or put it there.")
    try:
        with elements_known():
            yield
    except DAMAGE as error:
        raise DatasetError(
            f"{path} is damaged or is no AnnData file ({reason_of(error)}); write or copy it again."
        ) from error


CLOSER = 0.8  # of the pitch asked for; neighbours of hand-made arrays stray


def read_spots(
    source: anndata.AnnData | str | Path, size: SizePx, mpp: Mpp, pitch_um: float
) -> Spots:
    """Read where to predict, from a file or a table with ``obsm["spatial"]`` (x, y in level-0 px).

    Of an ``.h5ad``, or such a table, the obs names are kept. A ``.csv`` has columns ``x_px``, ``y_px``
    (level-0 px) and, if wanted, ``name``, also with semicolons between its cells, and then decimal commas.
    ``size`` and ``mpp`` are of the slide's level 0. ``pitch_um`` is the distance between spots, unless they
    are seen to lie closer, and their diameter where the file states none.

    SpotError: the file cannot be read or used, or a spot lies off the slide.
    """
    if isinstance(source, (str, Path)):
        table, name = _from_file(Path(source)), str(source)
    else:
        table, name = spots_of(source), "The table of spots"
    if table.xy_px is None:
        raise SpotError(
            f'{name} has no obsm["spatial"] of two columns or more, so its spots have no place; add it '
            f"(x, y in px)."
        )
    if not len(table.xy_px):
        raise SpotError(f"{name} lists no spots.")
    if not np.isfinite(table.xy_px).all():
        raise SpotError(f"{name} holds positions that are not numbers; remove those rows.")
    again = table.obs.index[table.obs.index.duplicated()]
    if len(again):
        raise SpotError(
            f"Spot names of {name} repeat, such as {quoted(again[0])}; give every spot a name of its own."
        )
    outside = outside_image(table.xy_px, (size.width_px, size.height_px))
    if outside.any():
        raise SpotError(
            f"{int(outside.sum())} of {len(table.xy_px)} spots of {name} lie off the "
            f"{size.width_px} x {size.height_px} px slide; give positions in level-0 pixels."
        )
    xy_um = table.xy_px * (mpp.x_um, mpp.y_um)
    step_um = pitch_um / (mpp_from_spacing_um(table.obs, xy_um, pitch_um) or 1.0)
    # of a lattice that was thinned out, the nearest spots are further apart than its step
    apart_um = max(step_um, nearest_distance_px(xy_um) or 0.0)
    own_um = round(apart_um, 1) if apart_um < CLOSER * pitch_um else pitch_um
    return spots_at(
        table.xy_px,
        table.names,
        mpp,
        pitch_um=own_um or pitch_um,
        diameter_um=pitch_um if table.diameter_px is None else table.diameter_px * mpp.x_um,
        obs=table.obs,
    )


def _from_file(path: Path) -> SpotTable:
    ending = path.suffix.lower()
    if ending not in (".csv", ".h5ad"):
        raise SpotError(
            f"{path.name} has an ending that is not .csv or .h5ad; give the spots as one of these."
        )
    if not path.is_file():
        raise SpotError(f"There is no spot file {path}; check the path.")
    if ending == ".csv":
        return _from_csv(path)
    try:
        return read_spot_table(path)
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
    return SpotTable(pd.DataFrame(index=names), xy_px, diameter_px=None)
