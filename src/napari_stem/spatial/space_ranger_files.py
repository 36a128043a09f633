"""Files that Space Ranger leaves of a section, as they are passed on: gzipped, flat, in part, with prefixes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from napari_stem.cells import read_cells
from napari_stem.errors import DatasetError
from napari_stem.foreign import opened_hdf5
from napari_stem.spatial.gene_sets import ID_COLUMN
from napari_stem.texts import clean_name, read_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import anndata
    import pandas as pd

SCALE_FACTORS = "scalefactors_json.json"
POSITIONS = ("tissue_positions.csv", "tissue_positions_list.csv", "tissue_positions.parquet")
BINS = "binned_outputs"
COUNTS = ("filtered_feature_bc_matrix", "raw_feature_bc_matrix")
_COLUMNS = (
    "barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres",
)  # fmt: skip


def find(folder: Path, *names: str) -> Path | None:
    """Find the first of some files, in a folder or its folder ``spatial``; gzipped, or with a prefix, too.

    Raises
    ------
    DatasetError
        There are several of one name.
    """
    for name in (packed for each in names for packed in (each, f"{each}.gz")):
        found = [path for place in (folder, folder / "spatial") for path in place.glob(f"*{name}")]
        found = sorted(path for path in found if path.is_file() and path.name[0] != ".")
        if len(found) > 1:
            shown = ", ".join(path.name for path in found[:5])
            raise DatasetError(
                f"{folder} holds {len(found)} files {name} ({shown}); put the files of each section into a "
                f"folder of its own."
            )
        if found:
            return found[0]
    return None


def required(folder: Path, *names: str) -> Path:
    """Find a file as `find` does.

    Raises
    ------
    DatasetError
        There is none, or several.
    """
    path = find(folder, *names)
    if path is None:
        raise DatasetError(
            f"{folder} lacks {' or '.join(names)}; copy Space Ranger's output completely, with its folder "
            f"'spatial'."
        )
    return path


def read_counts(folder: Path) -> anndata.AnnData:
    """Read the counts of genes: filtered ones or else those of all spots, HDF5 or Matrix Market.

    Raises
    ------
    DatasetError
        There are none, or a part is missing.
    """
    for name in COUNTS:
        if (path := find(folder, f"{name}.h5")) is not None:
            return _read_hdf5(path)
        for unpacked in folder.glob(f"*{name}"):
            if unpacked.is_dir():
                return _read_matrix_market(unpacked)
    required(folder, *(f"{name}.h5" for name in COUNTS), "matrix.mtx")
    return _read_matrix_market(folder)


def read_positions(folder: Path) -> pd.DataFrame:
    """Read where the spots lie, by barcode, with or without a header: ``in_tissue``, ``array_row`` ...

    Semicolons between the cells, and then decimal commas, are what a spreadsheet may have made of the file.

    Raises
    ------
    DatasetError
        The file is missing.
    """
    import pandas as pd

    path = required(folder, *POSITIONS)
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
    else:
        table = read_cells(path, numbers=_COLUMNS[1:], columns=_COLUMNS)
    table = table.set_index(table["barcode"].map(clean_name))[list(_COLUMNS[1:])]
    if not table.index.is_unique:
        raise DatasetError(f"{path} lists a barcode more than once; copy it again.")
    return table


def _read_hdf5(path: Path) -> anndata.AnnData:
    """Versions 2 (``gene_names``, in a group called like the genome) and 3 (``features``) of 10x's format."""
    with opened_hdf5(path) as file:
        group = file["matrix"] if "matrix" in file else next(iter(file.values()))
        features = group.get("features")
        if features is None:
            ids, names, kinds = group["genes"].asstr()[:], group["gene_names"].asstr()[:], None
        else:
            ids, names, kinds = (features[key].asstr()[:] for key in ("id", "name", "feature_type"))
        parts = tuple(group[part][:] for part in ("data", "indices", "indptr"))
        barcodes = group["barcodes"].asstr()[:]
        counts = csr_matrix(parts, shape=(len(barcodes), len(names)))
        table = _table(counts, barcodes, ids, names, kinds)
        table.uns["chemistry"] = _word(file.attrs.get("chemistry_description"))
    return table


def _word(stored: Any) -> str:
    return stored.decode() if isinstance(stored, bytes) else str(stored or "")


def _read_matrix_market(folder: Path) -> anndata.AnnData:
    from scipy.io import mmread

    counts = csr_matrix(mmread(required(folder, "matrix.mtx")).T)
    features = _rows(required(folder, "features.tsv", "genes.tsv"))
    ids, names = [row[0] for row in features], [row[:2][-1] for row in features]
    kinds = [row[2] for row in features] if all(len(row) > 2 for row in features) else None
    barcodes = [row[0] for row in _rows(required(folder, "barcodes.tsv"))]
    return _table(counts, barcodes, ids, names, kinds)


def _rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in read_text(path).splitlines() if line.strip()]


def _table(
    counts: csr_matrix,
    barcodes: Sequence[str],
    ids: Sequence[str],
    names: Sequence[str],
    kinds: Sequence[str] | None,
) -> anndata.AnnData:
    import anndata
    import pandas as pd

    counts.check_format(full_check=True)
    table = anndata.AnnData(
        X=counts.astype(np.float32),
        obs=pd.DataFrame(index=[clean_name(code) for code in barcodes]),
        var=pd.DataFrame({ID_COLUMN: ids}, index=[clean_name(name) for name in names]),
    )
    # antibodies and probes are counted too
    return table if kinds is None else table[:, np.asarray(kinds) == "Gene Expression"].copy()
