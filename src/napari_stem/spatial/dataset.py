"""Measured sections on disk, in the layout that HEST-1k and published Stem share.

``FOLDER/wsis/ID.jpg|tif|svs...``, ``FOLDER/st/ID.h5ad``, ``FOLDER/metadata/ID.json``; other folders
of HEST-1k (patches, tissue_seg ...) may lie beside. Nothing is read before it is asked for.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix, vstack

from napari_stem.errors import DatasetError, SlideError
from napari_stem.foreign import MAX_SIZE, is_size, read_json
from napari_stem.geometry import Mpp, Spots
from napari_stem.spatial.checks import (
    check_counts,
    check_genes,
    check_positions,
    check_table,
    raise_on_stop,
)
from napari_stem.spatial.lattice import nearest_distance_px, spots_at
from napari_stem.spatial.normalise import columns_of
from napari_stem.spatial.table_files import (
    SpotTable,
    library_sizes,
    read_genes,
    read_spot_table,
    read_table,
    row_blocks,
)
from napari_stem.texts import read_text, reason_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import anndata
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageFacts:
    """Extent (width, height) and, if the file states it, pixel size (um per px, mean of both axes) at level 0.

    ``doubtful``: it comes from a resolution tag, which editors write without thinking.
    """

    size_px: tuple[int, int]
    mpp_um: float | None
    doubtful: bool


def image_facts(path: Path) -> ImageFacts:
    """Read an image's header; DatasetError: it is missing, damaged or of a kind that cannot be read."""
    from napari_stem.slide.opening import open_header
    from napari_stem.slide.pixel_size import DATA_SET, REMEMBERED, RESOLUTION_TAG

    try:
        with open_header(path) as slide:
            size_px, sources = (slide.size.width_px, slide.size.height_px), slide.mpp_sources
    except SlideError as error:
        raise DatasetError(f"{path} cannot be read as an image: {error}") from error
    for each in sources:
        if each.source not in (DATA_SET, REMEMBERED):  # but by the file itself
            mpp_um = (each.mpp.y_um + each.mpp.x_um) / 2
            return ImageFacts(size_px, mpp_um, each.source == RESOLUTION_TAG)
    return ImageFacts(size_px, None, doubtful=False)


SLIDES, TABLES, METADATA = "wsis", "st", "metadata"
# What is read of a section's metadata, in HEST-1k's words; all but the first may be missing.
MPP_KEY = "pixel_size_um_estimated"  # um per px of the image, as everything here takes it
ORIGIN_KEY = "pixel_size_um_origin"  # where that comes from, in words
PITCH_KEY, DIAMETER_KEY = "inter_spot_dist", "spot_diameter"  # um, of the spots
WIDTH_KEY, HEIGHT_KEY = "fullres_px_width", "fullres_px_height"  # filled in by importing
SIZE_KEYS = {PITCH_KEY, DIAMETER_KEY, WIDTH_KEY, HEIGHT_KEY}
# "patient" keeps patients apart in training and protocols; "tissue", "species", "study_link", "license" and
# "citation" go into the card of a model trained on it; "organ", "st_technology" and "species" choose sections.


def stated_patients(metadata: Iterable[Mapping[str, Any]]) -> list[str] | None:
    """Return whose each section is; None where the metadata of one section or more do not say."""
    stated = [each.get("patient") for each in metadata]
    names = ["" if patient is None else str(patient).strip() for patient in stated]
    return names if all(names) else None


def images_of(section_id: str, folder: Path) -> list[Path]:
    """Find the images of a section in a data set's folder, there or not: ``ID.jpg``, ``ID.ome.tif`` ..."""
    stems = (section_id, f"{section_id}.ome")
    return sorted(path for path in (folder / SLIDES).glob("*") if path.stem in stems)


class Dataset:
    """A folder of measured sections: it holds ``wsis``, ``st`` and ``metadata``.

    DatasetError: the folder, one of its three parts, or every section is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise DatasetError(f"There is no data set folder {folder}; check the path.")
        for part in (SLIDES, TABLES, METADATA):
            if not (folder / part).is_dir():
                above = folder.resolve().parent
                is_part = (above / SLIDES).is_dir() and (above / TABLES).is_dir()
                raise DatasetError(
                    f"{folder} has no folder '{part}', so it is not a data set in HEST layout; "
                    + (f"name {above}." if is_part else "make one with 'napari-stem import'.")
                )
        self.sections: tuple[str, ...] = tuple(
            sorted(path.stem for path in (folder / TABLES).glob("*.h5ad"))
        )
        if not self.sections:
            raise DatasetError(f"{folder / TABLES} holds no .h5ad file, so there are no sections.")

    def section(self, section_id: str) -> Section:
        """Return one section, its files not yet read; DatasetError where there is none such."""
        if section_id not in self.sections:
            known = ", ".join(self.sections)
            raise DatasetError(f"{self.folder} has no section '{section_id}'; it has {known}.")
        return Section(self.folder, section_id)

    def not_held_out(self, hold_out: Sequence[str], what_for: str) -> list[str]:
        """Return the other sections; DatasetError where there are none, or one held out does not exist."""
        for section_id in hold_out:
            self.section(section_id)
        ids = [section_id for section_id in self.sections if section_id not in hold_out]
        if not ids:
            raise DatasetError(
                f"All sections of {self.folder} are held out; leave one to {what_for} on."
            )
        return ids


@dataclass(frozen=True)
class Section:
    """One measured slide of a data set's folder; each part is read when first asked for, and kept.

    ``id`` is the name of its files. Each part raises a DatasetError where it is missing, damaged, or holds
    what cannot be used.
    """

    folder: Path
    id: str

    @property
    def slide_path(self) -> Path:
        """The H&E image."""
        found = images_of(self.id, self.folder)
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

    @property
    def metadata_path(self) -> Path:
        """What is said of it."""
        return self.folder / METADATA / f"{self.id}.json"

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What the data set says of this section."""
        path = self.metadata_path
        try:
            # HEST-1k's files write NaN for what is not known.
            content = read_json(read_text(path), parse_constant=lambda _: None)
        except FileNotFoundError:
            raise DatasetError(f"Section {self.id} has no {path}; import it again.") from None
        except (ValueError, OSError) as error:
            raise DatasetError(
                f"{path} cannot be read as JSON ({reason_of(error)}); correct it, or import the section again."
            ) from error
        if not isinstance(content, dict):
            raise DatasetError(f"{path} must hold a JSON object.")
        for key in SIZE_KEYS & content.keys():
            size = stated = content[key]
            if isinstance(stated, str):
                with suppress(ValueError):
                    size = float(stated)
            if size in (None, "", 0):  # it is not known
                size = None
            elif not is_size(size):
                raise DatasetError(
                    f"{path} states {stated!r} as '{key}', which is no number between 0 and {MAX_SIZE:,.0f}; "
                    f"correct or remove it."
                )
            content[key] = size
        return content

    @property
    def mpp(self) -> Mpp:
        """Pixel size at level 0."""
        stated, path = self.metadata.get(MPP_KEY), self.metadata_path
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
    def genes(self) -> tuple[str, ...]:
        """Gene names in the order of ``counts``; reads no counts."""
        genes = read_genes(self.table_path)
        raise_on_stop(check_genes(genes), self.table_path)
        return tuple(genes)

    @property
    def n_spots(self) -> int:
        """Number of spots; reads no counts."""
        return len(self._table.obs)

    @cached_property
    def counts(self) -> anndata.AnnData:
        """Raw counts, checked: ``X`` (spots, genes) float32 CSR, ``obsm["spatial"]`` (x, y) px."""
        table = read_table(self.table_path)
        raise_on_stop(check_table(table, self._size_px), self.table_path)
        return table

    def counts_of(self, genes: Sequence[str]) -> NDArray[np.float32]:
        """Raw counts of chosen genes, in their order: (spots, genes) float32, checked as ``counts`` are.

        The others pass through memory a few megabytes at a time.
        """
        columns = columns_of(genes, self.genes, f"in section {self.id}")
        blocks = [csr_matrix(block[:, columns]) for block in row_blocks(self.table_path)]
        raise_on_stop(check_counts(blocks, self._table.names), self.table_path)
        return vstack(blocks).toarray().astype(np.float32, copy=False)  # type: ignore[no-any-return]

    @cached_property
    def library_sizes(self) -> NDArray[np.float64]:
        """(n,) counts of all genes together, per spot; block by block as ``counts_of``."""
        return library_sizes(row_blocks(self.table_path))

    def spots(self) -> Spots:
        """Return the spots that were measured, in the order of ``counts``, which are not read.

        Lattice positions come from ``obs["array_row"]`` and ``["array_col"]``; without them, each
        spot takes the nearest node of a square lattice at the section's pitch.
        """
        table = self._table
        raise_on_stop(check_positions(table.names, table.xy_px, self._size_px), self.table_path)
        xy_px = np.asarray(table.xy_px, dtype=np.float64)
        pitch_um = self.metadata.get(PITCH_KEY)
        if pitch_um is None:
            nearest_px = nearest_distance_px(xy_px)
            if nearest_px is None:
                raise DatasetError(
                    f"Section {self.id} has one spot and no '{PITCH_KEY}' (um) in its metadata; add it."
                )
            pitch_um = nearest_px * self.mpp.x_um
        diameter_um = float(self.metadata.get(DIAMETER_KEY) or pitch_um)
        if table.diameter_px is not None:
            diameter_um = table.diameter_px * self.mpp.x_um
        return spots_at(
            xy_px,
            table.names,
            self.mpp,
            pitch_um=float(pitch_um),
            diameter_um=diameter_um,
            obs=table.obs,
        )

    @cached_property
    def _table(self) -> SpotTable:
        """The table without its counts."""
        return read_spot_table(self.table_path)

    @property
    def _size_px(self) -> tuple[float, float] | None:
        """(width, height) of level 0 where the metadata state it."""
        sides = (self.metadata.get(WIDTH_KEY), self.metadata.get(HEIGHT_KEY))
        return None if None in sides else (float(sides[0]), float(sides[1]))  # type: ignore[arg-type]
