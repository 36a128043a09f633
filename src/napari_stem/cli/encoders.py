"""``encoders``: which are ready, and downloading one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from napari_stem.cli.app import Group, app, encoder_names
from napari_stem.cli.terminal import answer, progress_bars, say, tell
from napari_stem.hub import use_encoder_folder

encoding = Group(help="List the image encoders, or download one.")
app.add_typer(encoding, name="encoders")

EncoderFolder = Annotated[
    Path | None,
    Option(
        "--encoder-folder",
        envvar="NAPARI_STEM_ENCODERS",
        help="Folder of encoders (FOLDER/NAME/...), where there is no internet.",
    ),
]


@encoding.callback(invoke_without_command=True)
def encoders(context: typer.Context, encoder_folder: EncoderFolder = None) -> None:
    """List the image encoders: which are ready, and what the others need."""
    if context.invoked_subcommand is not None:
        return
    from napari_stem.encoders.registry import list_encoders

    if encoder_folder is not None:
        use_encoder_folder(encoder_folder)
    answer(list_encoders(), _say)


def _say(rows: list[dict[str, Any]]) -> None:
    from napari_stem.cli.tables import say_list

    columns = {
        "name": "encoder",
        "status": "status",
        "size_mb": "MB",
        "width": "width",
        "licence": "licence",
        "description": "what it is",
        "why_not": "what to do",
    }
    say_list(rows, columns, "Encoders (join them with +: uni+conch)")


@encoding.command()
def download(
    name: Annotated[
        str,
        Argument(help="As 'napari-stem encoders' lists it.", autocompletion=encoder_names),
    ],
    to: Annotated[
        Path | None, Option(help="Folder of encoders instead of Hugging Face's cache.")
    ] = None,
) -> None:
    """Download an encoder from Hugging Face.

    Log in with 'hf auth login' first where its terms ask for it.
    """
    from napari_stem.encoders import hub
    from napari_stem.encoders.catalogue import CATALOGUE
    from napari_stem.encoders.registry import BUNDLED, parse_name

    done = []
    for part in parse_name(name):
        if part.name == BUNDLED:
            tell("The bundled encoder is part of the program.")
            continue
        facts = CATALOGUE[part.name]
        tell(
            f"Encoder '{facts.name}', {facts.size_mb} MB, from {facts.page}; licence: {facts.licence}."
        )
        with progress_bars() as bars:
            folder = hub.download(facts, to, bars.of_bytes(f"Downloading {facts.name}"))
        done.append({"name": facts.name, "folder": str(folder)})
    answer(done, _say_folders)


def _say_folders(rows: list[dict[str, str]]) -> None:
    for row in rows:
        say(f"{row['name']}: {row['folder']}")
