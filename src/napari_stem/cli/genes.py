"""``genes``: named gene sets, and the panel that a choice gives on a data set, before a model is trained."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from napari_stem.cli.app import app, gene_set_names, listed, refuse_if
from napari_stem.cli.tables import say_list
from napari_stem.cli.terminal import answer, say, tell
from napari_stem.errors import DatasetError
from napari_stem.io import require_writable, write_file
from napari_stem.texts import count

if TYPE_CHECKING:
    from collections.abc import Sequence


@app.command()
def genes(
    sets: Annotated[bool, Option("--sets", help="List the named sets (default).")] = False,
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
    for section_id in hold_out:
        dataset.section(section_id)
    ids = [i for i in dataset.sections if i not in hold_out]
    if not ids:
        raise DatasetError(f"All sections of {folder} are held out; leave one to choose genes on.")
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
