"""Folders as Space Ranger writes them, made of a real section's counts and pixels.

The 10x HDF5 format is that of 10x's page "Feature-barcode matrices (HDF5)": a group ``matrix`` with a
CSC matrix of features by barcodes. Counts and image are those of a HER2ST section; the barcodes'
positions are laid over the image as the arrays of 10x lie.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import csc_matrix, csr_matrix

if TYPE_CHECKING:
    from pathlib import Path

    import anndata
    from numpy.typing import NDArray

HIRES_PX = 500  # of the longer side; Space Ranger's is 2000


@dataclass
class Run:
    """What went into a folder, to be compared with what comes out."""

    folder: Path
    image: Path
    counts: NDArray[np.float32]  # (spots, genes) under tissue
    genes: list[str]
    barcodes: list[str]
    xy_px: NDArray[np.int64]
    mpp_um: float


def barcodes(n: int) -> list[str]:
    letters = np.array(list("ACGT"))
    return ["".join(letters[(i >> np.arange(0, 32, 2)) & 3]) + "-1" for i in range(n)]


def write_10x_h5(path: Path, counts: csr_matrix, genes: list[str], names: list[str]) -> None:
    matrix = csc_matrix(counts.T.astype(np.int32))
    with h5py.File(path, "w") as file:
        file.attrs["library_ids"] = np.array([b"a-library"])
        file.attrs["chemistry_description"] = "Spatial 3' v1"
        group = file.create_group("matrix")
        group["barcodes"] = np.array(names, dtype="S")
        group["data"], group["indices"] = matrix.data, matrix.indices.astype(np.int64)
        group["indptr"] = matrix.indptr.astype(np.int64)
        group["shape"] = np.array(matrix.shape, dtype=np.int32)
        features = group.create_group("features")
        features["id"] = np.array([f"ENSG{i:011d}" for i in range(len(genes))], dtype="S")
        features["name"] = np.array(genes, dtype="S")
        features["feature_type"] = np.array(["Gene Expression"] * len(genes), dtype="S")
        features["genome"] = np.array(["GRCh38"] * len(genes), dtype="S")
        features["_all_tag_keys"] = np.array([b"genome"])


@cache
def previews(image: Path) -> tuple[float, dict[str, bytes]]:
    """Reduced images as PNG, by name, and the scale of the larger one."""
    found = {}
    with Image.open(image) as full:
        scale = HIRES_PX / max(full.size)
        for name, factor in (("hires", scale), ("lowres", scale * 0.3)):
            size, png = tuple(round(side * factor) for side in full.size), BytesIO()
            full.resize(size).save(png, "PNG")
            found[f"tissue_{name}_image.png"] = png.getvalue()
    return scale, found


def write_images(folder: Path, image: Path) -> float:
    """Reduced images; returns the scale of the larger one."""
    scale, found = previews(image)
    for name, png in found.items():
        (folder / name).write_bytes(png)
    return scale


def visium_run(
    folder: Path, image: Path, table: anndata.AnnData, *, version: int = 2, mpp_um: float = 2.75
) -> Run:
    """An ``outs`` folder; every node of a hexagonal lattice that has counts is under tissue.

    ``version``: 1 writes positions without header as ``tissue_positions_list.csv``, 2 and 3 with one
    as ``tissue_positions.csv``.
    """
    spatial = folder / "spatial"
    spatial.mkdir(parents=True)
    rows, cols = np.mgrid[0:16, 0:28]
    on_lattice = (rows + cols) % 2 == 0
    row, col = rows[on_lattice], cols[on_lattice]
    x_px = np.rint(300 + col * 50 / mpp_um).astype(int)
    y_px = np.rint(350 + row * 50 * np.sqrt(3) / mpp_um).astype(int)
    names = barcodes(len(row))
    n = min(table.n_obs, len(row) - 20)
    under = np.sort(np.random.default_rng(1).permutation(len(row))[:n])
    counts = csr_matrix(table.X[:n])
    genes = list(table.var_names)
    counted = [names[i] for i in under]
    write_10x_h5(folder / "filtered_feature_bc_matrix.h5", counts, genes, counted)
    in_tissue = np.isin(np.arange(len(row)), under).astype(int)
    positions = pd.DataFrame(
        {
            "barcode": names,
            "in_tissue": in_tissue,
            "array_row": row,
            "array_col": col,
            "pxl_row_in_fullres": y_px,
            "pxl_col_in_fullres": x_px,
        }
    )
    name = "tissue_positions_list.csv" if version == 1 else "tissue_positions.csv"
    positions.to_csv(spatial / name, index=False, header=version > 1)
    scales = {
        "spot_diameter_fullres": 65 / mpp_um,
        "fiducial_diameter_fullres": 105 / mpp_um,
        "tissue_hires_scalef": write_images(spatial, image),
        "tissue_lowres_scalef": 0.3 * HIRES_PX / 2484,
    }
    (spatial / "scalefactors_json.json").write_text(json.dumps(scales))
    xy_px = np.column_stack([x_px, y_px])[under]
    return Run(folder, image, counts.toarray(), genes, counted, xy_px, mpp_um)


def visium_hd_run(
    folder: Path, image: Path, table: anndata.AnnData, *, bin_um: int = 16, prefix: str = ""
) -> Run:
    """An ``outs`` folder with one bin size, a hundred of its bins under tissue."""
    binned = folder / "binned_outputs" / f"square_{bin_um:03d}um"
    spatial = binned / "spatial"
    spatial.mkdir(parents=True)
    mpp_um, n = 2.0, 100
    row, col = (each.ravel() for each in np.mgrid[0:15, 0:12])
    names = [f"s_{bin_um:03d}um_{r:05d}_{c:05d}-1" for r, c in zip(row, col, strict=True)]
    x_px, y_px = (300.5 + each * bin_um / mpp_um for each in (col, row))
    under = np.arange(10, 10 + n)
    counts = csr_matrix(table.X[:n])
    genes, counted = list(table.var_names), [names[i] for i in under]
    write_10x_h5(binned / "filtered_feature_bc_matrix.h5", counts, genes, counted)
    pd.DataFrame(
        {
            "barcode": names,
            "in_tissue": np.isin(np.arange(len(row)), under).astype(int),
            "array_row": row,
            "array_col": col,
            "pxl_row_in_fullres": y_px,
            "pxl_col_in_fullres": x_px,
        }
    ).to_parquet(spatial / "tissue_positions.parquet")
    scales = {
        "spot_diameter_fullres": bin_um / mpp_um,
        "bin_size_um": float(bin_um),
        "microns_per_pixel": mpp_um,
        "tissue_hires_scalef": write_images(spatial, image),
        "tissue_lowres_scalef": 0.3 * HIRES_PX / 2484,
    }
    (spatial / "scalefactors_json.json").write_text(json.dumps(scales))
    with h5py.File(folder / f"{prefix}feature_slice.h5", "w") as file:
        layout = json.dumps({"file_format": "1.0", "transform": []})
        file.attrs["metadata_json"] = json.dumps({"hd_layout_json": layout})
    xy_px = np.column_stack([x_px, y_px])[under]
    return Run(folder, image, counts.toarray(), genes, counted, xy_px, mpp_um)
