"""Import of the HER2-positive breast cancer data set as its authors publish it.

Andersson et al. 2021, Nature Communications 12, 6012; Zenodo record 4751624, CC BY 4.0. Spots of
the original Spatial Transcriptomics array: 100 um wide on a 200 um pitch.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import DatasetError
from napari_stem.spatial.dataset import DIAMETER_KEY, METADATA, MPP_KEY, PITCH_KEY, SLIDES, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import anndata
    import pandas as pd

    from napari_stem.slide.base import Progress

PITCH_UM = 200.0
DIAMETER_UM = 100.0
CITATION = "Andersson et al. 2021, Nature Communications 12, 6012; Zenodo record 4751624"
LICENCE = "CC BY 4.0"

_SELECTION = "_selection.tsv"
_SELECTION_COLUMNS = {"x", "y", "new_x", "new_y", "pixel_x", "pixel_y"}
_COUNT_ENDINGS = (".tsv.gz", ".tsv")
_IMAGE_ENDINGS = (".jpg", ".jpeg", ".tif", ".tiff", ".png")


@dataclass(frozen=True)
class _Files:
    """The three published files of one section."""

    id: str
    counts: Path
    selection: Path
    image: Path


def import_her2st(source: Path, out: Path, *, progress: Progress | None = None) -> list[str]:
    """Write the sections found in ``source`` as a data set in HEST layout.

    Parameters
    ----------
    source
        One flat folder (``ID.jpg``, ``ID.tsv.gz``, ``ID_selection.tsv``) or the published tree
        (``ST-imgs/PATIENT/ID/*.jpg``, ``ST-cnts/ID.tsv.gz``, ``ST-spotfiles/ID_selection.tsv``).
    out
        Data set folder; sections of the same name are replaced, others stay.
    progress
        Told (section, done, in all).

    Returns
    -------
    Names of the imported sections, sorted.

    Raises
    ------
    DatasetError
        Nothing to import, a file missing, or a table that is not as published.
    """
    sections = sorted(_find_sections(source), key=lambda files: files.id)
    if not sections:
        raise DatasetError(
            f"{source} holds no HER2ST section: no file ends in {_SELECTION}, neither there nor in "
            f"its ST-spotfiles folder."
        )
    for done, files in enumerate(sections):
        if progress is not None:
            progress(f"importing {files.id}", done, len(sections))
        _import_section(files, out)
    if progress is not None:
        progress("imported", len(sections), len(sections))
    return [files.id for files in sections]


def _find_sections(source: Path) -> Iterator[_Files]:
    """Find the files of every section that has a selection table."""
    if not source.is_dir():
        raise DatasetError(f"There is no folder {source}; check the path.")
    tree = source / "ST-spotfiles"
    for selection in sorted((tree if tree.is_dir() else source).glob(f"*{_SELECTION}")):
        section_id = selection.name.removesuffix(_SELECTION)
        yield _Files(
            id=section_id,
            counts=_first(
                [source / "ST-cnts", source], section_id, _COUNT_ENDINGS, "table of counts"
            ),
            selection=selection,
            image=_find_image(source, section_id),
        )


def _first(folders: list[Path], stem: str, endings: tuple[str, ...], what: str) -> Path:
    """First of the files ``folder/stem + ending`` that is there."""
    for folder in folders:
        for ending in endings:
            path = folder / f"{stem}{ending}"
            if path.is_file():
                return path
    raise DatasetError(f"Section {stem} has no {what} {stem}{endings[0]} in {folders[-1]}.")


def _find_image(source: Path, section_id: str) -> Path:
    """Find the H&E image; in the published tree it has a folder, and any name."""
    folder = source / "ST-imgs" / section_id[0] / section_id
    if folder.is_dir():
        images = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in _IMAGE_ENDINGS]
        if len(images) == 1:
            return images[0]
        raise DatasetError(
            f"{folder} must hold one image of section {section_id}; it holds {len(images)}."
        )
    return _first([source / "ST-imgs", source], section_id, _IMAGE_ENDINGS, "image")


def _import_section(files: _Files, out: Path) -> None:
    """Write one section; its table comes last, so that a listed section is a whole one."""
    spots = _read_selection(files.selection)
    counts = _read_counts(files.counts)
    # Some selected spots were never counted, and some counted ones lie off the tissue.
    names = [name for name in counts.index if name in spots.index]
    if not names:
        raise DatasetError(
            f"No spot of {files.selection.name} has counts in {files.counts.name}; the two files "
            f"belong to different sections."
        )
    width_px, height_px = _image_size(files.image)
    mpp_um, per_axis = fit_pixel_size_um(spots, files.selection)
    table = _table(files.id, spots.loc[names], counts.loc[names], DIAMETER_UM / mpp_um)
    metadata = {
        "id": files.id,
        "patient": files.id[0],
        "tissue": "breast",
        "disease_state": "HER2-positive breast cancer",
        "species": "Homo sapiens",
        "st_technology": "Spatial Transcriptomics",
        MPP_KEY: mpp_um,
        "pixel_size_um_per_axis": per_axis,
        "pixel_size_um_origin": f"fitted to the spots' {PITCH_UM:g} um pitch",
        PITCH_KEY: PITCH_UM,
        DIAMETER_KEY: DIAMETER_UM,
        "fullres_px_width": width_px,
        "fullres_px_height": height_px,
        "spots_under_tissue": table.n_obs,
        "nb_genes": table.n_vars,
        "image_filename": files.image.name,
        "study_link": "https://doi.org/10.1038/s41467-021-26271-2",
        "citation": CITATION,
        "license": LICENCE,
    }
    _write_section(files, out, table, metadata)


def fit_pixel_size_um(spots: pd.DataFrame, path: Path) -> tuple[float, dict[str, float]]:
    """Pixel size from the array itself: neighbours lie 200 um apart, the table says how many px.

    The published px positions are an exact linear function of the refined array positions along
    either axis. The two slopes differ by 0.6% (the images were cropped by hand to the array's
    frame) while a microscope's pixels are square, so one slope is fitted to both.

    Parameters
    ----------
    spots
        Columns ``new_x``, ``new_y`` (array steps) and ``pixel_x``, ``pixel_y`` (level-0 px).
    path
        Named in errors.

    Returns
    -------
    um per px, and the same fitted for each axis alone (``{"x": ..., "y": ...}``).

    Raises
    ------
    DatasetError
        The spots do not span two array positions per axis, or the fit leaves more than a tenth of a
        step: the px are not those of this array.
    """
    products, squares, per_axis = 0.0, 0.0, {}
    for axis in ("x", "y"):
        steps = spots[f"new_{axis}"] - spots[f"new_{axis}"].mean()
        px = spots[f"pixel_{axis}"] - spots[f"pixel_{axis}"].mean()
        product, square = float(steps @ px), float(steps @ steps)
        if not (product > 0 and square > 0):
            raise DatasetError(
                f"The spots of {path} are too few or too odd to tell the pixel size."
            )
        px_per_step = product / square
        if np.abs(px - px_per_step * steps).max() > 0.1 * px_per_step:
            raise DatasetError(
                f"pixel_{axis} of {path} does not follow new_{axis}; check the table."
            )
        per_axis[axis] = PITCH_UM / px_per_step
        products, squares = products + product, squares + square
    return PITCH_UM * squares / products, per_axis


def _read_selection(path: Path) -> pd.DataFrame:
    """Spots under tissue, indexed by the names ``XxY`` that the counts use."""
    table = _read_tsv(path)
    missing = sorted(_SELECTION_COLUMNS - set(table.columns))
    if missing:
        raise DatasetError(f"{path} lacks the columns {', '.join(missing)}.")
    if "selected" in table.columns:
        table = table[table["selected"] == 1]
    numbers = table[sorted(_SELECTION_COLUMNS)]
    if not all(kind.kind in "if" for kind in numbers.dtypes) or not np.isfinite(numbers).all(None):
        raise DatasetError(f"{path} holds positions that are not numbers; correct those rows.")
    table = table.set_index(
        table["x"].astype(int).astype(str) + "x" + table["y"].astype(int).astype(str)
    )
    _refuse_repeats(table.index, path)
    return table


def _read_counts(path: Path) -> pd.DataFrame:
    """Raw counts: rows are spots ``XxY``, columns are genes."""
    table = _read_tsv(path, index_col=0)
    if not all(kind.kind in "iuf" for kind in table.dtypes):
        raise DatasetError(f"{path} holds counts that are not numbers.")
    table.index = table.index.astype(str)
    _refuse_repeats(table.index, path)
    _refuse_repeats(table.columns, path)
    return table


def _read_tsv(path: Path, **options: Any) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path, sep="\t", **options)
    except (OSError, EOFError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise DatasetError(f"{path} cannot be read as a table: {error}.") from error


def _refuse_repeats(names: pd.Index, path: Path) -> None:
    if not names.is_unique:
        raise DatasetError(f"{path} lists {names[names.duplicated()][0]} more than once.")


def _image_size(path: Path) -> tuple[int, int]:
    """(width, height) in px, from the header alone."""
    import warnings

    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # 92 megapixels are normal here; Pillow takes them for an attack.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return image.size
    except (UnidentifiedImageError, OSError) as error:
        raise DatasetError(f"{path} cannot be read as an image.") from error


def _table(
    section_id: str, spots: pd.DataFrame, counts: pd.DataFrame, diameter_px: float
) -> anndata.AnnData:
    """Put counts and places into HEST's form."""
    import anndata
    import pandas as pd
    from scipy.sparse import csr_matrix

    table = anndata.AnnData(
        X=csr_matrix(counts.to_numpy(np.float32)),
        obs=pd.DataFrame(
            {"array_row": spots["y"].to_numpy(int), "array_col": spots["x"].to_numpy(int)},
            index=counts.index.astype(str),
        ),
        var=pd.DataFrame(index=counts.columns.astype(str)),
    )
    table.obsm["spatial"] = spots[["pixel_x", "pixel_y"]].to_numpy(np.float64)
    scales = {"spot_diameter_fullres": diameter_px}
    table.uns["spatial"] = {section_id: {"images": {}, "scalefactors": scales}}
    return table


def _write_section(
    files: _Files, out: Path, table: anndata.AnnData, metadata: dict[str, Any]
) -> None:
    slide = out / SLIDES / f"{files.id}{files.image.suffix.lower()}"
    h5ad = out / TABLES / f"{files.id}.h5ad"
    described = out / METADATA / f"{files.id}.json"
    try:
        for path in (slide, h5ad, described):
            path.parent.mkdir(parents=True, exist_ok=True)
        for old in slide.parent.glob(f"{files.id}.*"):
            old.unlink()
        try:
            os.link(files.image, slide)  # costs no disk space where both lie on one file system
        except OSError:
            shutil.copyfile(files.image, slide)
        described.write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
        unfinished = h5ad.with_suffix(".part")
        table.write_h5ad(unfinished, compression="gzip")
        unfinished.replace(h5ad)
    except OSError as error:
        raise DatasetError(f"Section {files.id} cannot be written to {out}: {error}.") from error
