"""``genes``: named gene sets, and the panel that a choice gives on a data set."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_stem.errors import DatasetError, OutputError
from napari_stem.outputs import require_writable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def set_rows() -> list[dict[str, Any]]:
    """List the named gene sets as JSON holds them."""
    from napari_stem.spatial.gene_sets import gene_sets

    return [_row(gene_set) for gene_set in gene_sets().values()]


def set_row(name: str, out: Path | None = None) -> dict[str, Any]:
    """Return one named gene set as JSON holds it, and write it to ``out`` as a panel file.

    Raises
    ------
    DatasetError
        There is none of that name.
    OutputError
        The file cannot be written.
    """
    from napari_stem.spatial.gene_sets import gene_set

    row = _row(gene_set(name))
    if out is not None:
        _write(out, row["genes"], [row["title"], f"{row['source']}, doi:{row['doi']}"])
    return row


def run_choose(
    folder: Path, spec: str, hold_out: Sequence[str], out: Path | None = None
) -> dict[str, Any]:
    """Choose a panel as `train` would, and write it to ``out``, one gene a line.

    Parameters
    ----------
    folder
        Data set.
    spec
        As `napari_stem.spatial.panels.parse_panel` reads it.
    hold_out
        Sections whose counts are not looked at.
    out
        File to write, or None.

    Returns
    -------
    JSON-ready: ``spec, dataset, sections, held_out, n_genes, genes, left_out, never_seen, renamed,
    notes, out``.

    Raises
    ------
    DatasetError
        The data set, a section or the choice cannot be used.
    OutputError
        The file cannot be written.
    """
    from napari_stem.spatial.dataset import Dataset
    from napari_stem.spatial.panels import parse_panel

    if out is not None:
        require_writable(out)
    rule, dataset = parse_panel(spec), Dataset(folder)
    for section_id in hold_out:
        dataset.section(section_id)
    ids = [i for i in dataset.sections if i not in hold_out]
    if not ids:
        raise DatasetError(f"All sections of {folder} are held out; leave one to choose genes on.")
    choice = rule.choose([dataset.section(i).counts for i in ids])
    if out is not None:
        about = [f"{spec} chosen on {', '.join(ids)} of {folder.name}"]
        _write(out, choice.genes, about)
    return {
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


def _row(gene_set: Any) -> dict[str, Any]:
    row = asdict(gene_set)
    return {**row, "genes": list(row["genes"]), "n_genes": len(row["genes"])}


def _write(path: Path, genes: Sequence[str], about: Sequence[str]) -> None:
    """Write a panel file; what it is stands in its head, where `read_panel` skips it."""
    lines = [*(f"# {line}" for line in about), *genes]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}).") from error
