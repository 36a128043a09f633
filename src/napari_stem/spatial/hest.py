"""Import from a downloaded part of HEST-1k (Jaume et al. 2024, arXiv 2406.16192).

Such a folder (``wsis``, ``st``, ``metadata``; ``patches``, ``tissue_seg`` ... beside) is a data set as
it is. Importing chooses sections from it, checks them, and mends what some tables have: Ensembl ids
for names, repeated genes, no pixel size. What needs no mending is linked, not copied.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import DatasetError
from napari_stem.slide.pixel_size import PLACEHOLDER
from napari_stem.spatial.dataset import MPP_KEY, ORIGIN_KEY, PITCH_KEY, Dataset, image_facts
from napari_stem.spatial.gene_sets import with_symbols
from napari_stem.spatial.importing import BY_IMAGE, NewSection, import_sections
from napari_stem.spatial.lattice import mpp_from_spacing_um
from napari_stem.spatial.table_files import read_table

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import anndata

    from napari_stem.spatial.dataset import Section
    from napari_stem.spatial.importing import Outcome

EMBEDDED_MPP_KEY = "pixel_size_um_embedded"


def import_hest(
    source: Path,
    out: Path,
    *,
    sections: Sequence[str] = (),
    organ: Collection[str] = (),
    technology: Collection[str] = (),
    species: Collection[str] = (),
    **options: Any,
) -> Outcome:
    """Write chosen sections of a HEST folder, with ``wsis``, ``st`` and ``metadata``, as a data set of its own.

    ``sections`` are the names of those wanted, as ``INT1``; ``organ``, ``technology`` and ``species`` theirs
    as in the metadata (``Breast``; ``Visium``; ``Homo sapiens``), in any case; none: all. Else as for
    `import_sections`.

    DatasetError: ``source`` is no such folder or is ``out``, or no section is as asked for.
    """
    dataset = Dataset(source)
    if out.exists() and out.samefile(source):
        raise DatasetError(f"{out} is the source itself; choose another folder to import into.")
    wanted = {"organ": organ, "st_technology": technology, "species": species}
    chosen = _chosen(dataset, sections, wanted)
    readers = {name: partial(_read_section, dataset.section(name)) for name in chosen}
    return import_sections(readers, out, **options)


def _chosen(
    dataset: Dataset, sections: Sequence[str], wanted: Mapping[str, Collection[str]]
) -> list[str]:
    unknown = [name for name in sections if name not in dataset.sections]
    if unknown:
        raise DatasetError(
            f"{dataset.folder} has no section {', '.join(unknown[:5])} among its "
            f"{len(dataset.sections)}; download it first, or correct the name."
        )
    named = list(sections or dataset.sections)
    if not any(wanted.values()):
        return named
    folded = {key: {word.casefold() for word in words} for key, words in wanted.items() if words}
    about = {name: dataset.section(name).metadata for name in named}
    chosen = [
        name
        for name, metadata in about.items()
        if all(str(metadata.get(key, "")).casefold() in words for key, words in folded.items())
    ]
    if not chosen:
        some = list(about.values())[:200]
        has = {key: sorted({str(each.get(key)) for each in some})[:8] for key in wanted}
        choices = "; ".join(f"{key}: {', '.join(values)}" for key, values in has.items())
        raise DatasetError(f"No section of {dataset.folder} is as asked for; there are {choices}.")
    return chosen


def _read_section(section: Section) -> NewSection:
    stored = read_table(section.table_path)
    table, findings = with_symbols(stored)
    return NewSection(
        id=section.id,
        image=section.slide_path,
        table=table,
        metadata=_with_pixel_size(section.metadata, table, section.slide_path),
        table_file=section.table_path if table is stored else None,
        findings=tuple(findings),
    )


def _with_pixel_size(
    metadata: dict[str, Any], table: anndata.AnnData, image: Path
) -> dict[str, Any]:
    """Fill in a missing pixel size: by the spots, as embedded in the original image, or in this one.

    HEST writes 1 where nothing was embedded.
    """
    if metadata.get(MPP_KEY) is not None:
        return metadata
    pitch_um, xy_px = metadata.get(PITCH_KEY), table.obsm.get("spatial")
    if pitch_um is not None and xy_px is not None:
        places = np.asarray(xy_px, dtype=np.float64)
        by_spots = mpp_from_spacing_um(table.obs, places, float(pitch_um))
        if by_spots is not None:
            return metadata | {MPP_KEY: by_spots, ORIGIN_KEY: f"the spots' {pitch_um:g} um pitch"}
    embedded = metadata.get(EMBEDDED_MPP_KEY)
    if embedded in {None, PLACEHOLDER.x_um} and (own := image_facts(image).mpp_um) is not None:
        return metadata | {MPP_KEY: own, ORIGIN_KEY: BY_IMAGE}
    return metadata | {MPP_KEY: embedded, ORIGIN_KEY: f"'{EMBEDDED_MPP_KEY}'"}
