"""``import``: published and own data into data set folders, checks of these, and downloads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_stem.commands.terminal import Interrupted, progress_bars, say_table, tell
from napari_stem.outputs import require_writable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from rich.table import Table

    from napari_stem.progress import Progress
    from napari_stem.spatial.importing import Outcome

    Import = Callable[..., Outcome]

SHOWN_FINDINGS = 200


def run_import(
    kind: str, source: Path | Sequence[Path], out: Path, **options: Any
) -> dict[str, Any]:
    """Import a data set; tells on stderr what failed, what was dropped and what looks odd.

    Parameters
    ----------
    kind
        ``her2st``, ``visium``, ``visium-hd`` or ``hest``.
    source, out
        What to import, and the data set folder.
    options
        Of the importer.

    Returns
    -------
    JSON-ready: ``out``, and the fields of `napari_stem.spatial.importing.Outcome`.

    Raises
    ------
    OutputError
        The folder cannot be written.
    Interrupted
        By Ctrl-C; sections that are there are kept.
    """
    require_writable(out / "st")
    importer = _importer(kind)
    try:
        with progress_bars() as bars:
            outcome = importer(source, out, progress=bars, **options)
    except KeyboardInterrupt:
        msg = f"Interrupted: the sections that are in {out} are whole; the same command goes on."
        raise Interrupted(msg) from None
    for section_id, found in outcome.findings.items():
        for finding in found:
            if finding.severity == "warns":
                tell(f"Section {section_id} has {finding}")
    for section_id, dropped in outcome.dropped.items():
        reasons = ", ".join(f"{check}: {count}" for check, count in dropped.items())
        tell(f"Section {section_id}: spots left out ({reasons}).")
    for reason in outcome.failed.values():
        tell(reason)
    return {"out": str(out), **outcome.as_json()}


def _importer(kind: str) -> Import:
    if kind == "her2st":
        from napari_stem.spatial.her2st import import_her2st

        return import_her2st
    if kind == "visium":
        from napari_stem.spatial.visium import import_visium

        return import_visium
    if kind == "visium-hd":
        from napari_stem.spatial.visium_hd import import_visium_hd

        return import_visium_hd
    return _hest


def _hest(
    source: Path,
    out: Path,
    *,
    sections: tuple[str, ...],
    organ: tuple[str, ...],
    technology: tuple[str, ...],
    species: tuple[str, ...],
    overwrite: bool,
    drop: bool,
    progress: Progress,
) -> Outcome:
    from napari_stem.spatial.hest import Choice, import_hest

    choice = Choice(sections, organ, technology, species)
    return import_hest(source, out, choice, overwrite=overwrite, drop=drop, progress=progress)


def run_check(folder: Path) -> dict[str, Any]:
    """Check a data set as it stands.

    Returns
    -------
    JSON-ready: ``dataset, sections, stops, warns`` (numbers of findings), ``findings`` (by section).
    """
    from napari_stem.spatial.dataset import Dataset
    from napari_stem.spatial.dataset_check import check_dataset

    dataset = Dataset(folder)
    with progress_bars() as bars:
        findings = check_dataset(dataset, progress=bars)
    every = [finding for found in findings.values() for finding in found]
    return {
        "dataset": str(folder),
        "sections": list(dataset.sections),
        "stops": sum(finding.severity == "stops" for finding in every),
        "warns": sum(finding.severity == "warns" for finding in every),
        "findings": {name: [one.as_json() for one in found] for name, found in findings.items()},
    }


def say_findings(findings: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Print findings (as JSON gives them) on stdout as a table."""
    say_table(_findings_table(findings))
    n = sum(map(len, findings.values()))
    if n > SHOWN_FINDINGS:
        tell(f"{n - SHOWN_FINDINGS} more findings are not shown; --json gives all.")


def _findings_table(findings: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    from rich.table import Table

    table = Table("section", "severity", "what", "count", "examples", "what to do")
    rows = [(section_id, one) for section_id, found in findings.items() for one in found]
    for section_id, one in rows[:SHOWN_FINDINGS]:
        count = str(one["count"] or "")
        examples = ", ".join(one["examples"])
        table.add_row(section_id, one["severity"], one["what"], count, examples, one["advice"])
    return table


def run_download(
    out: Path, *, sections: tuple[str, ...], patterns: tuple[str, ...], agreed: bool
) -> dict[str, Any]:
    """Download HEST-1k or a part of it; says on stderr how much before it starts.

    Returns
    -------
    JSON-ready: ``out, patterns, n_files, n_bytes, n_bytes_downloaded``.

    Raises
    ------
    OutputError
        The folder cannot be written.
    Interrupted
        By Ctrl-C; files that are there are kept.
    """
    from napari_stem.spatial.download import download, patterns_for, plan_download

    require_writable(out / "st")
    try:
        plan = plan_download(out, patterns_for(sections, patterns))
        tell(f"{plan}.")
        with progress_bars() as bars:
            download(out, plan, agreed=agreed, progress=bars.of_bytes("Downloading"))
    except KeyboardInterrupt:
        msg = f"Interrupted: what is in {out} is kept; the same command goes on."
        raise Interrupted(msg) from None
    return {
        "out": str(out),
        "patterns": list(plan.patterns),
        "n_files": plan.n_files,
        "n_bytes": plan.n_bytes,
        "n_bytes_downloaded": plan.n_bytes_missing,
    }
