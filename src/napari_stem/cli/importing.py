"""``import``: published and own data into data set folders, checks of these, and downloads."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from napari_stem.cli.app import FAILED, Group, importing, listed
from napari_stem.cli.tables import say_list
from napari_stem.cli.terminal import Interrupted, answer, progress_bars, say, tell
from napari_stem.io import only_writer, require_writable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_stem.spatial.importing import Outcome

    Import = Callable[..., Outcome]

SHOWN_FINDINGS = 200
downloading = Group(no_args_is_help=True, help="Download public data.")
importing.add_typer(downloading, name="download")

Sections = Annotated[str | None, Option(help="These alone, such as INT1,INT2.")]
SpaceRanger = Annotated[
    list[Path],
    Argument(help="Space Ranger's outs folder, or several.", show_default=False),
]


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Options of every import."""

    out: Annotated[Path, Option(help="Data set folder to write.", show_default=False)]
    overwrite: Annotated[
        bool, Option("--overwrite", help="Import sections again that are there already.")
    ] = False
    drop: Annotated[
        bool,
        Option("--drop-bad-spots", help="Leave out spots off the image, repeated or not numbers."),
    ] = False


@dataclass(frozen=True, kw_only=True)
class SpaceRangerOptions(ImportOptions):
    """Options where Space Ranger's output is imported."""

    image: Annotated[
        Path | None,
        Option(help="The image Space Ranger was run on, if it does not lie beside its output."),
    ] = None
    name: Annotated[str | None, Option(help="Name of the section; default: its folder's.")] = None


@importing.command()
def her2st(
    source: Annotated[
        Path,
        Argument(
            help="Zenodo record 4751624, unpacked, or github.com/almaan/her2st.", show_default=False
        ),
    ],
    options: ImportOptions,
) -> None:
    """Import HER2-positive breast cancer sections (Andersson 2021)."""
    from napari_stem.spatial.her2st import import_her2st

    _import(import_her2st, source, options)


@importing.command()
def visium(source: SpaceRanger, options: SpaceRangerOptions) -> None:
    """Import 10x Visium sections from Space Ranger's output."""
    from napari_stem.spatial.visium import import_visium

    _import(import_visium, source, options)


@importing.command(name="visium-hd")
def visium_hd(
    source: SpaceRanger,
    options: SpaceRangerOptions,
    bin_um: Annotated[
        int, Option("--bin", min=2, max=512, help="Side of the bins in um, as written.")
    ] = 16,
) -> None:
    """Import 10x Visium HD sections from Space Ranger's output."""
    from napari_stem.spatial.visium import import_visium

    _import(import_visium, source, options, bin_um=bin_um)


@importing.command()
def hest(
    source: Annotated[
        Path, Argument(help="Folder with wsis, st and metadata.", show_default=False)
    ],
    options: ImportOptions,
    sections: Sections = None,
    organ: Annotated[
        str | None, Option(help="This organ alone, as in the metadata: Breast,Kidney.")
    ] = None,
    technology: Annotated[
        str | None, Option(help="This technology alone, as in the metadata: Visium.")
    ] = None,
    species: Annotated[
        str | None, Option(help="This species alone, as in the metadata: Homo sapiens.")
    ] = None,
) -> None:
    """Choose, check and mend sections of HEST-1k.

    Images and sound tables are linked, not copied.
    """
    from napari_stem.spatial.hest import import_hest

    asked = {"sections": sections, "organ": organ, "technology": technology, "species": species}
    _import(import_hest, source, options, **{key: listed(names) for key, names in asked.items()})


@importing.command()
def check(
    dataset: Annotated[Path, Argument(help="Data set folder.", show_default=False)],
) -> None:
    """Look for what is wrong with a data set.

    Spots, counts, genes and pixel sizes are looked at.
    """
    from napari_stem.spatial.dataset import Dataset
    from napari_stem.spatial.importing import check_dataset

    opened = Dataset(dataset)
    with progress_bars() as bars:
        found = check_dataset(opened, progress=bars)
    every = [finding for of_section in found.values() for finding in of_section]
    n_stops = sum(finding.severity == "stops" for finding in every)
    findings = {name: [asdict(one) for one in of_section] for name, of_section in found.items()}
    result = {
        "dataset": str(dataset),
        "sections": list(opened.sections),
        "stops": n_stops,
        "warns": sum(finding.severity == "warns" for finding in every),
        "findings": findings,
    }
    answer(result, _say_findings)
    if n_stops:
        raise typer.Exit(FAILED)


@downloading.callback()
def _downloading() -> None:
    """Download public data."""


@downloading.command(name="hest")
def download_hest(
    out: Annotated[Path, Option(help="Folder to fill.", show_default=False)],
    sections: Sections = None,
    pattern: Annotated[
        list[str] | None,
        Option(help="Also these files, such as 'patches/INT1.*'; may be repeated."),
    ] = None,
    yes: Annotated[bool, Option("--yes", help="Download even more than 20 GB.")] = False,
) -> None:
    """Download HEST-1k, or a part of it, from Hugging Face.

    Accept its terms there first, and log in with 'hf auth login'.
    """
    from napari_stem.spatial.hest import download, patterns_for, plan_download

    require_writable(out / "st")
    try:
        plan = plan_download(out, patterns_for(listed(sections), tuple(pattern or ())))
        tell(f"{plan}.")
        with only_writer(out), progress_bars() as bars:
            download(out, plan, agreed=yes, progress=bars.of_bytes("Downloading"))
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted: what is in {out} is kept; the same command goes on."
        ) from None
    result = {
        "out": str(out),
        "patterns": list(plan.patterns),
        "n_files": plan.n_files,
        "n_bytes": plan.n_bytes,
        "n_bytes_downloaded": plan.n_bytes_missing,
    }
    answer(result, f"{plan.n_files} files are in {out}.")


def _import(
    importer: Import, source: Path | Sequence[Path], options: ImportOptions, **more: Any
) -> None:
    """Import a data set; tells on stderr what failed, what was dropped and what looks odd."""
    asked = vars(options) | more
    out: Path = asked.pop("out")
    require_writable(out / "st")
    try:
        with only_writer(out), progress_bars() as bars:
            outcome = importer(source, out, progress=bars, **asked)
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted: the sections that are in {out} are whole; the same command goes on."
        ) from None
    for section_id, found in outcome.findings.items():
        for finding in found:
            if finding.severity == "warns":
                tell(f"Section {section_id} has {finding}")
    for section_id, dropped in outcome.dropped.items():
        reasons = ", ".join(f"{check}: {count}" for check, count in dropped.items())
        tell(f"Section {section_id}: spots left out ({reasons}).")
    for reason in outcome.failed.values():
        tell(reason)
    answer({"out": str(out), **outcome.as_json()}, lambda _: _say_sections(outcome, out))
    if outcome.failed:
        raise typer.Exit(FAILED)


def _say_sections(outcome: Outcome, out: Path) -> None:
    if outcome.sections:
        n_kept, n = len(outcome.kept), len(outcome.sections)
        kept = f" (there before: {n_kept}; --overwrite imports again)" if n_kept else ""
        names = ", ".join(outcome.sections)
        say(f"{n} section{'s are' if n > 1 else ' is'} in {out}: {names}{kept}.")


def _say_findings(result: dict[str, Any]) -> None:
    if not any(result["findings"].values()):
        sections = ", ".join(result["sections"])
        say(f"Nothing is wrong with {result['dataset']} (sections: {sections}).")
        return
    rows = [
        {
            **one,
            "section": section_id,
            "count": one["count"] or "",
            "examples": ", ".join(one["examples"]),
        }
        for section_id, found in result["findings"].items()
        for one in found
    ]
    columns = {key: key for key in ("section", "severity", "what", "count", "examples")}
    say_list(rows[:SHOWN_FINDINGS], {**columns, "advice": "what to do"})
    if len(rows) > SHOWN_FINDINGS:
        tell(f"{len(rows) - SHOWN_FINDINGS} more findings are not shown; --json gives all.")
