"""What Space Ranger leaves of Visium and Visium HD, as it is passed on (gzipped, flat, in part, with prefixes).

Files, counts, positions, the full-resolution image, and whether it is the one that Space Ranger was run on.
What is missing, damaged, or there more than once is told by a DatasetError.
"""

from __future__ import annotations

import re
import zlib
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from napari_stem.cells import read_cells
from napari_stem.errors import DatasetError, SlideError
from napari_stem.foreign import opened_hdf5, read_json
from napari_stem.io import DAMAGE
from napari_stem.slide.recognising import SLIDE_ENDINGS
from napari_stem.spatial.checks import Finding, as_finding
from napari_stem.spatial.dataset import image_facts
from napari_stem.spatial.gene_sets import ID_COLUMN
from napari_stem.texts import clean_name, quoted, read_text, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import anndata
    import pandas as pd
    from numpy.typing import NDArray

    from napari_stem.slide.base import Slide

SCALE_FACTORS = "scalefactors_json.json"
POSITIONS = ("tissue_positions.csv", "tissue_positions_list.csv", "tissue_positions.parquet")
BINS = "binned_outputs"
# Genomes as 10x and Ensembl call them: GRCh38, hg19; mm10, GRCm39; mRatBN7.2, Rnor_6.0, GRCr8.
GENOMES = {
    "Homo sapiens": re.compile(r"(?<![A-Za-z])(GRCh|hg)\d"),
    "Mus musculus": re.compile(r"(?<![A-Za-z])(GRCm|mm)\d"),
    "Rattus norvegicus": re.compile(r"(?<![A-Za-z])(mRatBN|Rnor_|GRCr|rn)\d"),
}
COUNTS = ("filtered_feature_bc_matrix", "raw_feature_bc_matrix")
_COLUMNS = (
    "barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres",
)  # fmt: skip
# What h5py, scipy and pandas raise on folders that are not as Space Ranger writes them.
READER_ERRORS = (*DAMAGE, AssertionError, StopIteration, zlib.error)
# The same picture, reduced: off by the rounding of its sides, not by more.
_SIZE_TOLERANCE = 0.01
_LOOK_PX = 128
# The same picture has more than .98; serial sections of HER2ST, which lie as much alike as can be, .76 at most.
_ALIKE = 0.9
_BLANK = 1.0  # grey values
_NOT_FULL_SIZE = ("hires", "lowres", "aligned", "detected", "cytassist", "thumbnail", "fiducials")


def find(folder: Path, *names: str) -> Path | None:
    """Find the first of some files, in a folder or its folder ``spatial``; gzipped, or with a prefix, too."""
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
    """Find a file as `find` does."""
    path = find(folder, *names)
    if path is None:
        raise DatasetError(
            f"{folder} lacks {' or '.join(names)}; copy Space Ranger's output completely, with its folder "
            f"'spatial'."
        )
    return path


def read_counts(folder: Path) -> anndata.AnnData:
    """Read the counts of genes: filtered ones or else those of all spots, HDF5 or Matrix Market."""
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
            genomes = set(file)
        else:
            ids, names, kinds = (features[key].asstr()[:] for key in ("id", "name", "feature_type"))
            genomes = set(features["genome"].asstr()[:]) if "genome" in features else set()
        parts = tuple(group[part][:] for part in ("data", "indices", "indptr"))
        barcodes = group["barcodes"].asstr()[:]
        counts = csr_matrix(parts, shape=(len(barcodes), len(names)))
        table = _table(counts, barcodes, ids, names, kinds)
        chemistry = file.attrs.get("chemistry_description") or ""
    table.uns["chemistry"] = chemistry.decode() if isinstance(chemistry, bytes) else str(chemistry)
    table.uns["species"] = species_of(genomes) or ""
    return table


def species_of(genomes: Iterable[str]) -> str | None:
    """Name the species of some genomes; None where it is not known of each, or they are of several species."""
    found = [
        {species for species, names in GENOMES.items() if names.search(genome)}
        for genome in genomes
        if genome  # antibodies and probes have none
    ]
    every = set[str]().union(*found)
    return every.pop() if len(every) == 1 and all(found) else None


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


def section_folders(sources: Sequence[Path], is_one: Callable[[Path], bool]) -> dict[str, Path]:
    """Find Space Ranger folders, by section: each source itself, its ``outs``, or the folders in it.

    A section is called like the folder, or like the run whose ``outs`` it is.
    """
    found: dict[str, Path] = {}
    for source in sources:
        if source.is_file():
            raise DatasetError(f"{source} is a file; name the folder that it lies in.")
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
                f"'outs'; {_advice(source, children)}."
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


def _advice(source: Path, children: Sequence[Path]) -> str:
    """Say what to do about a folder that is not what was asked for."""
    full = source.resolve()
    if any((path / BINS).is_dir() for path in (source, source / "outs", *children)):
        return "it is Visium HD, for 'import visium-hd'"
    for folder in (full, *full.parents[:2]):
        if folder.name == BINS:
            return f"it is a part of Visium HD: give {folder.parent} to 'import visium-hd'"
    if full.name in {"spatial", *COUNTS}:
        return f"it is a part of one: name {full.parent}"
    if any(find(path, *POSITIONS[:2]) for path in (source, source / "outs", *children)):
        return "it is Visium, for 'import visium'"
    return (
        f"name the folder that has the folder 'spatial' with {POSITIONS[1]}, or '{BINS}' (of archives, such as "
        f"spatial.tar.gz, what they hold)"
    )


def find_image(folder: Path) -> Path:
    """Find the full-resolution image beside Space Ranger's output."""
    places = [folder / "microscope_image", folder, folder / "spatial", folder.parent]
    for place in places:
        if not place.is_dir():
            continue
        images = [
            path
            for path in sorted(place.iterdir())
            if path.suffix.lower() in SLIDE_ENDINGS
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
    """Read ``scalefactors_json.json``."""
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
    """Extent (width x height) of the image that Space Ranger was run on, if that is not of ``size_px``.

    Its reduced images may lie in ``folders``; without one nothing is said, as they serve for checks alone.
    ``scales`` (`read_scale_factors`): px of a reduced image per px of the image it was run on.
    """
    for name, path in _previews(folders):
        if scale := scales.get(f"tissue_{name}_scalef"):
            expected = tuple(side / scale for side in image_facts(path).size_px)
            slack = [max(_SIZE_TOLERANCE * side, 2 / scale) for side in expected]
            off = [abs(a - b) for a, b in zip(expected, size_px, strict=True)]
            fits = all(o <= s for o, s in zip(off, slack, strict=True))
            return None if fits else f"{expected[0]:.0f} x {expected[1]:.0f}"
    return None


def _previews(folders: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Space Ranger's reduced images that there are, by name, the larger one first."""
    for name in ("hires", "lowres"):
        for path in (find(folder, f"tissue_{name}_image.png") for folder in folders):
            if path is not None and path.suffix == ".png":
                yield name, path


def unlike_preview(folders: Sequence[Path], image: Path | Slide) -> list[Finding]:
    """Look whether an image shows what Space Ranger saw: images of other sections can be of the same size.

    Space Ranger's reduced images may lie in ``folders``; without one nothing is found. The full-resolution
    image may be open or not; its missing levels are made, as training needs them too.
    """
    preview = next((path for _, path in _previews(folders)), None)
    if preview is None:
        return []
    try:
        seen, wanted = (_small(each) for each in (image, preview))
    except SlideError:  # of a preview; what is wrong with the image itself is told of elsewhere
        return []
    if min(seen.std(), wanted.std()) < _BLANK:
        return []
    alike = float(np.corrcoef(seen.ravel(), wanted.ravel())[0, 1])
    if alike >= _ALIKE:
        return []
    what = (
        f"an image that looks unlike {preview.name} of Space Ranger (correlation {alike:.2f}; of one picture "
        f".99)"
    )
    path = image if isinstance(image, Path) else image.path
    advice = f"see that {path} is the image of this section, and not turned or mirrored"
    return [as_finding("image-unlike-preview", what, [], advice, "warns")]


def _small(image: Path | Slide) -> NDArray[np.float64]:
    """Grey values of an image, (128, 128)."""
    from PIL import Image

    from napari_stem.slide.opening import open_slide

    with open_slide(image) if isinstance(image, Path) else nullcontext(image) as slide:
        large_enough = [min(level.size.width_px, level.size.height_px) for level in slide.levels]
        index = max((i for i, side in enumerate(large_enough) if side >= _LOOK_PX), default=0)
        pixels = Image.fromarray(np.asarray(slide.levels[index].whole()))
    return np.asarray(pixels.convert("L").resize((_LOOK_PX, _LOOK_PX)), dtype=np.float64)


def under_tissue(table: anndata.AnnData, name: str) -> anndata.AnnData:
    """Spots of a table that Space Ranger found under tissue."""
    has_place = table.obs["in_tissue"].notna()
    if table.n_obs and not has_place.any():
        raise DatasetError(
            f"None of the counted spots of {name}, such as {quoted(table.obs_names[0])}, has a position; the "
            f"files belong to different runs, or name spots differently (endings such as -1)."
        )
    in_tissue = table.obs["in_tissue"].fillna(0).astype(int).to_numpy() == 1
    if not in_tissue.any():
        raise DatasetError(
            f"No spot of {name} is under tissue by its table of positions (in_tissue is 1 for none); take "
            f"Space Ranger's own table."
        )
    return table[in_tissue].copy()
