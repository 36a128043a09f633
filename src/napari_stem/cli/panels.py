"""``genes``: which genes there are to choose from, before a model is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_stem.cli.app import app
from napari_stem.cli.options import Json, gene_set_names, listed
from napari_stem.commands.terminal import say, say_json, tell


@app.command()
def genes(
    sets: Annotated[bool, typer.Option("--sets", help="List the named sets (default).")] = False,
    set_name: Annotated[
        str | None,
        typer.Option("--set", help="Print the genes of this set.", autocompletion=gene_set_names),
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="Data set folder to choose genes on.")
    ] = None,
    spec: Annotated[
        str | None,
        typer.Option(
            "--genes",
            help="hmhvg:N, hvg:N, set:NAME, a file, measured:FILE, or several joined by +.",
        ),
    ] = None,
    hold_out: Annotated[
        str | None, typer.Option(help="Sections not to look at, separated by commas.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the genes to this file too.")] = None,
    as_json: Json = False,
) -> None:
    """List gene sets, or show the panel that a choice gives.

    A choice such as hmhvg:200 is made on a data set, as 'train' makes it.
    """
    if [sets, set_name is not None, spec is not None].count(True) > 1:
        msg = "choose one of --sets, --set and --genes."
        raise typer.BadParameter(msg)
    if (dataset is None) != (spec is None):
        msg = "a panel needs both --dataset and --genes."
        raise typer.BadParameter(msg)
    if hold_out is not None and spec is None:
        msg = "--hold-out goes with --dataset and --genes."
        raise typer.BadParameter(msg)
    if spec is not None and dataset is not None:
        _choose(dataset, spec, listed(hold_out), out, as_json)
    elif set_name is not None:
        _show_set(set_name, out, as_json)
    elif out is not None:
        msg = "--out needs --set, or --dataset and --genes."
        raise typer.BadParameter(msg)
    else:
        _list_sets(as_json)


def _choose(
    dataset: Path, spec: str, hold_out: tuple[str, ...], out: Path | None, as_json: bool
) -> None:
    from napari_stem.commands.panels import run_choose

    result = run_choose(dataset, spec, hold_out, out)
    for note in result["notes"]:
        tell(note)
    if as_json:
        say_json(result)
        return
    say("\n".join(result["genes"]))
    tell(f"{result['n_genes']} genes, chosen on {', '.join(result['sections'])}.")
    if not hold_out:
        tell("No section was held out: a panel must not be chosen on a section it is tested on.")


def _show_set(name: str, out: Path | None, as_json: bool) -> None:
    from napari_stem.commands.panels import set_row

    row = set_row(name, out)
    if as_json:
        say_json(row)
        return
    say("\n".join(row["genes"]))
    tell(f"{row['title']}. {row['source']}, doi:{row['doi']}. {row['note']}")


def _list_sets(as_json: bool) -> None:
    from napari_stem.commands.panels import set_rows
    from napari_stem.commands.tables import say_list

    rows = set_rows()
    if as_json:
        say_json({"sets": rows})
        return
    columns = {"name": "set", "n_genes": "genes", "title": "what it is", "source": "source"}
    say_list(rows, columns, "Gene sets: --genes set:NAME, several joined by +")
