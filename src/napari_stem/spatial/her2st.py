"""Import of the HER2-positive breast cancer data set as its authors publish it.

Andersson et al. 2021, Nature Communications 12, 6012; Zenodo record 4751624, CC BY 4.0; also
github.com/almaan/her2st. 36 sections of eight patients, A to H. Spots of the original Spatial
Transcriptomics array: 100 um wide on a 200 um pitch.
"""

from __future__ import annotations

import csv
import io
import re
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import DatasetError
from napari_stem.slide.recognising import SLIDE_ENDINGS
from napari_stem.spatial.importing import NewSection, Outcome, fitted_section, import_sections
from napari_stem.texts import clean_name, quoted, read_text, reason_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from napari_stem.spatial.importing import ImportSettings


PITCH_UM = 200.0
DIAMETER_UM = 100.0
ABOUT = {
    "organ": "Breast",
    "tissue": "breast",
    "disease_state": "HER2-positive breast cancer",
    "species": "Homo sapiens",
    "st_technology": "Spatial Transcriptomics",
    "study_link": "https://doi.org/10.1038/s41467-021-26271-2",
    "citation": "Andersson et al. 2021, Nature Communications 12, 6012; Zenodo record 4751624",
    "license": "CC BY 4.0",
}

_SELECTION = re.compile(r"([A-Z]\d+)_selection\.tsv(\.gz)?")
_SPOT = re.compile(r"\d+x\d+")
_COUNTS = re.compile(r"([A-Z]\d+)\.tsv(\.gz)?")
_SELECTION_COLUMNS = {"x", "y", "new_x", "new_y", "pixel_x", "pixel_y"}
_TSV_ENDINGS = (".tsv.gz", ".tsv")
# The repository's names, Zenodo's archives', and everything in one folder.
_SELECTION_FOLDERS = ("ST-spotfiles", "spot-selections", ".")
_COUNT_FOLDERS = ("ST-cnts", "count-matrices", ".")
_IMAGE_FOLDERS = ("ST-imgs", "images/HE", "images", ".")
# Sections of one array share most node names, other tissue shares a few: files that belong
# together agree in nearly all spots, files of two sections in a fifth.
_MIN_COMMON = 0.5


def import_her2st(source: Path, out: Path, settings: ImportSettings | None = None) -> Outcome:
    """Write the sections found in ``source`` as a data set in HEST layout.

    ``source`` is the published tree (``ST-imgs/PATIENT/ID/*.jpg``, ``ST-cnts/ID.tsv.gz``,
    ``ST-spotfiles/ID_selection.tsv``), itself or in a ``data`` folder; Zenodo's archives unpacked side by
    side; or one flat folder (``ID.jpg``, ``ID.tsv.gz``, ``ID_selection.tsv``). Else as for `import_sections`.

    DatasetError: there is nothing to import.
    """
    if not source.is_dir():
        raise DatasetError(f"There is no folder {source}; check the path.")
    for root, folder in product((source / "data", source), _SELECTION_FOLDERS):
        named = ((_SELECTION.fullmatch(path.name), path) for path in (root / folder).glob("*"))
        selections = {match[1]: path for match, path in named if match}
        if selections:
            readers = {
                section_id: partial(_read_section, root, section_id, selection)
                for section_id, selection in sorted(selections.items())
            }
            for section_id in sorted(_counted(root) - selections.keys()):
                readers[section_id] = partial(_lacking_selection, section_id, root / folder)
            return import_sections(readers, out, settings)
    raise DatasetError(
        f"{source} holds no HER2ST section: no file is called like A1_selection.tsv, neither there "
        f"nor in its folder ST-spotfiles; unpack the published archives there."
    )


def _counted(root: Path) -> set[str]:
    """Sections that have a table of counts."""
    paths = (path for folder in _COUNT_FOLDERS for path in (root / folder).glob("*"))
    return {match[1] for path in paths if (match := _COUNTS.fullmatch(path.name))}


def _lacking_selection(section_id: str, folder: Path) -> NewSection:
    name = f"{section_id}_selection.tsv"
    raise DatasetError(f"Section {section_id} has counts, but no spots {name} in {folder}; add it.")


def _find_image(root: Path, section_id: str) -> Path:
    """Find the H&E image; in the published tree it has a folder, and any name."""
    folder = root / "ST-imgs" / section_id[0] / section_id
    if folder.is_dir():
        images = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in SLIDE_ENDINGS]
        if len(images) == 1:
            return images[0]
        raise DatasetError(
            f"{folder} must hold one image of section {section_id}; it holds {len(images)}."
        )
    lacking = f"image {section_id}.jpg in {root}, nor one in {folder}"
    return _find(root, _IMAGE_FOLDERS, section_id, SLIDE_ENDINGS, lacking)


def _find(
    root: Path, folders: Sequence[str], section_id: str, endings: Sequence[str], lacking: str
) -> Path:
    """Find the first file called like a section; DatasetError where there is none: it has no ``lacking``."""
    for folder, ending in product(folders, endings):
        path = root / folder / f"{section_id}{ending}"
        if path.is_file():
            return path
    raise DatasetError(f"Section {section_id} has no {lacking}; add it.")


def _read_section(root: Path, section_id: str, selection: Path) -> NewSection:
    """Put one section's three files together."""
    import anndata
    import pandas as pd

    image = _find_image(root, section_id)
    lacking = f"table of counts {section_id}.tsv.gz in {root / 'ST-cnts'} or {root}"
    counts_path = _find(root, _COUNT_FOLDERS, section_id, _TSV_ENDINGS, lacking)
    spots = _read_selection(selection)
    counts = _read_counts(counts_path)
    # Some selected spots were never counted, and some counted ones lie off the tissue.
    names = [name for name in counts.index if name in spots.index]
    if len(names) < _MIN_COMMON * min(len(spots), len(counts)) or not names:
        raise DatasetError(
            f"Only {len(names)} of the {len(spots)} spots of {selection} have counts in "
            f"{counts_path}; the two files belong to different sections, put the right ones there."
        )
    here, counted = spots.loc[names], counts.loc[names]
    table = anndata.AnnData(
        X=counted.to_numpy(np.float32),
        obs=pd.DataFrame(
            {"array_row": here["y"].to_numpy(), "array_col": here["x"].to_numpy()},
            index=counted.index,
        ),
        var=pd.DataFrame(index=counted.columns),
        obsm={"spatial": here[["pixel_x", "pixel_y"]].to_numpy()},
    )
    section = NewSection(section_id, image, table, {**ABOUT, "patient": section_id[0]})
    fitted_um = fit_pixel_size_um(spots, selection)
    return fitted_section(section, fitted_um, pitch_um=PITCH_UM, diameter_um=DIAMETER_UM)


def fit_pixel_size_um(spots: pd.DataFrame, path: Path) -> tuple[float, dict[str, float]]:
    """Pixel size from the array itself: neighbours lie 200 um apart, the table says how many px.

    The published px positions are an exact linear function of the refined array positions along either axis.
    The two slopes differ by 0.6% (the images were cropped by hand to the array's frame) while a microscope's
    pixels are square, so one slope is fitted to both.

    ``spots`` has columns ``new_x``, ``new_y`` (array steps) and ``pixel_x``, ``pixel_y`` (level-0 px).
    Returns um per px, and the same fitted for each axis alone (``{"x": ..., "y": ...}``). DatasetError: the
    spots do not span two array positions per axis, or the fit leaves more than a tenth of a step: the px are
    not those of this array.
    """
    products, squares, per_axis = 0.0, 0.0, {}
    for axis in ("x", "y"):
        steps = spots[f"new_{axis}"] - spots[f"new_{axis}"].mean()
        px = spots[f"pixel_{axis}"] - spots[f"pixel_{axis}"].mean()
        product, square = float(steps @ px), float(steps @ steps)
        if not (product > 0 and square > 0):
            raise DatasetError(
                f"The spots of {path} are too few or too odd to tell the pixel size; check the table."
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
        raise DatasetError(f"{path} lacks the columns {', '.join(missing)}; download it again.")
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
    table = _read_tsv(path, named_rows=True)
    if not all(kind.kind in "iuf" for kind in table.dtypes):
        raise DatasetError(f"{path} holds counts that are not numbers; download it again.")
    table.index = table.index.map(clean_name).rename(None)
    if len(table) and not any(map(_SPOT.fullmatch, table.index)):
        raise DatasetError(
            f"The rows of {path} are called {quoted(table.index[0])} and the like, not 10x13 as spots are; its "
            f"rows must be spots and its columns genes, as published."
        )
    _refuse_repeats(table.index, path)
    _refuse_repeats(table.columns, path)
    return table


def _read_tsv(path: Path, *, named_rows: bool = False) -> pd.DataFrame:
    """Read a table; its header by itself, as pandas numbers repeated names (``CD74.1``) unseen."""
    import pandas as pd

    index = 0 if named_rows else None
    try:
        text = io.StringIO(read_text(path))
        header = [clean_name(name) for name in next(csv.reader([text.readline()], delimiter="\t"))]
        table = pd.read_csv(text, sep="\t", header=None, index_col=index, low_memory=False)
        if named_rows and len(header) == table.shape[1] + 1:  # R leaves out that of the row names
            del header[0]
        table.columns = pd.Index(header)
    # pandas' parser errors are ValueErrors
    except (OSError, ValueError, StopIteration, csv.Error) as error:
        raise DatasetError(
            f"{path} cannot be read as a table ({reason_of(error)}); download it again."
        ) from error
    return table


def _refuse_repeats(names: pd.Index, path: Path) -> None:
    if not names.is_unique:
        repeated = quoted(names[names.duplicated()][0])
        raise DatasetError(f"{path} lists {repeated} more than once; download it again.")
