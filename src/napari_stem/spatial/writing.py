"""How a section enters a data set folder: whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_stem.errors import DatasetError
from napari_stem.spatial.dataset import METADATA, SLIDES, TABLES

if TYPE_CHECKING:
    from pathlib import Path

    import anndata

    from napari_stem.spatial.checks import Finding


@dataclass(frozen=True)
class NewSection:
    """A section on its way into a data set.

    Attributes
    ----------
    id
        Name of its files.
    image
        The H&E image, where it lies now.
    table
        Raw counts, symbols in ``var_names``, ``obsm["spatial"]``.
    metadata
        What the data set will say of it.
    table_file
        File that holds exactly ``table``, to be linked; None to write one.
    mpp_um
        Other statements of the pixel size (um per px), by who makes them, for the checks.
    findings
        What the importer saw already.
    """

    id: str
    image: Path
    table: anndata.AnnData
    metadata: dict[str, Any]
    table_file: Path | None = None
    mpp_um: dict[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def is_there(out: Path, section_id: str) -> bool:
    """Whether a data set folder holds a section, whole."""
    return (out / TABLES / f"{section_id}.h5ad").is_file()


def write_section(out: Path, section: NewSection) -> None:
    """Write or replace one section.

    The table comes last and in one step, and an earlier one goes first: a section that is listed is
    a whole one, whenever the work is interrupted. Image and linked tables cost no disk space where
    source and data set lie on one file system.

    Raises
    ------
    DatasetError
        The folder cannot be written.
    """
    slide = out / SLIDES / f"{section.id}{section.image.suffix.lower()}"
    h5ad = out / TABLES / f"{section.id}.h5ad"
    described = out / METADATA / f"{section.id}.json"
    try:
        for path in (slide, h5ad, described):
            path.parent.mkdir(parents=True, exist_ok=True)
        if not _same(section.table_file, h5ad):
            h5ad.unlink(missing_ok=True)
        for old in slide.parent.glob(f"{section.id}.*"):
            if not _same(section.image, old) or old.name != slide.name:
                old.unlink()
        _place(section.image, slide)
        text = json.dumps(section.metadata, indent=2, ensure_ascii=False) + "\n"
        _unfinished(described).write_text(text, encoding="utf-8")
        _unfinished(described).replace(described)
        if section.table_file is not None:
            _place(section.table_file, h5ad)
        else:
            section.table.write_h5ad(_unfinished(h5ad), compression="gzip")
            _unfinished(h5ad).replace(h5ad)
    except OSError as error:
        raise DatasetError(f"Section {section.id} cannot be written to {out}: {error}.") from error


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _same(one: Path | None, other: Path) -> bool:
    return one is not None and one.exists() and other.exists() and one.samefile(other)


def _place(source: Path, target: Path) -> None:
    """Put a file at its place in one step: hard link where possible, else a copy."""
    if _same(source, target):
        return
    unfinished = _unfinished(target)
    unfinished.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), unfinished)
    except OSError:
        shutil.copyfile(source, unfinished)
    unfinished.replace(target)
