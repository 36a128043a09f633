"""Checks of a data set folder as it stands: what every section would fail or surprise with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_stem.errors import DatasetError
from napari_stem.spatial.checks import Finding
from napari_stem.spatial.images import image_facts
from napari_stem.spatial.importing import check_section
from napari_stem.spatial.table_files import read_table

if TYPE_CHECKING:
    from napari_stem.progress import Progress
    from napari_stem.spatial.dataset import Dataset, Section


def check_dataset(
    dataset: Dataset, *, progress: Progress | None = None
) -> dict[str, list[Finding]]:
    """Look at every section of a data set.

    Parameters
    ----------
    dataset
        In HEST layout.
    progress
        Told (text, done, in all).

    Returns
    -------
    Findings by section; an empty list where all is well.
    """
    found: dict[str, list[Finding]] = {}
    for done, section_id in enumerate(dataset.sections):
        if progress is not None:
            progress("Checking sections", done, len(dataset.sections))
        found[section_id] = _check(dataset.section(section_id))
    if progress is not None:
        progress("Checking sections", len(dataset.sections), len(dataset.sections))
    return found


def _check(section: Section) -> list[Finding]:
    """Go on past a part that cannot be read: the others may tell why."""
    found: list[Finding] = []
    facts = metadata = table = None
    try:
        facts = image_facts(section.slide_path)
    except DatasetError as error:
        found.append(_unreadable("image", error))
    try:
        metadata = section.metadata
    except DatasetError as error:
        found.append(_unreadable("metadata", error))
    try:
        table = read_table(section.table_path)
    except DatasetError as error:
        found.append(_unreadable("table", error))
    if table is not None:
        found += check_section(table, metadata or {}, facts)
    return found


def _unreadable(part: str, error: DatasetError) -> Finding:
    what = f"a part that cannot be read. {str(error).rstrip('.')}"
    return Finding(f"unreadable-{part}", "stops", what, 0, (), "import the section again")
