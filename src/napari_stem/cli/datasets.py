"""``import`` and ``genes``: data sets made, checked and downloaded; and panels of genes chosen on them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from napari_stem.cli.app import (
    FAILED,
    Group,
    app,
    gene_set_names,
    importing,
    listed,
    refuse_if,
)
from napari_stem.cli.tables import say_list
from napari_stem.cli.terminal import Interrupted, answer, progress_bars, say, tell
from napari_stem.io import only_writer, require_writable, write_file
from napari_stem.texts import count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_stem.spatial.importing import ImportSettings, Outcome

SHOWN_FINDINGS = 200
downloading = Group(no_args_is_help=True)
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
    overwrite: Annotated[bool, Option(help="Import sections again that are there already.")] = False
    drop_bad_spots: Annotated[
        bool, Option(help="Leave out spots off the image, repeated or not numbers.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class SpaceRangerOptions(ImportOptions):
    """Options where Space Ranger's output is imported."""

    image: Annotated[
        Path | None,
        Option(help="The image Space Ranger was run on, if it does not lie beside its output."),
    ] = None
    name: Annotated[str | None, Option(help="Name of the section; default: its folder's.")] = None
    species: Annotated[
        str | None,
        Option(help="Species of the tissue, such as human; default: that of the reference genome."),
    ] = None


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

    _import(options, partial(import_her2st, source))


@importing.command()
def visium(source: SpaceRanger, options: SpaceRangerOptions) -> None:
    """Import 10x Visium sections from Space Ranger's output."""
    _import_space_ranger(source, options, None)


@importing.command(name="visium-hd")
def visium_hd(
    source: SpaceRanger,
    options: SpaceRangerOptions,
    bin_um: Annotated[
        int, Option("--bin", min=2, max=512, help="Side of the bins in um, as written.")
    ] = 16,
) -> None:
    """Import 10x Visium HD sections from Space Ranger's output."""
    _import_space_ranger(source, options, bin_um)


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

    Images, and tables that need no mending, are linked, not copied.
    """
    from napari_stem.spatial.hest import import_hest

    chosen = partial(
        import_hest,
        source,
        sections=listed(sections),
        organ=listed(organ),
        technology=listed(technology),
        species=listed(species),
    )
    _import(options, chosen)


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
    yes: Annotated[bool, Option(help="Download even more than 20 GB.")] = False,
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
    answer(result, f"{count(plan.n_files, 'file', 'is', 'are')} in {out}.")


def _import_space_ranger(
    source: Sequence[Path], options: SpaceRangerOptions, bin_um: int | None
) -> None:
    from napari_stem.spatial.visium import import_visium

    import_into = partial(
        import_visium,
        source,
        bin_um=bin_um,
        image=options.image,
        name=options.name,
        species=options.species,
    )
    _import(options, import_into)


def _import(options: ImportOptions, import_into: Callable[[Path, ImportSettings], Outcome]) -> None:
    """Import a data set; tells on stderr what failed, what was dropped and what looks odd."""
    from napari_stem.spatial.importing import ImportSettings

    out = options.out
    require_writable(out / "st")
    try:
        with only_writer(out), progress_bars() as bars:
            settings = ImportSettings(
                overwrite=options.overwrite, drop_bad_spots=options.drop_bad_spots, progress=bars
            )
            outcome = import_into(out, settings)
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted: the sections that are in {out} are whole; the same command goes on."
        ) from None
    for section_id, found in outcome.findings.items():
        for finding in found:
            if finding.severity == "warns":
                tell(f"Section {section_id} has {finding}")
    for section_id, dropped in outcome.dropped.items():
        reasons = ", ".join(f"{check}: {n}" for check, n in dropped.items())
        tell(f"Section {section_id}: spots left out ({reasons}).")
    for reason in outcome.failed.values():
        tell(reason, is_failure=True)
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


@app.command()
def genes(
    sets: Annotated[bool, Option(help="List the named sets (default).")] = False,
    set_name: Annotated[
        str | None,
        Option("--set", help="Print the genes of this set.", autocompletion=gene_set_names),
    ] = None,
    dataset: Annotated[Path | None, Option(help="Data set folder to choose genes on.")] = None,
    spec: Annotated[
        str | None,
        Option(
            "--genes",
            help="hmhvg:N, hvg:N, set:NAME, a file, measured:FILE, or several joined by +.",
        ),
    ] = None,
    hold_out: Annotated[
        str | None, Option(help="Sections not to look at, separated by commas.")
    ] = None,
    out: Annotated[Path | None, Option(help="Write the genes to this file too.")] = None,
) -> None:
    """List gene sets, or show the panel that a choice gives.

    A choice such as hmhvg:200 is made on a data set, as 'train' makes it.
    """
    from napari_stem.spatial.gene_sets import gene_set, gene_sets

    n_chosen = sum((sets, set_name is not None, spec is not None))
    refuse_if(n_chosen > 1, "choose one of --sets, --set and --genes.")
    refuse_if((dataset is None) != (spec is None), "a panel needs both --dataset and --genes.")
    refuse_if(hold_out is not None and spec is None, "--hold-out goes with --dataset and --genes.")
    if spec is not None and dataset is not None:
        _choose(dataset, spec, listed(hold_out), out)
    elif set_name is not None:
        row = _row(gene_set(set_name))
        if out is not None:
            _write(out, row["genes"], [row["title"], f"{row['source']}, doi:{row['doi']}"])
        answer(row, _say_set)
    else:
        refuse_if(out is not None, "--out needs --set, or --dataset and --genes.")
        answer({"sets": [_row(each) for each in gene_sets().values()]}, _say_sets)


def _choose(folder: Path, spec: str, hold_out: Sequence[str], out: Path | None) -> None:
    """Choose a panel as `train` would, and write it to ``out``, one gene a line."""
    from napari_stem.spatial.dataset import Dataset
    from napari_stem.spatial.panels import parse_panel

    if out is not None:
        require_writable(out)
    rule, dataset = parse_panel(spec), Dataset(folder)
    ids = dataset.not_held_out(hold_out, "choose genes")
    choice = rule([dataset.section(i).counts for i in ids])
    if out is not None:
        _write(out, choice.genes, [f"{spec} chosen on {', '.join(ids)} of {folder.name}"])
    for note in choice.notes():
        tell(note)
    result = {
        "spec": spec,
        "dataset": str(folder),
        "sections": ids,
        "held_out": list(hold_out),
        "n_genes": len(choice.genes),
        "genes": list(choice.genes),
        "left_out": {part: list(genes) for part, genes in choice.left_out.items()},
        "never_seen": {part: list(genes) for part, genes in choice.never_seen.items()},
        "renamed": dict(choice.renamed),
        "notes": choice.notes(),
        "out": None if out is None else str(out),
    }
    answer(result, _say_panel)


def _say_panel(result: dict[str, Any]) -> None:
    say("\n".join(result["genes"]))
    tell(f"{count(result['n_genes'], 'gene')}, chosen on {', '.join(result['sections'])}.")
    if not result["held_out"]:
        tell("No section was held out: a panel must not be chosen on a section it is tested on.")


def _say_set(row: dict[str, Any]) -> None:
    say("\n".join(row["genes"]))
    tell(f"{row['title']}. {row['source']}, doi:{row['doi']}. {row['note']}")


def _say_sets(result: dict[str, Any]) -> None:
    columns = {"name": "set", "n_genes": "genes", "title": "what it is", "source": "source"}
    say_list(result["sets"], columns, "Gene sets: --genes set:NAME, several joined by +")


def _row(gene_set: Any) -> dict[str, Any]:
    row = asdict(gene_set)
    return {**row, "genes": list(row["genes"]), "n_genes": len(row["genes"])}


def _write(path: Path, genes: Sequence[str], about: Sequence[str]) -> None:
    """Write a panel file; what it is stands in its head, where `read_panel` skips it."""
    lines = [*(f"# {line}" for line in about), *genes]
    write_file(path, "\n".join(lines) + "\n")
