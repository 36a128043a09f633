"""What all importers share: section by section, checked, written whole, going on past a bad one."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from scipy.sparse import csr_matrix

from napari_stem.errors import DatasetError, OutputError
from napari_stem.io import unwritable, write_h5ad, written_whole
from napari_stem.progress import Progress, silent
from napari_stem.spatial.checks import (
    Finding,
    as_finding,
    check_mpp,
    check_table,
    check_unit_of_positions,
    drop_bad_spots,
    outside_image,
)
from napari_stem.spatial.dataset import (
    DIAMETER_KEY,
    HEIGHT_KEY,
    METADATA,
    MPP_KEY,
    ORIGIN_KEY,
    PITCH_KEY,
    SLIDES,
    TABLES,
    WIDTH_KEY,
    Dataset,
    ImageFacts,
    Section,
    image_facts,
    images_of,
)
from napari_stem.spatial.lattice import mpp_from_spacing_um
from napari_stem.spatial.table_files import read_table, repeats_allowed
from napari_stem.texts import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import anndata

Part = TypeVar("Part")

BY_SPACING, BY_IMAGE = "the spots' spacing", "the image file"  # who states a pixel size


@dataclass(frozen=True, kw_only=True)
class ImportSettings:
    """How sections are imported, wherever they come from."""

    overwrite: bool = False  # import sections that are there; else they stay
    drop_bad_spots: bool = False  # leave out spots that are off the image, repeated or not numbers
    progress: Progress = silent


@dataclass(frozen=True)
class NewSection:
    """A section on its way into a data set."""

    id: str  # name of its files
    image: Path  # the H&E image, where it lies now
    table: anndata.AnnData  # raw counts, symbols in ``var_names``, ``obsm["spatial"]``
    # what the data set will say of it: the keys that something reads are those of `napari_stem.spatial.dataset`
    metadata: dict[str, Any]
    # where a user can correct these; None where they come from no such file
    metadata_file: Path | None = None
    # file that holds exactly ``table``, to be linked; None to write one
    table_file: Path | None = None
    # other statements of the pixel size (um per px), by who makes them, for the checks
    mpp_um: dict[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()  # what the importer saw already


def fitted_section(
    section: NewSection,
    fitted_um: tuple[float, dict[str, float]],
    *,
    pitch_um: float,
    diameter_um: float,
) -> NewSection:
    """Put a section of an array, whose pitch tells the pixel size, into HEST's form.

    Where something else tells the pixel size, make a `NewSection` with `MPP_KEY` and the like yourself.
    Its table has ``obsm["spatial"]``, ``obs["array_row"]`` and ``["array_col"]``; what else a reader keeps
    (reduced images ...) is left out. ``fitted_um`` is the pixel size fitted to the pitch (um per px), and the
    same along each axis; ``pitch_um`` and ``diameter_um`` are those of the spots.
    """
    import anndata

    table, (mpp_um, per_axis) = section.table, fitted_um
    scales = {"spot_diameter_fullres": diameter_um / mpp_um}
    clean = anndata.AnnData(
        X=csr_matrix(table.X, dtype=np.float32),
        obs=table.obs[["array_row", "array_col"]].astype(np.int64),
        var=table.var.copy(),
        obsm={"spatial": np.asarray(table.obsm["spatial"], dtype=np.float64)},
        uns={"spatial": {section.id: {"images": {}, "scalefactors": scales}}},
    )
    clean.obs_names, clean.var_names = clean.obs_names.astype(str), clean.var_names.astype(str)
    metadata = {
        "id": section.id,
        **section.metadata,
        MPP_KEY: mpp_um,
        "pixel_size_um_per_axis": per_axis,
        ORIGIN_KEY: f"fitted to the spots' {pitch_um:g} um pitch",
        PITCH_KEY: pitch_um,
        DIAMETER_KEY: diameter_um,
    }
    return replace(section, table=clean, metadata=metadata)


def write_section(out: Path, section: NewSection) -> None:
    """Write or replace one section.

    OutputError: the folder cannot be written. DatasetError: the image is more than one file.

    A section is in the data set when its table is. So everything is written under other names first; then the
    earlier table is removed, image and metadata are put in place, and the new table last: whenever the work is
    interrupted, each section that is listed is a whole one. Image and linked tables cost no disk space where
    source and data set lie on one file system.
    """
    slide = out / SLIDES / f"{section.id}{section.image.suffix.lower()}"
    h5ad = out / TABLES / f"{section.id}.h5ad"
    described = out / METADATA / f"{section.id}.json"
    with (
        written_whole(h5ad, overwrite=True) as new_h5ad,
        written_whole(described, overwrite=True) as new_described,
        written_whole(slide, overwrite=True) as new_slide,
    ):
        _link_image(section, new_slide)
        text = json.dumps(section.metadata, indent=2, ensure_ascii=False) + "\n"
        new_described.write_text(text, encoding="utf-8")
        if section.table_file is not None:
            _link(section.table_file, new_h5ad)
        else:
            try:
                write_h5ad(section.table, new_h5ad)
            except OSError as error:  # else it would be told of the slide
                raise unwritable(h5ad, error) from error
        h5ad.unlink(missing_ok=True)
        for old in images_of(section.id, out):
            if old != slide:
                old.unlink()


def _link_image(section: NewSection, target: Path) -> None:
    """Link the image, and see that the linked file alone is the same image; DatasetError where it is not."""
    image, size_px = section.image, [section.metadata[key] for key in (WIDTH_KEY, HEIGHT_KEY)]
    is_whole = image.is_file()
    if is_whole:
        _link(image, target)
        try:
            is_whole = list(image_facts(target).size_px) == size_px
        except DatasetError:
            is_whole = False
    if not is_whole:
        raise DatasetError(
            f"{image} is a slide of several files, and a section has one image file; export it as a tiled "
            f"TIFF or OME-TIFF and import that."
        )


def _link(source: Path, target: Path) -> None:
    """Make a hard link where possible, else a copy."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copy(source, target)  # with its rights


@dataclass
class Outcome:
    """What became of the sections of one import."""

    imported: list[str] = field(default_factory=list)  # written now
    kept: list[str] = field(default_factory=list)  # there before, and not touched
    failed: dict[str, str] = field(default_factory=dict)  # why, by section
    # what the checks saw in the imported and the failed ones, by section
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    # spots left out on request, by section, by check
    dropped: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def sections(self) -> list[str]:
        """Of those to be imported, the ones that are in the data set now, sorted."""
        return sorted([*self.imported, *self.kept])

    def as_json(self) -> dict[str, Any]:
        """JSON-ready: ``sections, imported, kept, failed, findings, dropped``."""
        return {"sections": self.sections, **asdict(self)}


def import_sections(
    readers: Mapping[str, Callable[[], NewSection]],
    out: Path,
    settings: ImportSettings | None = None,
) -> Outcome:
    """Import sections one by one, and tell what became of each; one that cannot be used fails alone.

    ``readers`` say, by section, in the order wanted, what reads it; the folder ``out`` is made if it is not
    there. Unless they are to be overwritten, sections that are there stay, so that an interrupted import goes
    on where it stopped.

    DatasetError: what a section is to be called names no file of the data set.
    """
    for section_id in readers:
        if section_id in ("", ".", "..") or set(section_id) & set("/\\\0"):
            raise DatasetError(
                f"A section cannot be called '{quoted(section_id)}', as its files are called so; choose a name "
                f"without / and \\."
            )
    settings, outcome = settings or ImportSettings(), Outcome()
    progress = settings.progress
    for done, (section_id, read) in enumerate(readers.items()):
        progress("Importing sections", done, len(readers))
        if (out / TABLES / f"{section_id}.h5ad").is_file() and not settings.overwrite:
            outcome.kept.append(section_id)
            continue
        try:
            with repeats_allowed():
                _import_section(read(), out, outcome, drop_bad=settings.drop_bad_spots)
        except (DatasetError, OutputError) as error:
            outcome.failed[section_id] = str(error)
        else:
            outcome.imported.append(section_id)
    progress("Importing sections", len(readers), len(readers))
    return outcome


def _import_section(section: NewSection, out: Path, outcome: Outcome, *, drop_bad: bool) -> None:
    facts = image_facts(section.image)
    table, dropped = section.table, dict[str, int]()
    if drop_bad and "spatial" in table.obsm:
        table, dropped = drop_bad_spots(table, facts.size_px)
    section = replace(
        section,
        table=table,
        table_file=None if dropped else section.table_file,
        metadata=section.metadata
        | {
            WIDTH_KEY: facts.size_px[0],
            HEIGHT_KEY: facts.size_px[1],
            "spots_under_tissue": table.n_obs,
            "nb_genes": table.n_vars,
            "image_filename": section.image.name,
        },
    )
    if dropped:
        outcome.dropped[section.id] = dropped
    found = [
        *section.findings,
        *check_section(
            table, section.metadata, facts, section.mpp_um, metadata_file=section.metadata_file
        ),
    ]
    if found:
        outcome.findings[section.id] = found
    stops = [finding for finding in found if finding.severity == "stops"]
    if stops:
        raise DatasetError(f"Section {section.id} is not imported, it has {stops[0]}")
    write_section(out, section)


def check_section(
    table: anndata.AnnData,
    metadata: dict[str, Any],
    facts: ImageFacts | None,
    others_um: Mapping[str, float] | None = None,
    *,
    metadata_file: Path | None,
) -> list[Finding]:
    """Look at everything that can be wrong with a section, table and metadata as in the data set.

    ``facts`` are those of the image; None where it cannot be read. ``others_um`` are further statements of
    the pixel size (um per px), by who makes them. ``metadata_file`` is for the advice of `check_mpp`.
    """
    size_px = None if facts is None else facts.size_px
    others: dict[str, float | None] = dict(others_um or {})
    found = list[Finding]()
    pitch_um = metadata.get(PITCH_KEY)
    if "spatial" in table.obsm and pitch_um is not None:
        xy_px = np.asarray(table.obsm["spatial"], dtype=np.float64)
        sound = ~outside_image(xy_px, size_px)
        spacing = mpp_from_spacing_um(table.obs[sound], xy_px[sound], float(pitch_um))
        others[BY_SPACING] = spacing
        if facts is not None and facts.mpp_um is None:  # nobody says that a px has a um
            found += check_unit_of_positions(spacing)
    if facts is not None:
        others[BY_IMAGE] = facts.mpp_um
    doubtful = (BY_IMAGE,) if facts is not None and facts.doubtful else ()
    return [
        *check_table(table, size_px),
        *check_mpp(metadata.get(MPP_KEY), others, doubtful, metadata_file),
        *found,
    ]


def check_dataset(dataset: Dataset, *, progress: Progress = silent) -> dict[str, list[Finding]]:
    """Look at every section of a data set: findings by section, an empty list where all is well."""
    found: dict[str, list[Finding]] = {}
    for done, section_id in enumerate(dataset.sections):
        progress("Checking sections", done, len(dataset.sections))
        found[section_id] = _check(dataset.section(section_id))
    progress("Checking sections", len(dataset.sections), len(dataset.sections))
    return found


def _check(section: Section) -> list[Finding]:
    """Go on past a part that cannot be read: the others may tell why."""
    found: list[Finding] = []

    def part(name: str, read: Callable[[], Part]) -> Part | None:
        try:
            return read()
        except DatasetError as error:
            what = f"a part that cannot be read. {str(error).rstrip('.')}"
            advice = "import the section again"
            found.append(as_finding(f"unreadable-{name}", what, [], advice))
            return None

    facts = part("image", lambda: image_facts(section.slide_path))
    metadata = part("metadata", lambda: section.metadata) or {}
    table = part("table", lambda: read_table(section.table_path))
    if table is not None:
        found += check_section(table, metadata, facts, metadata_file=section.metadata_path)
    return found
