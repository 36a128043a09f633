"""``models``: which there are, and giving them away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_stem.cli.app import Group, app
from napari_stem.cli.options import Json, model_names
from napari_stem.commands.terminal import say, say_json

modelling = Group(help="List the models, check one, or give one away.")
app.add_typer(modelling, name="models")

ModelFolder = Annotated[Path, typer.Argument(help="Model folder.", show_default=False)]


@modelling.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    genes: Annotated[
        str | None,
        typer.Option(help="Print the genes of this model, one a line.", autocompletion=model_names),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the models that can be used."""
    if context.invoked_subcommand is not None:
        return
    from napari_stem.commands.listing import model_rows, panel_of, say_models

    if genes is not None:
        panel = panel_of(genes)
        say_json({"name": genes, "genes": panel}) if as_json else say("\n".join(panel))
    elif as_json:
        say_json(model_rows())
    else:
        say_models()


@modelling.command()
def check(
    model: Annotated[
        str,
        typer.Argument(
            help="Name, folder, .zip, or org/name on Hugging Face.",
            show_default=False,
            autocompletion=model_names,
        ),
    ],
    as_json: Json = False,
) -> None:
    """Load a model, verify it, and say whether its encoder is ready."""
    from napari_stem.commands.model_sharing import run_check

    found = run_check(model)
    if as_json:
        say_json(found)
        return
    say(
        f"Model '{found['name']}' is sound: {found['n_genes']} genes ({found['unit']}), licence "
        f"{found['licence']}, weights SHA-256 {found['weights_sha256']}."
    )
    say(f"Encoder '{found['encoder']}': {found['encoder_why_not'] or 'ready'}.")
    if found["card_why_not"]:
        say(f"Its card is not one for Hugging Face: {found['card_why_not']}")
    if found["not_read"]:
        say(f"Never read, and not part of the model: {', '.join(found['not_read'])}.")


@modelling.command()
def pack(
    folder: ModelFolder,
    out: Annotated[Path, typer.Option(help=".zip to write.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Write a model as one .zip, which 'predict --model' takes."""
    from napari_stem.commands.model_sharing import run_pack

    done = run_pack(folder, out)
    if as_json:
        say_json(done)
    else:
        say(f"{done['out']}, {done['bytes'] / 1e6:.1f} MB.")


@modelling.command()
def push(
    folder: ModelFolder,
    repo: Annotated[str, typer.Option(help="org/name on Hugging Face.", show_default=False)],
    licence: Annotated[
        str | None, typer.Option(help="Such as cc-by-4.0, if the model states none.")
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository private.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Publish a model on Hugging Face.

    Log in with 'hf auth login' first.
    """
    from napari_stem.commands.model_sharing import run_push

    done = run_push(folder, repo, licence=licence, private=private, yes=yes)
    if done is None:
        return
    if as_json:
        say_json(done)
    else:
        say(f"Sent: {done['page']}. It is used with --model {done['repository']}.")
