"""HEST-1k (Jaume et al. 2024, arXiv 2406.16192): download of a part from Hugging Face, and import from such.

The data set is gated: one accepts its terms on its page once, and logs in with ``hf auth login``. A folder of
it (``wsis``, ``st``, ``metadata``; ``patches``, ``tissue_seg`` ... beside) is a data set as it is. Importing
chooses sections from it, checks them, and mends what some tables have: Ensembl ids for names, repeated genes,
no pixel size. What needs no mending is linked, not copied.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import DatasetError
from napari_stem.hub import HubRequest, in_clear_words, reporting
from napari_stem.io import free_bytes
from napari_stem.slide.pixel_size import PLACEHOLDER
from napari_stem.spatial.dataset import (
    METADATA,
    MPP_KEY,
    ORIGIN_KEY,
    PITCH_KEY,
    SLIDES,
    TABLES,
    Dataset,
    Section,
    image_facts,
)
from napari_stem.spatial.gene_sets import latin_name, with_unique_symbols
from napari_stem.spatial.importing import BY_IMAGE, NewSection, Outcome, import_sections
from napari_stem.spatial.lattice import mpp_from_spacing_um
from napari_stem.spatial.table_files import read_table
from napari_stem.texts import count

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    import anndata

    from napari_stem.spatial.importing import ImportSettings


HEST = "MahmoodLab/hest"
PAGE = f"https://huggingface.co/datasets/{HEST}"
ASK_ABOVE_BYTES = 20_000_000_000
EMBEDDED_MPP_KEY = "pixel_size_um_embedded"


def import_hest(
    source: Path,
    out: Path,
    settings: ImportSettings | None = None,
    *,
    sections: Sequence[str] = (),
    organ: Collection[str] = (),
    technology: Collection[str] = (),
    species: Collection[str] = (),
) -> Outcome:
    """Write chosen sections of a HEST folder, with ``wsis``, ``st`` and ``metadata``, as a data set of its own.

    ``sections`` are the names of those wanted, as ``INT1``; ``organ``, ``technology`` and ``species`` theirs
    as in the metadata (``Breast``; ``Visium``; ``Homo sapiens``, also as ``human``), in any case; none: all.
    Else as for `import_sections`.

    DatasetError: ``source`` is no such folder or is ``out``, or no section is as asked for.
    """
    dataset = Dataset(source)
    if out.exists() and out.samefile(source):
        raise DatasetError(f"{out} is the source itself; choose another folder to import into.")
    wanted = {
        "organ": organ,
        "st_technology": technology,
        "species": [latin_name(each) for each in species],
    }
    chosen = _chosen(dataset, sections, wanted)
    readers = {section.id: partial(_read_section, section) for section in chosen}
    return import_sections(readers, out, settings)


def _chosen(
    dataset: Dataset, sections: Sequence[str], wanted: Mapping[str, Collection[str]]
) -> list[Section]:
    """Choose sections; one whose metadata cannot be read is among them, and fails by itself."""
    unknown = [name for name in sections if name not in dataset.sections]
    if unknown:
        raise DatasetError(
            f"{dataset.folder} has no section {', '.join(unknown[:5])} among its "
            f"{len(dataset.sections)}; download it first, or correct the name."
        )
    named = [dataset.section(name) for name in sections or dataset.sections]
    folded = {key: {word.casefold() for word in words} for key, words in wanted.items() if words}

    def is_wanted(section: Section) -> bool:
        with suppress(DatasetError):
            about = {key: str(section.metadata.get(key, "")).casefold() for key in folded}
            return all(about[key] in words for key, words in folded.items())
        return True

    chosen = [section for section in named if is_wanted(section)]
    if not chosen:
        some = [section.metadata for section in named[:200]]
        has = {key: sorted({str(each.get(key)) for each in some})[:8] for key in wanted}
        choices = "; ".join(f"{key}: {', '.join(values)}" for key, values in has.items())
        raise DatasetError(f"No section of {dataset.folder} is as asked for; there are {choices}.")
    return chosen


def _read_section(section: Section) -> NewSection:
    stored = read_table(section.table_path)
    table, findings = with_unique_symbols(stored)
    return NewSection(
        id=section.id,
        image=section.slide_path,
        table=table,
        metadata=_with_pixel_size(section.metadata, table, section.slide_path),
        metadata_file=section.metadata_path,
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
    if embedded in (None, PLACEHOLDER.x_um) and (own := image_facts(image).mpp_um) is not None:
        return metadata | {MPP_KEY: own, ORIGIN_KEY: BY_IMAGE}
    return metadata | {MPP_KEY: embedded, ORIGIN_KEY: f"'{EMBEDDED_MPP_KEY}'"}


@dataclass(frozen=True)
class Plan:
    """What a download will bring: patterns of the files, as the shell writes them, and all that match.

    ``n_bytes_missing`` are those not yet there.
    """

    patterns: tuple[str, ...]
    n_files: int
    n_bytes: int
    n_bytes_missing: int

    def __str__(self) -> str:
        """Sizes in words."""
        there = self.n_bytes - self.n_bytes_missing
        so_far = f", of which {gigabytes(there)} are there" if there else ""
        return f"{count(self.n_files, 'file')}, {gigabytes(self.n_bytes)}{so_far}"


def gigabytes(n_bytes: int) -> str:
    """Size as people read it."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"


def patterns_for(sections: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """File patterns of a request: those given, and of sections (``INT1``) image, table and metadata.

    The far larger rest (patches, cells, transcripts) is left out. With neither, the three parts of every
    section.
    """
    parts = (SLIDES, TABLES, METADATA)
    of_sections = tuple(f"{part}/{name}.*" for name in sections for part in parts)
    return (*of_sections, *patterns) or tuple(f"{part}/*" for part in parts)


def plan_download(out: Path, patterns: Sequence[str]) -> Plan:
    """Ask how much a download will bring; what is in the folder already is not counted as missing.

    DatasetError: no file is so called, access is refused, or there is no network.
    """
    files = _snapshot(out, patterns, dry_run=True)
    if not files:
        raise DatasetError(
            f"HEST-1k has no file called like {', '.join(patterns[:5])}; its sections are listed "
            f"on {PAGE}."
        )
    return Plan(
        patterns=tuple(patterns),
        n_files=len(files),
        n_bytes=sum(file.file_size or 0 for file in files),
        n_bytes_missing=sum(file.file_size or 0 for file in files if file.will_download),
    )


def download(
    out: Path,
    plan: Plan,
    *,
    agreed: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Download what was planned; files that are there stay, so that a broken-off download goes on.

    ``out`` is a data set in HEST layout afterwards. ``agreed``: more than 20 GB may be downloaded.
    ``progress`` is told (bytes so far, of how many); None: bars on stderr. DatasetError: it is large and not
    agreed to, does not fit on the disk, access is refused, or the network fails.
    """
    if plan.n_bytes_missing > ASK_ABOVE_BYTES and not agreed:
        raise DatasetError(
            f"This would download {plan}; name fewer with --sections or --pattern, or add --yes."
        )
    free, _ = free_bytes(out)
    if plan.n_bytes_missing > free:
        raise DatasetError(
            f"{out} needs {gigabytes(plan.n_bytes_missing)} more, but only {gigabytes(free)} are free there; "
            f"choose another disk, or name fewer sections."
        )
    bars = None if progress is None else reporting(progress, n_all=plan.n_bytes_missing)
    _snapshot(out, plan.patterns, tqdm_class=bars)


def _snapshot(out: Path, patterns: Sequence[str], **options: Any) -> Any:
    """Call huggingface_hub's own, and turn what it raises into a sentence."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import DryRunError

    request = HubRequest(
        what="HEST-1k",
        page=PAGE,
        otherwise="the same command goes on where it stopped",
        elsewhere=f"choose another folder than {out}",
        error=DatasetError,
    )
    with in_clear_words(request):
        try:
            return snapshot_download(
                HEST, repo_type="dataset", local_dir=out, allow_patterns=list(patterns), **options
            )
        except DryRunError as error:
            raise error.__cause__ or error from None
