"""``models`` and ``encoders``: what can be used, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_stem.commands.tables import say_list
from napari_stem.commands.terminal import progress_bars, tell

if TYPE_CHECKING:
    from pathlib import Path


def model_rows() -> list[dict[str, Any]]:
    """List models as JSON holds them."""
    from napari_stem.model import list_models

    return list_models()


def say_models() -> None:
    """Print the models as a table."""
    columns = {
        "name": "model",
        "ready": "ready",
        "tissue": "tissue",
        "species": "species",
        "n_genes": "genes",
        "unit": "unit",
        "calibrated": "calibrated",
        "encoder": "encoder",
        "licence": "licence",
        "why_not": "why not",
    }
    say_list(model_rows(), columns, "Models (or give --model a model folder)")


def panel_of(name: str) -> list[str]:
    """Genes of a packaged model, or of a model folder.

    Raises
    ------
    ModelError
        There is none of that name, or its ``config.json`` is damaged.
    """
    from napari_stem.model import find_model
    from napari_stem.model.config import read_config

    return list(read_config(find_model(name)).genes)


def encoder_rows(folder: Path | None = None) -> list[dict[str, Any]]:
    """List encoders as JSON holds them; ``folder`` is looked into first."""
    from napari_stem.encoders.registry import list_encoders

    return list_encoders(folder)


def say_encoders(folder: Path | None = None) -> None:
    """Print the encoders as a table."""
    columns = {
        "name": "encoder",
        "status": "status",
        "size_mb": "MB",
        "width": "width",
        "licence": "licence",
        "description": "what it is",
        "why_not": "what to do",
    }
    say_list(encoder_rows(folder), columns, "Encoders (join them with +: uni+conch)")


def download_encoder(name: str, to: Path | None) -> list[dict[str, Any]]:
    """Download an encoder, or all parts of a combined one, with bars on stderr.

    Parameters
    ----------
    name
        As `napari-stem encoders` lists it.
    to
        Folder of encoders; None: Hugging Face's cache.

    Returns
    -------
    Name and folder of each.

    Raises
    ------
    EncoderError
        There is none of that name, or it cannot be had: the text says what to do.
    """
    from napari_stem.encoders.catalogue import CATALOGUE
    from napari_stem.encoders.hub import download
    from napari_stem.encoders.names import BUNDLED, parse_name

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
            folder = download(facts, to, bars.of_bytes(f"Downloading {facts.name}"))
        done.append({"name": facts.name, "folder": str(folder)})
    return done
